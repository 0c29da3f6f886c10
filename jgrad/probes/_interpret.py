"""Runs a traced function with its sites probed: measures leave as the gradients of zero sinks."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jgrad import _jaxpr
from jgrad._jaxpr import Graph
from jgrad._numerics import at_least_float32
from jgrad.activations import log_slope

from ._measures import Backward, Forward, Measure
from ._packed import pack
from ._plan import Plan
from ._sites import Found, Site
from ._sums import Parts, Term, after, shapes, sums

#: One site's sums by name, before they are packed.
Sums = Mapping[str, Parts]


def sinks(sites: Sequence[Site], measures: Sequence[Measure], plan: Plan) -> tuple[Any, ...]:
    """Zeros of the shapes in which the sites' sums come out: see `_leaving`."""

    # A deep network's layers are alike.
    @functools.cache
    def shapes_at(*of_site: Any) -> Sums:
        return _shapes(measures, *of_site)

    @functools.cache
    def zeros(shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jnp.zeros(shape, dtype)

    def sink(index: int, site: Site) -> Any:
        out = shapes_at(site.shape, site.dtype, site.unit_axis, site.traced)
        if not _is_on_top(index, plan):
            out = jax.eval_shape(_leaving(index, site, plan), out)
        return jax.tree.map(lambda part: zeros((*site.steps, *part.shape), part.dtype), out)

    return tuple(sink(index, site) for index, site in enumerate(sites))


def _leaving(index: int, site: Site, plan: Plan) -> Callable[[Sums], Any]:
    """What a site makes of its sums before they leave it.

    Inside a body they are packed, for scans and shards add them up, and scans stack what leaves
    them. The others are packed when all are there, the sites that are alike together.
    """
    return dict if _is_on_top(index, plan) else lambda parts: pack({site.key: parts})


def _is_on_top(index: int, plan: Plan) -> bool:
    """Whether the site stands in the function itself, and not in a body inside it."""
    return any(index == top for _, top in plan.found)


def _shapes(
    measures: Sequence[Measure], shape: tuple[int, ...], dtype: str, unit_axis: int, traced: bool
) -> Sums:
    def terms(x):
        x = at_least_float32(x)
        seen = Forward(x, x, x, lambda: x, unit_axis, x if traced else None)
        came = Backward(x, x, x, unit_axis)
        both = _terms("forward", measures, seen) | _terms("backward", measures, came)
        return {"visits": x} | both

    return shapes(jax.eval_shape(terms, jax.ShapeDtypeStruct(shape, dtype)), unit_axis)


def _terms(on: str, measures: Sequence[Measure], view: Any) -> dict[str, Term]:
    terms: dict[str, Term] = {}
    for measure in measures:
        if measure.on == on:
            mine = measure.terms(view)
            if twice := terms.keys() & mine.keys():
                msg = f"two of the measures name a sum {', '.join(map(repr, sorted(twice)))}"
                raise ValueError(msg)
            terms |= mine
    return terms


#: What is done at a site: `at_site(place of the site, found, φ, z, params, its extra) -> a`.
AtSite = Callable[[int, Found, Callable[..., jax.Array], jax.Array, Any, Any], jax.Array]


def run(
    plan: Plan,
    at_site: AtSite,
    args: Sequence[Any],
    extras: Mapping[int, Any],
    rebuild: Callable[..., Sequence[Any]] = _jaxpr.rebuild,
) -> list[Any]:
    """The function's results, with something else done at its sites.

    Args:
      plan: of the traced function.
      at_site: what is done at a site in place of φ.
      args: the function's arguments.
      extras: place of a site → a pytree of arrays, carried to it through whatever encloses it; here
        with the axes of the scans inside the plan's graph, a slice of which each step is handed.
      rebuild: how what encloses sites is run again, with `_jaxpr.rebuild`'s arguments.
    """
    ends = {found.nodes[-1]: (found, index) for found, index in plan.found}

    def at_node(k: int, operands: Sequence[Any], values: dict[int, Any]):
        if k in ends:
            found, index = ends[k]
            phi = scalar_function(plan.graph, found)
            params = tuple(values[v] for v in found.params)
            return [at_site(index, found, phi, values[found.start], params, extras.get(index))]
        if k in plan.unused:
            return [None]
        if k in plan.entered:
            plans = plan.entered[k]
            mine = {i: extras[i] for inner in plans for i in inner.indices() if i in extras}
            runs = [
                lambda extra, *args, inner=inner: run(inner, at_site, args, extra, rebuild)
                for inner in plans
            ]
            eqn = plan.graph.nodes[k].eqn
            return rebuild(eqn, runs, operands, mine, stepped=k in plan.stepped)
        return None

    return _jaxpr.evaluate(plan.graph, args, at_node)


def measuring(sites: Sequence[Site], measures: Sequence[Measure], plan: Plan) -> AtSite:
    """At a site, φ with a sink as its extra: the sink's gradient is the site's sums."""
    # Equal sites share what measures them, and `jit` remembers its trace and its derivatives': a
    # deep network's layers are traced once. It compiles nothing: under the caller's jit it is a
    # call in the caller's program, and XLA inlines it.
    shared: dict[Any, tuple[Callable[..., Any], Callable[..., Any]]] = {}

    def at_site(index, found, phi, z, params, sink):
        # Inside shard_map a sink is one for all shards: its gradient is summed over them.
        sink = jax.tree.map(lambda zero: _jaxpr.varying_like(zero, z), sink)
        site = sites[index]
        key = (found.phi, len(found.nodes), site.unit_axis, site.traced)
        if key not in shared:
            forward, backward = _summed(found, site, measures)
            shared[key] = jax.jit(forward), jax.jit(backward)
        return _probed(phi, site, *shared[key], _leaving(index, site, plan))(z, params, sink)

    return at_site


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


def _summed(
    found: Found, site: Site, measures: Sequence[Measure]
) -> tuple[Callable[..., Sums], Callable[..., Sums]]:
    """The sums of a site on the way forward, of z, a, φ' and φ's parameter, and back."""
    cost = 3 * len(found.nodes)  # φ' is computed in the loop of the sums

    def forward(z, a, slope, parameter):
        z, a, slope = map(at_least_float32, (z, a, slope))

        def logs():
            return jnp.log(jnp.abs(slope)) if found.phi is None else log_slope(found.phi)(z)

        view = Forward(z, a, slope, logs, site.unit_axis, parameter)
        return sums(_terms("forward", measures, view), site.unit_axis, cost)

    def backward(da, dz, slope):
        da, dz, slope = map(at_least_float32, (da, dz, slope))
        view = Backward(da, dz, slope, site.unit_axis)
        return sums(_terms("backward", measures, view), site.unit_axis, cost)

    return forward, backward


def _probed(
    phi: Callable[..., jax.Array],
    site: Site,
    summed_forward: Callable[..., Sums],
    summed_backward: Callable[..., Sums],
    leaving: Callable[[Sums], Any],
) -> Callable[..., jax.Array]:
    """`probed(z, params, sink)`: φ with a sink whose gradient is the site's sums."""

    @jax.custom_vjp
    def probed(z, params, _):
        return phi(z, params)

    def forward(z, params, _):
        a, pullback = jax.vjp(phi, z, params)
        slope = pullback(jnp.ones_like(a))[0]
        parameter = _mean_of_first(params, at_least_float32(z)) if site.traced else None
        visits = {"visits": (jnp.ones((), at_least_float32(z).dtype),)}
        seen, a = after(summed_forward(z, a, slope, parameter), a)
        return a, (pullback, visits | seen)

    def backward(kept, da):
        pullback, seen = kept
        dz, dparams = pullback(da)
        slope, _ = pullback(jnp.ones_like(da))
        more, dz = after(summed_backward(da, dz, slope), dz)
        # A sink is whole, and so must be what comes back for it.
        whole = jax.tree.map(
            lambda sum_: _jaxpr.varying_like(_jaxpr.whole(sum_), da), leaving(seen | more)
        )
        return dz, dparams, whole

    probed.defvjp(forward, backward)
    return probed


def _mean_of_first(params: Sequence[Any], like: jax.Array) -> jax.Array:
    """The mean of the first parameter that is a float, over the shape of `like`; NaN for none."""
    floats = (p for p in params if jnp.issubdtype(p.dtype, jnp.floating))
    mean = jnp.mean(at_least_float32(next(floats, jnp.full((), jnp.nan)))).astype(like.dtype)
    return jnp.broadcast_to(mean, like.shape)
