"""The spectrum of a long product of Jacobians, in logarithms throughout.

J = J_L ... J_1 is never multiplied out. A sweep backwards, of QR steps on Jᵀ, finds a frame Q₀
close to the right singular vectors; a sweep forwards, J_l Q_{l-1} = Q_l R_l, gives J Q₀ = Q_L T
with T = R_L ... R_1 = D U: D diagonal, kept as logarithms, and U with a unit diagonal.
The singular values of Uᵀ D then come from a Jacobi method on scaled columns.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._inputs import as_arrays, batch_axis, count, one_example, output_of, shapes, wide_dtype
from ._scaled_svd import log_singular_values_of_scaled
from ._structure import both_modes

#: A map, or a map (params, x) with stacked params: one application for each of their slices.
Map = Callable[..., jax.Array] | tuple[Callable[..., jax.Array], PyTree]


def log_singular_values(
    maps: Sequence[Map],
) -> Callable[..., Float[Array, "batch r"]]:
    """Ln of the singular values of a chain's Jacobian, largest first: (x, key=None) -> [batch, r].

    The chain applies maps[0] first. Each map takes one example; a pair (f, params) stands for the
    maps x -> f(params[i], x), i along the leading axis of every leaf of params, and the same
    function several times in a row, as in `[f] * 10_000`, for one scan. r is the smallest size on
    the way. Values are in float32 or better, finite however long the chain, and exactly zero ones
    are -inf; rounding in a layer hides what is below eps times its largest singular value, so rank
    lost inside a layer may show as a very small value instead.

    The method is discrete QR for Lyapunov exponents (the standard one, of Benettin et al., 1980;
    Skokos, arXiv:0811.0882, surveys it) with the triangular factors kept; see the module's
    docstring.

    Raises:
      ValueError: there is no map, x is no batch, a map fails on its input, or a scanned map
        changes the shape.
      TypeError: x or a map's output is no array of real floats, or a map is not differentiable both
        forwards and backwards.

    Example:
      >>> def halve(x):
      ...     return x * jnp.array([0.5, 0.25])
      >>> log_singular_values([halve] * 1000)(jnp.ones((1, 2))).round()
      Array([[ -693., -1386.]], dtype=float32)
    """
    if callable(maps):
        msg = f"maps is {maps!r}; wanted a sequence of maps, as [f]"
        raise TypeError(msg)
    if not maps:
        msg = "maps is empty; wanted at least one map"
        raise ValueError(msg)
    links = _grouped(maps)

    def of(x: jax.Array, key: jax.Array | None = None) -> Float[Array, "batch r"]:
        x = as_arrays(x)
        batch_axis(x)
        values = _shapes(links, one_example(x))
        frame = jax.random.key(0) if key is None else key
        rank = min(map(count, values))
        return jax.vmap(lambda x: _spectrum(links, x, frame, rank))(x)

    return of


class _Link(NamedTuple):
    """f applied `times` over: with the slices of params, or without any if None."""

    f: Callable[..., jax.Array]
    params: PyTree
    times: int

    def at(self, x: jax.Array, params: PyTree) -> jax.Array:
        return self.f(x) if self.params is None else self.f(params, x)


def _grouped(maps: Sequence[Map]) -> list[_Link]:
    links: list[_Link] = []
    for entry in maps:
        if isinstance(entry, tuple) and len(entry) == 2:
            f, params = entry[0], jax.tree.map(jnp.asarray, entry[1])
            times = batch_axis(params, "params") if jax.tree.leaves(params) else 0
            if not times:
                msg = (
                    f"params has the shapes {shapes(params) or None}; wanted one leading axis, the "
                    "map's applications, of at least one"
                )
                raise ValueError(msg)
            links.append(_Link(f, params, times))
        elif links and links[-1].f is entry and links[-1].params is None:
            links[-1] = links[-1]._replace(times=links[-1].times + 1)
        elif callable(entry):
            links.append(_Link(entry, None, 1))
        else:
            msg = f"a map is {entry!r}; wanted a function, or a pair (function, stacked params)"
            raise TypeError(msg)
    return links


def _shapes(links: Sequence[_Link], example: PyTree) -> list[PyTree]:
    values = [_one_array(example, "an example of x")]
    for link in links:
        given = values[-1]
        slices = [] if link.params is None else [one_example(link.params)]
        out = _one_array(output_of(link.f, *slices, given, what="a map"), "what a map returns")
        # Only the shapes count: the map is traced, not run.
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), slices)
        both_modes(functools.partial(link.f, *zeros), given, out)
        if link.times > 1 and (out.shape, out.dtype) != (given.shape, given.dtype):
            msg = (
                f"a map is applied {link.times} times in a row but turns "
                f"{given.dtype}{list(given.shape)} into {out.dtype}{list(out.shape)}; wanted the "
                "same again"
            )
            raise ValueError(msg)
        values.append(out)
    return values


def _one_array(struct: PyTree, what: str) -> jax.ShapeDtypeStruct:
    if not isinstance(struct, jax.ShapeDtypeStruct):
        msg = f"{what} is {jax.tree.structure(struct)}; the maps of a chain take and give one array"
        raise TypeError(msg)
    return struct


def _spectrum(
    links: Sequence[_Link], x: jax.Array, key: jax.Array, rank: int
) -> Float[Array, " r"]:
    points = []
    for link in links:
        x, before = _folded(lambda x, p, link=link: (link.at(x, p), x), x, link.params, link.times)
        points.append(before)
    if rank == 0:
        return jnp.zeros(0, wide_dtype(x))
    frame = random_frame(key, x, rank)
    for link, before in zip(reversed(links), reversed(points), strict=True):
        frame, _ = _folded(
            lambda q, at, link=link: (_pull(link, q, *at), None),
            frame,
            (before, link.params),
            link.times,
            reverse=True,
        )
    state = (frame, Product.empty(rank, frame.dtype))
    for link, before in zip(links, points, strict=True):
        state, _ = _folded(
            lambda state, at, link=link: (_push(link, *state, *at), None),
            state,
            (before, link.params),
            link.times,
        )
    _, product = state
    return log_singular_values_of_scaled(product.unit.T, product.log_diagonal)


def _folded(
    step: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    slices: PyTree,
    times: int,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """`lax.scan`, but a single step may change the state's shape."""
    if times > 1:
        return lax.scan(step, state, slices, times, reverse=reverse)
    state, out = step(state, jax.tree.map(lambda leaf: leaf[0], slices))
    return state, jax.tree.map(lambda leaf: leaf[None], out)


