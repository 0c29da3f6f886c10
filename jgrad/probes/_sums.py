"""Many sums over the same elements in few passes over them.

A measure names what is to be summed, element by element; here everything that a site's measures
want is summed together. On a CPU this is what decides what a probe costs: XLA gives every
`jnp.sum` a loop of its own, and one that adds number by number, since floats may not be
reordered. A variadic `lax.reduce` fills many sums in one loop, and where it takes a few rows at a
time its inner loop runs along the units, which the compiler turns into vector instructions. The
few rows that remain are added up in one more loop, number by number.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._jaxpr import varying_like

#: Where `Squares` parts small from large numbers, and the exponents of what it multiplies them by.
EDGE, UP, DOWN = 2.0**-3, 50, -50

# Operations in a loop: those of its elements, times rows. With more the compiler no longer unrolls
# it over the rows, and without that it is no vector loop. A sum is about two, with what it sums.
_UNROLLED, _OF_A_SUM, _APART = 176, 2, 60
_MOST_ROWS, _MOST_SUMS = 16, 8
# So many numbers of each are left to the last loop; on one device, more of them once they are in
# memory, since one pass more takes longer to compile than they take to add.
_FEW, _FEW_IN_MEMORY = 2**11, 2**14


class Squares(NamedTuple):
    """Σ x² as two sums, shape [2, ...]; `norm` and `log_norm` read them.

    The square of 1e-25 is no float32. The sums are of (2⁵⁰ x)² over |x| < 1/8 and of (2⁻⁵⁰ x)² over
    all other x: between them norms from 1e-34 to 1e+34 come out right, to rounding.
    """

    x: jax.Array


class Units(NamedTuple):
    """The sum of what is within for every unit by itself, shape [..., unit]."""

    x: "jax.Array | Squares"


class Apart(NamedTuple):
    """What is within takes tens of operations an element, and is summed in a loop of its own."""

    x: "jax.Array | Squares | Units"


#: What a measure may ask for: a float array is summed; of a bool array it is counted how many
#: elements are True.
Term = jax.Array | Squares | Units | Apart


class Count(NamedTuple):
    """How many elements were True, where a float32 counts that exactly."""

    n: Any


#: What a term comes to, of all elements [] or of every unit [unit]: a sum, the two of squares, a
#: count, or one past 2²⁴ in two limbs (n mod 4096, n div 4096).
Parts = tuple[Any, ...] | Count


def sums(terms: Mapping[str, Term], unit_axis: int = -1, cost: int = 0) -> dict[str, Parts]:
    """Σ over all elements of every term, by name.

    Args:
      terms: what is summed; arrays of one shape.
      unit_axis: the axis of units.
      cost: about how many operations an element the terms have in common.

    Example:
      >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> out = sums({"x": x, "by_unit": Units(x), "large": x > 1})
      >>> {name: part.tolist() for name, (part,) in out.items()}
      {'x': 10.0, 'by_unit': [4.0, 6.0], 'large': 3.0}
    """
    together = {k: v for k, v in terms.items() if not isinstance(v, Apart)}
    apart = {k: v.x for k, v in terms.items() if isinstance(v, Apart)}
    if not on_one_device():
        return _sums_of(together | apart, unit_axis, cost)
    return _sums_of(together, unit_axis, cost) | _sums_of(apart, unit_axis, cost + _APART)


def _sums_of(terms: Mapping[str, Any], unit_axis: int, cost: int) -> dict[str, Parts]:
    columns = {name: _columns(term) for name, term in terms.items()}
    by_unit = [isinstance(terms[name], Units) for name, xs in columns.items() for _ in xs]
    few = _in_few_rows([x for xs in columns.values() for x in xs], unit_axis, cost)
    added = iter(_added(few, by_unit))

    return {
        name: _as_parts(terms[name], [next(added) for _ in mine]) for name, mine in columns.items()
    }


def shapes(terms: Mapping[str, Any], unit_axis: int = -1) -> dict[str, Parts]:
    """Shapes and dtypes of the sums of terms that are themselves shapes and dtypes.

    Example:
      >>> x = jax.ShapeDtypeStruct((5, 3), jnp.float32)
      >>> [part.shape for part in shapes({"norms": Units(Squares(x))})["norms"]]
      [(3,), (3,)]
    """

    def parts(term: Any) -> Parts:
        term = term.x if isinstance(term, Apart) else term
        x = _plain(term)
        units = (x.shape or (1,))[unit_axis]
        dtype = jnp.float32 if x.dtype == bool else x.dtype
        part = jax.ShapeDtypeStruct((units,) if isinstance(term, Units) else (), dtype)
        if x.dtype == bool:
            return Count(part) if _counts_in_floats(x) else (part, part)
        return (part, part) if _squared(term) else (part,)

    return {name: parts(term) for name, term in terms.items()}


def _plain(term: Any) -> Any:
    """The array within a term that is not Apart."""
    x = term.x if isinstance(term, Units) else term
    return x.x if isinstance(x, Squares) else x


def _squared(term: Any) -> bool:
    return isinstance(term.x if isinstance(term, Units) else term, Squares)


def _counts_in_floats(x: Any) -> bool:
    """Whether a sum of so many ones is exact; then one loop over numbers of one kind is faster."""
    return math.prod(x.shape) < 2**24


def _as_parts(term: Any, sums: Sequence[jax.Array]) -> Parts:
    x = _plain(term)
    if x.dtype != bool:
        return tuple(sums)
    (n,) = sums
    return Count(n) if _counts_in_floats(x) else tuple(map(jnp.float32, (n & 4095, n >> 12)))


def _columns(term: Any) -> list[jax.Array]:
    """The arrays whose plain sums make up the term's."""
    x = term.x if isinstance(term, Units) else term
    if isinstance(x, Squares):
        is_small, zeros = jnp.abs(x.x) < EDGE, jnp.zeros_like(x.x)
        # The choice comes after the product: XLA would square the factors first, to 0 or infinity.
        # NaN is not small.
        small = jax.lax.select(is_small, x.x * 2.0**UP, zeros)
        large = jax.lax.select(is_small, zeros, x.x * 2.0**DOWN)
        return [jnp.square(small), jnp.square(large)]
    if x.dtype == bool:
        return [x.astype(jnp.float32 if _counts_in_floats(x) else jnp.int32)]
    return [x]


