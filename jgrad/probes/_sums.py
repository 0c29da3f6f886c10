"""Many sums over the same elements in few passes over them, and how they are read.

A measure names what is to be summed, element by element; here everything that a site's measures
want is summed together. On a CPU this is what decides what a probe costs: XLA gives every
`jnp.sum` a loop of its own, and one that adds number by number, since floats may not be
reordered. A variadic `lax.reduce` fills many sums in one loop, and where it takes a few rows at a
time its inner loop runs along the units, which the compiler turns into vector instructions. The
few rows that remain are added up one sum after the other: that takes less to compile.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._jaxpr import varying_like

# Squares are summed of x, of 2⁻⁶⁴ x and of 2⁶⁴ x, and the latter only where x is not of middling
# size anyway; of all x the sum tells by its own size which of the three holds.
_SHIFT, _SMALL = 64, 2.0**-20
_LEAST, _MOST = 2.0**-60, 2.0**100

# Rows times sums in one loop. With more the compiler no longer unrolls it over the rows, and
# without that it is no vector loop.
_UNROLLED = 64
_MOST_ROWS, _MOST_SUMS = 16, 8
# So many numbers of each are left to a sum of their own; on one device, more of them once they
# are in memory, since one pass more takes longer to compile than they take to add.
_FEW, _FEW_IN_MEMORY = 2**11, 2**14


class Squares(NamedTuple):
    """Σ x² as three sums, shape [3, ...]; `norm` and `log_norm` read them.

    The square of 1e-25 is no float32. The sums are of (2⁻⁶⁴ x)² over |x| > 2²⁰, of x² over all x,
    and of (2⁶⁴ x)² over |x| < 2⁻²⁰: between them any normal x counts to rounding.
    """

    x: jax.Array


class Units(NamedTuple):
    """The sum of what is within for every unit by itself, shape [..., unit]."""

    x: "jax.Array | Squares"


#: What a measure may ask for: a float array is summed; of a bool array it is counted, in two limbs
#: (n mod 4096, n div 4096; shape [2, ...]), how many elements are True: float32 stalls at 2²⁴.
Term = jax.Array | Squares | Units


def sums(terms: Mapping[str, Term], unit_axis: int = -1) -> dict[str, jax.Array]:
    """Σ over all elements of every term, by name.

    Args:
      terms: what is summed; arrays of one shape.
      unit_axis: the axis of units.

    Example:
      >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> out = sums({"x": x, "by_unit": Units(x), "large": x > 1})
      >>> float(out["x"]), out["by_unit"].tolist(), out["large"].tolist()
      (10.0, [4.0, 6.0], [3.0, 0.0])
    """
    columns = {name: _columns(term) for name, term in terms.items()}
    by_unit = [isinstance(terms[name], Units) for name, xs in columns.items() for _ in xs]
    few = _in_few_rows([x for xs in columns.values() for x in xs], unit_axis)
    added = iter(_added(few, by_unit))
    return {name: _finished([next(added) for _ in xs]) for name, xs in columns.items()}


def shapes(terms: Mapping[str, Any], unit_axis: int = -1) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of the sums of terms that are themselves shapes and dtypes.

    Example:
      >>> x = jax.ShapeDtypeStruct((5, 3), jnp.float32)
      >>> shapes({"norm": Squares(x), "by_unit": Units(x)})["by_unit"].shape
      (3,)
    """
    return {name: _shape(term, unit_axis) for name, term in terms.items()}


def _shape(term: Any, unit_axis: int) -> jax.ShapeDtypeStruct:
    x = term.x if isinstance(term, Units) else term
    units = ((x.x if isinstance(x, Squares) else x).shape or (1,))[unit_axis]
    by_unit = (units,) if isinstance(term, Units) else ()
    if isinstance(x, Squares):
        return jax.ShapeDtypeStruct((3, *by_unit), x.x.dtype)
    if x.dtype == bool:
        return jax.ShapeDtypeStruct((2, *by_unit), jnp.float32)
    return jax.ShapeDtypeStruct(by_unit, x.dtype)


def _columns(term: Term) -> list[jax.Array]:
    """The arrays whose plain sums make up the term's."""
    x = term.x if isinstance(term, Units) else term
    if isinstance(x, Squares):
        size, zeros = jnp.abs(x.x), jnp.zeros_like(x.x)
        # The choice comes after the product: XLA would square the scale first, and get infinity.
        down = jax.lax.select(size > 1 / _SMALL, x.x * 2.0**-_SHIFT, zeros)
        up = jax.lax.select(size < _SMALL, x.x * 2.0**_SHIFT, zeros)
        return [jnp.square(y) for y in (down, x.x, up)]
    return [x.astype(jnp.int32) if x.dtype == bool else x]


