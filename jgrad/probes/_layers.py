"""The Jacobian of each site's input with respect to the input of the site before.

Scans are written out here, so that each of their steps has sites of its own: a Jacobian runs the
program once more with the input of one site given, and what of it is not needed costs nothing
once compiled.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jgrad import _jaxpr

from . import _checks
from ._held import hold
from ._interpret import run
from ._plan import Opaque, Plan, check_options, plan
from ._probe import trace_call
from ._sites import Site

#: A site, by its place, and which of its steps in the enclosing scans, counted through.
Visit = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class LayerJacobian:
    """∂z/∂z' of two sites that follow each other, as an operator at the point of the call.

    Attributes:
      source: the site before, whose input is z'.
      target: the site whose input is z.
      source_step: the source's step in each scan that it stands in, outermost first; () outside.
      target_step: the target's.
      at: z'.
      map: z' ↦ z, everything else held at its value.
    """

    source: Site
    target: Site
    source_step: tuple[int, ...]
    target_step: tuple[int, ...]
    at: jax.Array
    map: Callable[[jax.Array], jax.Array]

    def jvp(self, v: jax.Array) -> jax.Array:
        """J v: of z's shape, for v of z's shape before."""
        return jax.jvp(self.map, (self.at,), (v,))[1]

    def vjp(self, u: jax.Array) -> jax.Array:
        """Jᵀ u: of the shape of z', for u of z's shape."""
        return jax.vjp(self.map, self.at)[1](u)[0]

    def dense(self) -> jax.Array:
        """The matrix, [*z.shape, *z'.shape]."""
        wide = self.target.size > self.source.size
        return (jax.jacfwd if wide else jax.jacrev)(self.map)(self.at)


def layer_jacobians(
    fn: Callable[..., Any], *, opaque: Opaque = "raise"
) -> Callable[..., tuple[LayerJacobian, ...]]:
    """A function of fn's arguments that gives the Jacobians between sites along the main path.

    Each step of a scan counts as sites of its own, so a scan of ten tanh layers has nine Jacobians
    inside. For the Jacobian of one example let fn take one example: over a batch it is the whole
    batch's.

    Raises:
      ValueError: the main path runs through sites inside a cond whose branch is not known while
        tracing, a shard_map, or a scan of more than 4096 steps.

    Example:
      >>> import jax.numpy as jnp
      >>> def f(a, b, x):
      ...     return jnp.tanh(b @ jnp.tanh(a @ x))
      >>> a, b = jnp.ones((3, 2)), jnp.ones((4, 3))
      >>> (jacobian,) = layer_jacobians(f)(a, b, jnp.zeros(2))
      >>> jacobian.dense().shape  # b times the slopes of the first tanh, which are 1 at 0
      (4, 3)
    """
    _checks.function(fn, "what layers are looked for in")
    check_options(opaque=opaque)

    def layer_jacobians_of_fn(*args: Any) -> tuple[LayerJacobian, ...]:
        pure, args, _ = hold(fn, args)
        graph, _ = trace_call(pure, args)
        whole, sites, _ = plan(graph, [True] * len(graph.inputs), opaque=opaque)
        inputs = _inputs(whole, sites, args, {})
        path = _path(sites, {index for index, _ in inputs})
        # The program runs along the path, so the order of the visits is that of the layers.
        visits = [visit for visit in inputs if visit[0] in path]
        for visit in visits:
            if inputs[visit] is None:
                msg = (
                    f"{sites[visit[0]].key!r} is inside a cond whose branch depends on traced "
                    "values, a shard_map, or a scan of too many steps: take the Jacobian of its "
                    "body, or call this outside jit, where the branch is known"
                )
                raise ValueError(msg)
        return tuple(
            LayerJacobian(
                sites[before[0]],
                sites[after[0]],
                _step(sites, before),
                _step(sites, after),
                inputs[before],
                functools.partial(_map, whole, sites, args, before, after),
            )
            for before, after in itertools.pairwise(visits)
        )

    return layer_jacobians_of_fn


def _path(sites: Sequence[Site], ran: set[int]) -> set[int]:
    """The main path through the sites that ran: `Flow.main_path`, but for branches not taken."""
    path: set[int] = set()
    before = ran
    while before:
        index = max(before)
        path.add(index)
        before = {p for p in sites[index].parents if p < index} & ran
    return path


def _step(sites: Sequence[Site], visit: Visit) -> tuple[int, ...]:
    index, count = visit
    return tuple(int(n) for n in np.unravel_index(count, sites[index].steps))


def _map(
    whole: Plan,
    sites: Sequence[Site],
    args: tuple[Any, ...],
    before: Visit,
    after: Visit,
    z: jax.Array,
) -> jax.Array:
    """The input at the visit `after` when that at the visit `before` is z."""
    return _inputs(whole, sites, args, {before: z})[after]


def _inputs(
    whole: Plan, sites: Sequence[Site], args: tuple[Any, ...], given: dict[Visit, jax.Array]
) -> dict[Visit, Any]:
    """The inputs of all sites at all their visits, in the program's order, some of them given.

    None at visit -1 of a site stands for visits that cannot be told apart.
    """
    inputs: dict[Visit, Any] = {}

    def at_site(index: int, found: Any, phi: Any, z: Any, params: Any, count: Any) -> Any:
        del found
        if isinstance(count, Tracer):  # in a body that JAX traces: no value of the program here
            return phi(z, params)
        visit = (index, int(count))
        inputs[visit] = given.get(visit, z)
        return phi(inputs[visit], params)

    def written_out(
        eqn: Any, runs: Sequence[Any], operands: Sequence[Any], counts: Any, *, stepped: bool = True
    ) -> Sequence[Any]:
        kind = _jaxpr.kind(eqn)
        if kind == "scan" and stepped and eqn.params["length"]:
            return _scan_written_out(eqn, runs[0], operands, counts)
        if kind in {"remat", "placed"}:
            return runs[0](counts, *operands)
        if kind == "cond" and not isinstance(operands[0], Tracer):
            return runs[int(operands[0])](counts, *operands[1:])
        inputs.update(dict.fromkeys((index, -1) for index in counts))
        return _jaxpr.rebuild(eqn, runs, operands, counts, stepped=stepped)

    counts = {k: np.arange(math.prod(s.steps)).reshape(s.steps) for k, s in enumerate(sites)}
    run(whole, at_site, jax.tree.leaves(args), counts, written_out)
    return inputs


def _scan_written_out(
    eqn: Any, body: Callable[..., Sequence[Any]], operands: Sequence[Any], counts: Any
) -> list[Any]:
    """A scan as a loop: `body(counts of the step, *operands of the step)`."""
    num_consts, num_carry = _jaxpr.scan_split(eqn)
    consts, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]
    scanned = operands[num_consts + num_carry :]
    order = range(eqn.params["length"])
    results = []
    for k in reversed(order) if eqn.params["reverse"] else order:
        mine, xs = jax.tree.map(lambda a, k=k: a[k], (counts, list(scanned)))
        outs = body(mine, *consts, *carry, *xs)
        carry = outs[:num_carry]
        results.append(outs[num_carry:])
    if eqn.params["reverse"]:
        results.reverse()
    return [*carry, *(jnp.stack(column) for column in zip(*results, strict=True))]
