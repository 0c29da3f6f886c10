"""Runs a traced function with its sites probed: measures leave as the gradients of zero sinks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgrad import _jaxpr
from jgrad._jaxpr import Graph
from jgrad._numerics import at_least_float32
from jgrad.activations import log_slope

from ._measures import Backward, Forward, Measure
from ._plan import Plan
from ._sites import Found, Site

#: One site's sums by name.
Sums = Mapping[str, jax.Array]


def sinks(sites: Sequence[Site], measures: Sequence[Measure]) -> tuple[Sums, ...]:
    """Zeros of the shapes in which the sites' sums come out, [*steps, ...] each."""
    return tuple(
        {
            name: jnp.zeros((*site.steps, *sum_.shape), sum_.dtype)
            for name, sum_ in _shapes(site, measures).items()
        }
        for site in sites
    )


def _shapes(site: Site, measures: Sequence[Measure]) -> Mapping[str, jax.ShapeDtypeStruct]:
    wide = jnp.promote_types(site.dtype, jnp.float32)
    x = jax.ShapeDtypeStruct(site.shape, wide)

    def all_of_them(x):
        forward = Forward(x, x, x, lambda: x, site.unit_axis)
        return _forward(measures, forward) | _backward(
            measures, Backward(x, x, x, site.unit_axis)
        )

    return jax.eval_shape(all_of_them, x)


def _forward(measures: Sequence[Measure], view: Forward) -> dict[str, jax.Array]:
    sums = {"visits": jnp.ones((), view.z.dtype)}
    for measure in measures:
        if measure.on == "forward":
            sums |= measure.sums(view)
    return sums


def _backward(measures: Sequence[Measure], view: Backward) -> dict[str, jax.Array]:
    sums: dict[str, jax.Array] = {}
    for measure in measures:
        if measure.on == "backward":
            sums |= measure.sums(view)
    return sums


def run(
    plan: Plan,
    sites: Sequence[Site],
    measures: Sequence[Measure],
    args: Sequence[Any],
    sinks: Mapping[int, Sums],
) -> list[Any]:
    """The function's results; the gradient with respect to a sink is its site's sums.

    Args:
      plan: of the traced function.
      sites: all sites that the plan refers to.
      measures: what is summed.
      args: the function's arguments.
      sinks: place of a site → its zeros, here without the axes of the scans that enclose it.
    """
    ends = {found.nodes[-1]: (found, index) for found, index in plan.found}

    def at_node(k: int, operands: Sequence[Any], values: dict[int, Any]):
        node = plan.graph.nodes[k]
        if k in ends:
            found, index = ends[k]
            probed = _probed(plan.graph, found, sites[index].unit_axis, measures)
            params = tuple(values[v] for v in found.params)
            return [probed(values[found.start], params, sinks[index])]
        if k in plan.unused:
            return [None]
        if k in plan.entered:
            plans = plan.entered[k]
            mine = {i: sinks[i] for inner in plans for i in inner.indices()}
            runs = [
                lambda extra, *args, inner=inner: run(inner, sites, measures, args, extra)
                for inner in plans
            ]
            return _jaxpr.rebuild(node.eqn, runs, operands, mine, stepped=k in plan.stepped)
        return None

    return _jaxpr.evaluate(plan.graph, args, at_node)


def scalar_function(graph: Graph, found: Found) -> Callable[..., jax.Array]:
    """The site's own function, `phi(z, params) -> a`."""
    used = {v for k in found.nodes for v in graph.nodes[k].inputs}
    numbers = {v: graph.constants[v] for v in used & graph.literals}

    def phi(z, params):
        values: dict[int, Any] = dict(numbers)
        values.update(zip(found.params, params, strict=True))
        values[found.start] = z
        for k in found.nodes:
            node = graph.nodes[k]
            outputs = _jaxpr.bind(node, [values[v] for v in node.inputs])
            values.update(zip(node.outputs, outputs, strict=True))
        return values[found.end]

    return phi


def _probed(
    graph: Graph, found: Found, unit_axis: int, measures: Sequence[Measure]
) -> Callable[..., jax.Array]:
    """The site's function with a sink whose gradient is the site's sums: `probed(z, params, sink)`."""
    phi = scalar_function(graph, found)

    @jax.custom_vjp
    def probed(z, params, sink):
        return phi(z, params)

    def forward(z, params, sink):
        a, pullback = jax.vjp(phi, z, params)
        slope = at_least_float32(pullback(jnp.ones_like(a))[0])
        wide = at_least_float32(z)

        def logs():
            return jnp.log(jnp.abs(slope)) if found.phi is None else log_slope(found.phi)(wide)

        view = Forward(wide, at_least_float32(a), slope, logs, unit_axis)
        return a, (pullback, _forward(measures, view))

    def backward(kept, da):
        pullback, sums = kept
        dz, dparams = pullback(da)
        slope, _ = pullback(jnp.ones_like(da))
        view = Backward(*(at_least_float32(x) for x in (da, dz, slope)), unit_axis)
        return dz, dparams, sums | _backward(measures, view)

    probed.defvjp(forward, backward)
    return probed

