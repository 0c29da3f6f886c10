"""What is watched beside the sites: values marked by hand, norms of parameters and gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jgrad import _jaxpr
from jgrad._numerics import at_least_float32
from jgrad._trees import paths
from jgrad._types import PyTree

from . import _checks
from ._flow import Flow
from ._packed import norm
from ._sums import Squares, sums


def tap(x: jax.Array, name: str) -> jax.Array:
    """`x` itself, marked as a site of that name: the probe measures it as an identity.

    For what is no activation and shall be seen all the same: a residual stream, a logit.

    Example:
      >>> from jgrad import probes
      >>> probes.sites(lambda x: jnp.sum(tap(x * 2, "twice")))(jnp.ones(3))[0].key
      'twice'
    """
    if not isinstance(name, str) or not name:
        msg = f"tap(x, name={_checks.quoted(name)}), wanted the site's name, a text"
        raise TypeError(msg)
    return _jaxpr.tap(x, name)


def watch(
    *,
    params: PyTree | None = None,
    grads: PyTree | None = None,
    updates: PyTree | None = None,
    clipped: PyTree | None = None,
) -> dict[str, jax.Array]:
    """Norms of a training step by leaf, as a flat dict of scalars for any logger; works under jit.

    Norms are right from 1e-37 to 1e+38 in float32. For every leaf of what is given, and for all
    leaves together under "total":

    - "{leaf}/param_norm", "{leaf}/grad_norm", "{leaf}/update_norm";
    - "{leaf}/update_ratio", ‖update‖/‖parameter‖, where both are given;
    - "{leaf}/clipped_share", the share of the gradient's norm that clipping took, where the
      gradients before and after clipping are given.

    Args:
      params: parameters.
      grads: gradients, as the loss gave them.
      updates: what is added to the parameters.
      clipped: the gradients after clipping.

    Raises:
      ValueError: two of the trees differ in structure or shapes; one has no leaves.
      TypeError: a leaf is no array of floats or complex numbers.

    Example:
      >>> scalars = watch(params={"w": jnp.array([3.0, 4.0])}, updates={"w": jnp.array([0.5, 0.0])})
      >>> float(scalars["w/update_ratio"])
      0.1000000...
    """
    trees = {"param": params, "grad": grads, "update": updates, "clipped": clipped}
    shapes = {name: _shapes(name, tree) for name, tree in trees.items() if tree is not None}
    if any(of_tree != next(iter(shapes.values())) for of_tree in shapes.values()):
        msg = "the trees differ: " + "; ".join(f"{k} has {v}" for k, v in shapes.items())
        raise ValueError(msg)
    norms = {name: _norms(tree) for name, tree in trees.items() if tree is not None}
    scalars = {
        f"{leaf}/{name}_norm": value
        for name, of_leaf in norms.items()
        if name != "clipped"
        for leaf, value in of_leaf.items()
    }
    if params is not None and updates is not None:
        for leaf, value in norms["update"].items():
            scalars[f"{leaf}/update_ratio"] = value / norms["param"][leaf]
    if grads is not None and clipped is not None:
        for leaf, after in norms["clipped"].items():
            before = norms["grad"][leaf]
            kept = jnp.where(before == 0, 1.0, after / jnp.where(before == 0, 1.0, before))
            scalars[f"{leaf}/clipped_share"] = 1.0 - kept
    return scalars


def _shapes(name: str, tree: PyTree) -> dict[str, list[int]]:
    """Leaf path → its shape, of a tree of that name."""
    found = {}
    for path, leaf in zip(paths(tree), jax.tree.leaves(tree), strict=True):
        if not jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.inexact):
            msg = f"{name}: {path!r} is {_checks.quoted(leaf)}, wanted arrays of floats"
            raise TypeError(msg)
        found[path] = list(jnp.shape(leaf))
    if not found:
        msg = f"{name} has no leaves: {_checks.quoted(tree)}"
        raise ValueError(msg)
    return found


def _norms(tree: PyTree) -> dict[str, jax.Array]:
    """Leaf path → its norm; "total" → that of all."""
    leaves = [at_least_float32(jnp.asarray(leaf)) for leaf in jax.tree.leaves(tree)]
    squares = {
        path: jnp.stack(sums({"": Squares(leaf)})[""])
        for path, leaf in zip(paths(tree), leaves, strict=True)
    }
    squares["total"] = jnp.sum(jnp.stack(list(squares.values())), axis=0)
    return {leaf: norm(of_leaf) for leaf, of_leaf in squares.items()}


class Remembered(NamedTuple):
    """The state of `remember`.

    Attributes:
      inner: the state of the optimiser within.
      scalars: what `watch` says of the last step.
      flow: the flow handed to the last update that had one, if there is one to remember.
    """

    inner: Any
    scalars: dict[str, jax.Array]
    flow: Flow | None


def remember(
    optimizer: optax.GradientTransformation, flow: Flow | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optimiser, with `watch` of the last step (and its flow) kept in its state.

    So a training loop that exists needs one line: wrap its optimiser. A flow is handed over as
    `update(grads, state, params, flow=flow)`.

    Args:
      optimizer: any optax transformation.
      flow: a flow, or its shapes, of the kind that updates will be handed; its numbers are zeroed.

    Example:
      >>> optimizer = remember(optax.sgd(0.1))
      >>> params = {"w": jnp.array([3.0, 4.0])}
      >>> updates, state = optimizer.update(params, optimizer.init(params), params)
      >>> float(state.scalars["w/grad_norm"])
      5.0
    """
    if not isinstance(optimizer, optax.GradientTransformation):
        msg = f"remember wants an optax transformation, got {_checks.quoted(optimizer)}"
        raise TypeError(msg)
    if flow is not None and not isinstance(flow, Flow):
        msg = f"remember(flow={_checks.quoted(flow)}), wanted a Flow"
        raise TypeError(msg)
    optimizer = optax.with_extra_args_support(optimizer)
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), flow)

    def init(params: PyTree) -> Any:
        scalars = watch(params=params, grads=params, updates=params)
        return Remembered(optimizer.init(params), jax.tree.map(jnp.zeros_like, scalars), empty)

    def update(
        updates: PyTree,
        state: Any,
        params: PyTree | None = None,
        *,
        flow: Flow | None = None,
        **extra: Any,
    ) -> tuple[PyTree, Any]:
        if params is None:
            msg = "remember wants the parameters: update(grads, state, params)"
            raise ValueError(msg)
        changes, inner = optimizer.update(updates, state.inner, params, **extra)
        scalars = watch(params=params, grads=updates, updates=changes)
        return changes, Remembered(inner, scalars, state.flow if flow is None else flow)

    return optax.GradientTransformationExtraArgs(init, update)