def _in_few_rows(columns: Sequence[jax.Array], unit_axis: int) -> list[jax.Array]:
    """The columns with their units last and most rows added up, [*rows, unit] each."""
    columns = [x if x.ndim else x.reshape(1) for x in columns]
    if unit_axis != -1:
        columns = [jnp.moveaxis(x, unit_axis, -1) for x in columns]
    few = _FEW
    while columns and columns[0].size > few:
        few = _FEW_IN_MEMORY if jax.device_count() == 1 else _FEW
        shape = columns[0].shape
        count = math.ceil(len(columns) / math.ceil(len(columns) / _MOST_SUMS))
        most = min(_MOST_ROWS, _UNROLLED // count)
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
    here = length // math.gcd(length, jax.device_count())
    return max((r for r in range(2, most + 1) if here % r == 0), default=max(here, 1))


def _added(columns: Sequence[jax.Array], by_unit: Sequence[bool]) -> list[jax.Array]:
    """Σ over all axes, or all but the last, of what few rows are left."""
    kinds = [(x.dtype, keeps) for x, keeps in zip(columns, by_unit, strict=True)]
    if jax.device_count() == 1:
        pairs = zip(columns, kinds, strict=True)
        return [jnp.sum(x, tuple(range(x.ndim - keeps)), dtype) for x, (dtype, keeps) in pairs]
    # Together they go from device to device in one message.
    out: dict[int, jax.Array] = {}
    for dtype, keeps in dict.fromkeys(kinds):
        places = [k for k, kind in enumerate(kinds) if kind == (dtype, keeps)]
        together = jnp.stack([columns[k] for k in places], axis=-1 - keeps)
        totals = jnp.sum(together, tuple(range(columns[0].ndim - keeps)), dtype)
        out |= zip(places, jnp.moveaxis(totals, -1 - keeps, 0), strict=True)
    return [out[k] for k in range(len(columns))]


def _finished(parts: Sequence[jax.Array]) -> jax.Array:
    """A term's sums as they leave; a count in its two limbs."""
    if parts[0].dtype == jnp.int32:
        (n,) = parts
        # Not % and //, which care for signs, at ten times the operations to compile.
        return jnp.stack([n & 4095, n >> 12]).astype(jnp.float32)
    return jnp.stack(parts) if len(parts) > 1 else parts[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sums_along(axes: tuple[int, ...], *columns: jax.Array) -> tuple[jax.Array, ...]:
    """Σ along axes of every column, in one loop over all columns."""
    zeros = [varying_like(jnp.zeros((), x.dtype), x) for x in columns]

    def add(xs, ys):
        return tuple(x + y for x, y in zip(xs, ys, strict=True))

    return tuple(jax.lax.reduce(columns, tuple(zeros), add, axes))


@_sums_along.defjvp
def _tangents_along(axes, columns, tangents):
    # JAX's own rule for a reduction of many operands wants a tangent of counts, too.
    out = _sums_along(axes, *columns)
    return out, tuple(
        np.zeros(y.shape, jax.dtypes.float0) if y.dtype == jnp.int32 else jnp.sum(t, axes)
        for y, t in zip(out, tangents, strict=True)
    )


def log_norm(squares: jax.Array, axis: int = -1) -> jax.Array:
    """½ ln Σ x² from the sums of `Squares`, which lie along the axis; -inf where every x is 0."""
    sum_, exponent = _holding(squares, axis)
    return 0.5 * jnp.log(sum_) - exponent.astype(sum_.dtype) * math.log(2.0)


def norm(squares: jax.Array, axis: int = -1) -> jax.Array:
    """√Σ x² from the sums of `Squares`, which lie along the axis."""
    sum_, exponent = _holding(squares, axis)
    return jnp.ldexp(jnp.sqrt(sum_), -exponent)


def _holding(squares: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Of the three sums the one that holds for x of this size, and the exponent of its scale."""
    down, plain, up = jnp.moveaxis(squares, axis, 0)
    is_small, is_large = plain < _LEAST, plain > _MOST
    sum_ = jnp.where(is_small, up, jnp.where(is_large, down, plain))
    return sum_, jnp.where(is_small, _SHIFT, jnp.where(is_large, -_SHIFT, 0))


def read_count(limbs: jax.Array, axis: int) -> jax.Array:
    """The count from its two limbs, which lie along the axis."""
    low, high = jnp.moveaxis(limbs, axis, 0)
    return low + 4096.0 * high