def _pull(link: _Link, frame: Float[Array, "m r"], x: Any, params: PyTree) -> Float[Array, "n r"]:
    value, pull = jax.vjp(lambda x: link.at(x, params), x)

    def row(u: jax.Array) -> jax.Array:
        (cotangent,) = pull(u.reshape(value.shape).astype(value.dtype))
        return cotangent.ravel().astype(frame.dtype)

    return scaled_qr(jax.vmap(row)(frame.T).T)[0]


def _push(
    link: _Link, frame: Float[Array, "n r"], product: "Product", x: Any, params: PyTree
) -> tuple[Float[Array, "m r"], "Product"]:
    def column(v: jax.Array) -> jax.Array:
        tangent = v.reshape(x.shape).astype(x.dtype)
        image = jax.jvp(lambda x: link.at(x, params), (x,), (tangent,))[1]
        return image.ravel().astype(frame.dtype)

    frame, triangle, log_scale = scaled_qr(jax.vmap(column, out_axes=1, in_axes=1)(frame))
    return frame, product.times(triangle, log_scale)


def random_frame(key: jax.Array, like: jax.Array, rank: int) -> Float[Array, "n r"]:
    """Orthonormal columns in a random direction, so that no axis is preferred."""
    normal = jax.random.normal(key, (like.size, rank), wide_dtype(like))
    return jnp.linalg.qr(normal)[0]


