"""The probe's two faces: the sites of a function, and its gradients with their flow."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgrad import _jaxpr
from jgrad._jaxpr import Graph

from . import _checks
from ._flow import Flow
from ._held import hold
from ._interpret import measuring, run, sinks
from ._measures import Measures, order_of_sums
from ._nnx import has_modules, split
from ._packed import gather
from ._plan import Amend, Opaque, Steps, check_options, plan
from ._scopes import class_names
from ._sites import Site


def sites(
    fn: Callable[..., Any],
    *,
    all: bool = False,
    opaque: Opaque = "allow",
    amend: Amend | None = None,
) -> Callable[..., tuple[Site, ...]]:
    """A function of fn's arguments that lists the sites of `fn`, in program order.

    Args:
      fn: any JAX function.
      all: list what is no activation too, with its role: the square in a layer norm, the
        exponential in a softmax or a loss, what the probe cannot enter.
      opaque: "raise" to refuse activations where the probe cannot go.
      amend: `amend(site)` gives the site as you know it: with another role, or another unit axis
        (channels that come first).

    A ReLU or a sigmoid that nothing but sums follow is taken for the last layer, since the program
    of a loss may be the same, and would be missed if it were one; only a hinge on a margin and a
    clip to numbers above 0 can be told. Where it is a loss, say so:

      >>> import dataclasses
      >>> def perceptron(w, x, y):
      ...     return jnp.mean(jax.nn.relu(-y * jnp.sum(jnp.tanh(x @ w), axis=1)))
      >>> def amend(site):
      ...     return dataclasses.replace(site, role="loss") if site.activation == "relu" else site
      >>> arguments = jnp.ones((3, 2)), jnp.ones((5, 3)), jnp.ones(5)
      >>> [site.activation for site in sites(perceptron)(*arguments)]
      ['tanh', 'relu']
      >>> [site.activation for site in sites(perceptron, amend=amend)(*arguments)]
      ['tanh']

    Example:
      >>> def f(w, x):
      ...     return jnp.sum(jnp.tanh(x @ w) ** 2)
      >>> for site in sites(f)(jnp.ones((3, 2)), jnp.ones((5, 3))):
      ...     print(site.activation, site.shape)
      tanh (5, 2)
    """
    _checks.function(fn, "what sites are looked for in")
    check_options(opaque=opaque, amend=amend)

    def sites_of_fn(*args: Any, **named: Any) -> tuple[Site, ...]:
        pure, pure_args = functools.partial(fn, **named) if named else fn, args
        if has_modules(args):
            parts = split(pure, args, has_aux=False)
            pure, pure_args = parts.loss, (parts.states, *parts.args)
        held = hold(pure, pure_args)
        graph, _ = trace_call(held.fn, held.args)
        _, kept, seen = plan(graph, [True] * len(graph.inputs), opaque=opaque, amend=amend)
        return seen if all else kept

    return sites_of_fn


def value_grad_and_flow(
    loss: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    *,
    measures: Measures = "default",
    steps: Steps = "each",
    opaque: Opaque = "raise",
    amend: Amend | None = None,
    every: int | None = None,
) -> Callable[..., tuple[Any, Any, Flow]]:
    """A function of loss's arguments that gives its value, its gradients and their flow.

    Value and gradients are the plain function's, as of `jax.value_and_grad`; named arguments are
    handed on. Works under `jit`, `vmap`, `scan` and on sharded arrays, and may be differentiated
    again, forwards (`jvp`, `jacfwd`) as well as backwards; the flow is a pytree of arrays.

    Args:
      loss: any JAX function with a scalar result.
      argnums: which arguments to differentiate, as of `jax.value_and_grad`. A Flax NNX module is
        differentiated with respect to its `nnx.Param`s: its gradient is an `nnx.State`, and its
        other variables (batch statistics, random streams) are updated in place, as
        `nnx.value_and_grad` does.
      has_aux: loss returns (value, aux); then the value that comes back is such a pair too.
      measures: "default", "all", or names from MEASURES and measures of your own.
      steps: "each" keeps the steps of a scan apart (they are summed above 4096 all the same);
        "sum" sums over them.
      opaque: "allow" to run what the probe cannot enter as it is, although it holds activations.
      amend: as of `sites`.
      every: with a number n the function that comes back takes the training step's number before
        loss's arguments, and off every n-th step it runs the plain program: the flow then holds
        no pass.

    Raises:
      ValueError: no activation was found; one sits where the probe cannot go; an option is none
        that there is.
      TypeError: the loss is not a real scalar; what is differentiated holds integers; an argument
        or an option is of the wrong type.

    Example:
      >>> def loss(w, x):
      ...     return jnp.sum(jnp.tanh(x @ w))
      >>> w, x = jnp.full((3, 2), 0.25), jnp.ones((5, 3))
      >>> value, grads, flow = value_grad_and_flow(loss)(w, x)
      >>> (key,) = flow
      >>> round(float(flow[key].slope_mean), 3)
      0.597
    """
    _checks.function(loss, "the loss")
    _checks.flag(has_aux, "has_aux")
    _checks.every(every)
    check_options(steps=steps, opaque=opaque, amend=amend)
    chosen = _checks.measures(measures)

    def on_steps(step: Any, /, *args: Any, **named: Any) -> tuple[Any, Any, Flow]:
        _checks.step(step)
        return at_step(step, args, named)

    def value_grad_and_flow_of_loss(*args: Any, **named: Any) -> tuple[Any, Any, Flow]:
        return at_step(0, args, named)

    def at_step(step, args, named):
        of_args = functools.partial(loss, **named) if named else loss
        nums = _checks.positions(argnums, len(args))
        if not has_modules(args):
            value, grads, flow = probe(of_args, args, nums, step, has_aux=has_aux)
        else:
            parts = split(of_args, args, has_aux)
            shifted = tuple(k + 1 for k in nums)
            pure_args = (parts.states, *parts.args)
            value, grads, flow = probe(parts.loss, pure_args, shifted, step, has_aux=True)
            value, (aux, states) = value
            parts.update(states)
            value = (value, aux) if has_aux else value
        return value, grads if isinstance(argnums, Sequence) else grads[0], flow

    def probe(loss, args, nums, step, *, has_aux):
        _checks.arrays([arg if k in nums else None for k, arg in enumerate(args)])
        _checks.differentiable(args, nums)
        loss, args, restore = hold(loss, args)
        graph, out_tree = trace_call(loss, args)
        _check_scalar(graph, out_tree, has_aux)
        active = [k in nums for k, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
        whole, found, seen = plan(graph, active, steps=steps, opaque=opaque, amend=amend)
        _check_found(found, seen)

        def probed(differentiated, zeros):
            full = list(args)
            for k, arg in zip(nums, differentiated, strict=True):
                full[k] = arg
            at_site = measuring(found, chosen, whole)
            results = run(whole, at_site, jax.tree.leaves(full), dict(enumerate(zeros)))
            out = jax.tree.unflatten(out_tree, results)
            return out if has_aux else (out, None)

        def measured():
            differentiated = tuple(args[k] for k in nums)
            (value, aux), (grads, sums) = jax.value_and_grad(probed, (0, 1), has_aux=True)(
                differentiated, sinks(found, chosen, whole)
            )
            packed = gather({s.key: of_site for s, of_site in zip(found, sums, strict=True)})
            flow = Flow(packed, jnp.ones((), jnp.float32), found, order_of_sums(chosen))
            return (value, aux) if has_aux else value, grads, flow

        if every is None:
            value, grads, flow = measured()
            return restore(value), grads, flow
        nothing = jax.eval_shape(measured)[2]

        def idle():
            value, grads = jax.value_and_grad(loss, nums, has_aux)(*args)
            return value, grads, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), nothing)

        branches = measured, idle
        if _jaxpr.convolves(graph):
            branches = tuple(map(_jaxpr.relaid, branches))
        value, grads, flow = jax.lax.cond(step % every == 0, *branches)
        return restore(value), grads, flow

    return value_grad_and_flow_of_loss if every is None else on_steps


def gradient_flow(loss: Callable[..., Any], **options: Any) -> Callable[..., Flow]:
    """The flow alone; arguments and options as of `value_grad_and_flow`.

    Example:
      >>> flow = gradient_flow(lambda x: jnp.sum(jnp.tanh(x)))(jnp.zeros(4))
      >>> [float(flow[key].log_gain) for key in flow]
      [0.0]
    """
    probed = value_grad_and_flow(loss, **options)
    return lambda *args, **named: probed(*args, **named)[2]


def trace_call(fn: Callable[..., Any], args: Sequence[Any]) -> tuple[Graph, Any]:
    """The graph of a call, and the tree structure of its result."""
    _checks.arrays(args)
    with class_names(args):
        return _jaxpr.trace(fn, *args)


def _check_scalar(graph: Graph, out_tree: Any, has_aux: bool) -> None:
    values = [graph.avals[v] for v in graph.outputs]
    if has_aux:
        parts = out_tree.children()
        if len(parts) != 2 or parts[0].num_leaves != 1:
            msg = f"has_aux=True wants a loss that returns (value, aux); it returned {out_tree}"
            raise TypeError(msg)
    elif len(values) != 1:
        msg = (
            f"the loss must be one scalar; it returned {out_tree} (has_aux=True for extra results)"
        )
        raise TypeError(msg)
    value = values[0]
    if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
        msg = (
            f"the loss must be a real scalar; it returned {value.dtype}{list(value.shape)}. "
            "Sum or average it, as in `lambda *args: fn(*args).mean()`"
        )
        raise TypeError(msg)


def _check_found(found: tuple[Site, ...], seen: tuple[Site, ...]) -> None:
    if found:
        return
    others = ", ".join(f"{s.activation} at {s.source or s.path} ({s.role})" for s in seen[:5])
    msg = (
        "no activation was found on the way of the gradient; "
        f"{'seen: ' + others if others else 'nothing elementwise and nonlinear was seen'}. "
        "A site can be placed by hand: probes.tap(x, 'name')"
    )
    raise ValueError(msg)
