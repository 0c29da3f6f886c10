"""Data-dependent initialisation: every site's pre-activation brought to unit variance on a batch.

Measured through the probe, so it needs no list of layers: any JAX function will do, weights stacked
for a scan too. The whole is one traced loop that runs the function forwards once per attempt, and
may be jitted and vmapped.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import probes
from jgrad._types import PyTree


@dataclasses.dataclass(frozen=True)
class _Fed:
    """A site with weights to scale, once for each step of the scans that take them all apart.

    Attributes:
      key: of the site.
      weights: which leaves.
      axes: of the site's steps, those along which each of its weights has a part of its own.
      shape: how many steps these are.
      start: where its places begin among those of all sites.
    """

    key: str
    weights: tuple[probes.Weight, ...]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    start: int


def lsuv(
    fn: Callable[..., Any], *, tolerance: float = 1e-3, attempts: int = 20
) -> Callable[..., PyTree]:
    """A function (params, *batch) -> params, rescaled to unit variance of every pre-activation.

    Layer-sequential unit variance (Mishkin & Matas, 2016, arXiv:1511.06422, Algorithm 1): from the
    first site to the last, the weights that a site's z is a product with are divided by the
    standard deviation of z over batch and units, until that is 1. (The paper starts from
    orthonormal weights, which `get("orthogonal")` draws.)

    Weights that a scan takes apart get a scale for each step; weights that it shares, as a
    recurrent net's, one scale for the variance over all steps; weights that several sites share are
    scaled for each in turn, so that the last one counts. What scaling has not brought nearer
    to 1 in the end is left as it was: a site behind a normalisation, or one whose z is constant.
    Biases, gains and weights behind the last site are not touched.

    Args:
      fn: any JAX function of (params, *batch), with any results; the parameters may be a Flax NNX
        module, and then an `nnx.State` of its parameters comes back, for `nnx.update`.
      tolerance: how far from 1 a variance may stay.
      attempts: how often a site's weights are scaled at most: once is enough where z has no bias.

    Raises:
      ValueError: no site of fn is fed by weights; tolerance or attempts is not positive.

    Example:
      >>> def f(params, x):
      ...     for w in params:
      ...         x = jax.nn.relu(x @ w)
      ...     return x
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> params = [0.01 * jax.random.normal(k, (50, 50)) for k in keys[1:]]
      >>> x = jax.random.normal(keys[0], (200, 50))
      >>> a, b = lsuv(f)(params, x)
      >>> print(f"{jnp.var(x @ a):.3f} {jnp.var(jax.nn.relu(x @ a) @ b):.3f}")
      1.000 1.000
    """
    if not tolerance > 0 or attempts < 1:
        msg = f"wanted tolerance > 0 and attempts ≥ 1, got {tolerance!r} and {attempts!r}"
        raise ValueError(msg)

    def initialised(params: Any, *batch: Any) -> PyTree:
        pure, (given, *rest) = probes.pure_call(fn, (params, *batch))
        shape_of_flow = jax.eval_shape(lambda p: _flow(pure, p, rest), given)
        sites = _fed(shape_of_flow, probes.weights(pure)(given, *rest))
        order = jnp.asarray(_order(shape_of_flow, sites))

        def measured(params: PyTree) -> jax.Array:
            return _variances(_flow(pure, params, rest), sites)

        def going(state: Any) -> jax.Array:
            return state[2] < len(order)

        def attempt(state: Any) -> Any:
            now, before, turn, count = state
            (params, variances), place = now, order[turn]
            scales = jnp.ones(len(order)).at[place].set(jax.lax.rsqrt(variances[place]))
            candidate = _scaled(params, sites, scales)
            after = (candidate, measured(candidate))
            wanted = (jnp.abs(variances[place] - 1) > tolerance) & (count < attempts)
            going_on = wanted & jnp.isfinite(after[1][place])
            nearer = _off(variances[place]) < _off(before[1][place])
            settled = _where(nearer, now, before)
            return (
                _where(going_on, after, settled),
                _where(going_on, before, settled),
                turn + jnp.where(going_on, 0, 1),
                jnp.where(going_on, count + 1, 0),
            )

        now = (given, measured(given))
        start = (now, now, jnp.int32(0), jnp.int32(0))
        return jax.lax.while_loop(going, attempt, start)[0][0]

    return initialised


def _off(variance: jax.Array) -> jax.Array:
    """How far from 1, alike above and below."""
    return jnp.abs(jnp.log(variance))


def _where(which: jax.Array, then: PyTree, otherwise: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(which, a, b), then, otherwise)


def _flow(fn: Callable[..., Any], params: PyTree, rest: Sequence[Any]) -> probes.Flow:
    """The moments at all sites, whatever fn returns; what goes backwards is not read."""
    leaves, treedef = jax.tree.flatten(params)
    real = [k for k, leaf in enumerate(leaves) if _is_real(leaf)]

    def total(given: list[jax.Array]) -> jax.Array:
        full = list(leaves)
        for k, leaf in zip(real, given, strict=True):
            full[k] = leaf
        out = filter(_is_real, jax.tree.leaves(fn(jax.tree.unflatten(treedef, full), *rest)))
        return sum((jnp.sum(x.astype(jnp.float32)) for x in out), jnp.float32(0))

    flow = probes.gradient_flow(total, measures=("moments",), opaque="allow")
    return flow([leaves[k] for k in real])


def _is_real(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def _fed(flow: probes.Flow, weights: dict[str, tuple[probes.Weight, ...]]) -> tuple[_Fed, ...]:
    sites: list[_Fed] = []
    start = 0
    for site in flow.sites:
        own = weights.get(site.key, ())
        if own:
            axes = tuple(a for a in range(len(site.steps)) if all(a in w.axes for w in own))
            shape = tuple(site.steps[a] for a in axes)
            sites.append(_Fed(site.key, own, axes, shape, start))
            start += math.prod(shape)
    if not sites:
        there = ", ".join(f"{s.key} ({s.activation})" for s in flow.sites)
        msg = f"no site's z is a product with a leaf of the parameters; sites: {there}"
        raise ValueError(msg)
    return tuple(sites)


def _order(flow: probes.Flow, sites: Sequence[_Fed]) -> list[int]:
    """The places in the order in which the program comes by them."""
    by_key = {site.key: site for site in sites}
    order: dict[int, None] = {}
    for key, step in flow.unrolled:
        if key in by_key:
            site = by_key[key]
            at = tuple(step[a] for a in site.axes)
            inside = int(np.ravel_multi_index(at, site.shape)) if at else 0
            order[site.start + inside] = None
    return list(order)


def _variances(flow: probes.Flow, sites: Sequence[_Fed]) -> jax.Array:
    """The variance of z at every place, over what else there is: batch, units, shared steps."""
    found = []
    for site in sites:
        of_site = flow[site.key]
        others = tuple(a for a in range(len(of_site.site.steps)) if a not in site.axes)
        second, mean = (x.mean(others) for x in (of_site.z_second, of_site.z_mean))
        found.append((second - mean**2).ravel())
    return jnp.concatenate(found)


def _scaled(params: PyTree, sites: Sequence[_Fed], scales: jax.Array) -> PyTree:
    """The parameters, each site's weights times its scale at every place."""
    leaves, treedef = jax.tree.flatten(params)
    for site in sites:
        own = scales[site.start : site.start + math.prod(site.shape)].reshape(site.shape)
        for weight in site.weights:
            leaf = leaves[weight.leaf]
            # The site's axes in the leaf's order, and one for every other axis of the leaf.
            order = [site.axes.index(a) for a in weight.axes if a in site.axes]
            sizes = [own.shape[site.axes.index(a)] if a in site.axes else 1 for a in weight.axes]
            factor = own.transpose(order).reshape(*sizes, *(1,) * (leaf.ndim - len(sizes)))
            leaves[weight.leaf] = leaf * factor.astype(leaf.dtype)
    return jax.tree.unflatten(treedef, leaves)