def on_one_device() -> bool:
    """Whether no axis can be spread over devices: there is one, or all axes of the mesh are manual.

    Within `shard_map` each device has a program of its own.
    """
    axes = jax.sharding.get_abstract_mesh().axis_types
    return jax.device_count() == 1 or (
        len(axes) > 0 and all(axis == jax.sharding.AxisType.Manual for axis in axes)
    )


def _in_few_rows(columns: Sequence[jax.Array], unit_axis: int, cost: int) -> list[jax.Array]:
    """The columns with their units last and most rows added up, [*rows, unit] each."""
    columns = [x if x.ndim else x.reshape(1) for x in columns]
    if unit_axis != -1:
        columns = [jnp.moveaxis(x, unit_axis, -1) for x in columns]
    few = _FEW
    while columns and columns[0].size > few:
        few = _FEW_IN_MEMORY if on_one_device() else _FEW
        shape = columns[0].shape
        count = math.ceil(len(columns) / math.ceil(len(columns) / _MOST_SUMS))
        most = min(_MOST_ROWS, _UNROLLED // (_OF_A_SUM * count + cost))
        cost = 0  # what is in memory is only read
        rows = [_rows_at_once(d, most) for d in shape[:-1]]
        if max(rows, default=1) == 1:
            break
        axis = int(np.argmax(rows))
        apart = (*shape[:axis], shape[axis] // rows[axis], rows[axis], *shape[axis + 1 :])
        columns = [x.reshape(apart) for x in columns]
        columns = [
            x
            for k in range(0, len(columns), count)
            for x in _sums_along((axis + 1,), *columns[k : k + count])
        ]
    return columns


def _rows_at_once(length: int, most: int) -> int:
    """How many neighbours along an axis are added in one loop: a divisor of its length.

    Neighbours lie on one device: an axis may be spread over the devices, and that part of it is
    left to `_added`.
    """
    here = length if on_one_device() else length // math.gcd(length, jax.device_count())
    return max((r for r in range(2, most + 1) if here % r == 0), default=max(here, 1))


def _added(columns: Sequence[jax.Array], by_unit: Sequence[bool]) -> list[jax.Array]:
    """Σ over all axes, or all but the last, of what few rows are left."""
    out: dict[int, jax.Array] = {}
    if on_one_device():
        for keeps in sorted(set(by_unit)):
            places = [k for k, kept in enumerate(by_unit) if kept == keeps]
            axes = tuple(range(columns[0].ndim - keeps))
            out |= zip(places, _sums_along(axes, *(columns[k] for k in places)), strict=True)
        return [out[k] for k in range(len(columns))]
    kinds = [(x.dtype, keeps) for x, keeps in zip(columns, by_unit, strict=True)]
    # Together they go from device to device in one message.
    for dtype, keeps in dict.fromkeys(kinds):
        places = [k for k, kind in enumerate(kinds) if kind == (dtype, keeps)]
        together = jnp.stack([columns[k] for k in places], axis=-1 - keeps)
        totals = jnp.sum(together, tuple(range(columns[0].ndim - keeps)), dtype)
        out |= zip(places, jnp.moveaxis(totals, -1 - keeps, 0), strict=True)
    return [out[k] for k in range(len(columns))]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sums_along(axes: tuple[int, ...], *columns: jax.Array) -> tuple[jax.Array, ...]:
    """Σ along axes of every column, in one loop over those whose floats are of one dtype."""
    zero = {x.dtype: varying_like(jnp.zeros((), x.dtype), x) for x in columns}
    # XLA refuses two dtypes of floats in one loop; counts go with the first.
    floats = [dtype for dtype in zero if jnp.issubdtype(dtype, jnp.floating)] or [None]
    kinds = [x.dtype if x.dtype in floats else floats[0] for x in columns]

    out: dict[int, jax.Array] = {}
    for kind in floats:
        places = [k for k, other in enumerate(kinds) if other == kind]
        alike = [columns[k] for k in places]
        totals = jax.lax.reduce(alike, [zero[x.dtype] for x in alike], _add, axes)
        out |= zip(places, totals, strict=True)
    return tuple(out[k] for k in range(len(columns)))


# By itself, since JAX keeps the trace of every function that `reduce` was ever given.
def _add(xs, ys):
    return tuple(x + y for x, y in zip(xs, ys, strict=True))


@_sums_along.defjvp
def _tangents_along(axes, columns, tangents):
    # JAX's own rule for a reduction of many operands wants a tangent of counts, too.
    out = _sums_along(axes, *columns)
    return out, tuple(
        np.zeros(y.shape, jax.dtypes.float0) if y.dtype == jnp.int32 else jnp.sum(t, axes)
        for y, t in zip(out, tangents, strict=True)
    )


def after(taken: Any, x: Any) -> tuple[Any, Any]:
    """The sums, and x, which nothing sees before they are taken.

    On a CPU a loop beside a matrix product costs it a core until the end: taken before, by all
    cores, sums cost half as long. Elsewhere they had better share a loop with x.
    """
    if jax.default_backend() != "cpu" or not on_one_device():
        return taken, x
    return jax.lax.optimization_barrier((taken, x))