def scaled_qr(
    matrix: Float[Array, "m r"],
) -> tuple[Float[Array, "m r"], Float[Array, "r r"], Float[Array, ""]]:
    """Q, R and ln s with matrix = Q (s R), diag R ≥ 0 and the largest entry of s R near s.

    Rows are sorted by size first: then the rows of a dead unit stay exactly zero, and rows of
    very different size keep their own precision, as the tests measure.
    """
    size = jnp.max(jnp.abs(matrix))
    matrix = matrix / jnp.where(size > 0, size, 1)
    order = jnp.argsort(-jnp.max(jnp.abs(matrix), axis=1))
    sorted_q, r = _qr(matrix[order])
    signs = jnp.where(jnp.diag(r) < 0, -1, 1).astype(r.dtype)
    q = jnp.zeros_like(sorted_q).at[order].set(sorted_q * signs[None])
    # Not ln of the NaN that a comparison hides: NaN stays NaN.
    return q, r * signs[:, None], jnp.where(size == 0, 0, jnp.log(jnp.where(size == 0, 1, size)))


def _qr(matrix: Float[Array, "m r"]) -> tuple[Float[Array, "m r"], Float[Array, "r r"]]:
    """`jnp.linalg.qr`, which has no rule for a batch that is spread over explicit axes."""
    axes = jax.typeof(matrix).sharding.mesh.axis_types
    if jax.sharding.AxisType.Explicit not in axes:
        return jnp.linalg.qr(matrix)
    whole = jax.sharding.PartitionSpec()
    q, r = jax.sharding.auto_axes(jnp.linalg.qr, out_sharding=whole)(matrix)  # pyright: ignore
    return q, r


class Product(NamedTuple):
    """T = diag(exp(log_diagonal)) · unit, a product of upper triangular matrices.

    Attributes:
      log_diagonal: ln of T's diagonal, -inf where it is zero.
      lost: what rounding took from log_diagonal so far (Kahan): ten thousand layers add up.
      unit: upper triangular with a unit diagonal.
    """

    log_diagonal: Float[Array, " r"]
    lost: Float[Array, " r"]
    unit: Float[Array, "r r"]

    @classmethod
    def empty(cls, rank: int, dtype: jnp.dtype) -> "Product":
        """The identity."""
        zero = jnp.zeros(rank, dtype)
        return cls(zero, zero, jnp.eye(rank, dtype=dtype))

    def times(self, triangle: Float[Array, "r r"], log_scale: Float[Array, ""]) -> "Product":
        """exp(log_scale) · triangle · T."""
        pivot = jnp.diag(triangle)
        logs = self.log_diagonal
        alive = (pivot != 0) & ~jnp.isneginf(logs)
        # In logarithms: R_ik / R_ii is as small as exp(logs_k - logs_i) is large, or the reverse.
        ratio = jnp.log(jnp.abs(triangle)) - jnp.log(pivot)[:, None] + logs[None] - logs[:, None]
        ceiling = 0.5 * math.log(float(jnp.finfo(triangle.dtype).max))
        weights = jnp.sign(triangle) * jnp.exp(jnp.minimum(ratio, ceiling))
        keep = alive[:, None] & alive[None] & (triangle != 0)
        unit = jnp.where(keep, weights, 0) @ self.unit
        unit = jnp.where(alive[:, None], unit, 0)
        unit = jnp.where(jnp.eye(logs.size, dtype=bool), 1, unit)
        step = jnp.where(alive, jnp.log(jnp.where(alive, pivot, 1)) + log_scale, 0) - self.lost
        total = logs + step
        dead = pivot == 0
        return Product(
            jnp.where(dead, -jnp.inf, total),
            jnp.where(alive, (total - logs) - step, 0),
            unit,
        )
