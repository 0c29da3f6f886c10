"""How a site's sums travel, a few arrays for all of them, and how they are read.

A probed program has hundreds of sums, and on a CPU every array that leaves a program costs
microseconds: as many as some layers take. So a site's sums are rows of as few arrays as their
shapes and dtypes allow.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._sums import DOWN, UP, Parts

if TYPE_CHECKING:
    Array = jax.Array
else:
    #: What is read may be NumPy's: then nothing is compiled for it.
    Array = jax.Array | np.ndarray | np.generic


def namespace(x: Array) -> Any:
    """The module of functions for such arrays: `jax.numpy` or `numpy`."""
    return jnp if isinstance(x, jax.Array) else np


class Place(NamedTuple):
    """Where a sum is: its rows of one of the arrays."""

    array: int
    start: int
    rows: int
    by_unit: bool


@functools.partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["places"])
@dataclasses.dataclass(frozen=True)
class Packed(Mapping):
    """Sums by name: a sum [...], counts in two limbs (n mod 4096, n div 4096) and squares [..., 2].

    Those of single units have an axis of units behind. A float32 that counts stalls at 2²⁴; limbs
    may be added 4096 times.

    Attributes:
      arrays: [..., row] and, for single units, [..., row, unit].
      places: (name, where it is) of every sum.
    """

    arrays: tuple[Any, ...]
    places: tuple[tuple[str, Place], ...]

    def __getitem__(self, name: str) -> Array:
        place = dict(self.places)[name]
        index = slice(place.start, place.start + place.rows) if place.rows > 1 else place.start
        array = self.arrays[place.array]
        return array[..., index, :] if place.by_unit else array[..., index]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.places)

    def __len__(self) -> int:
        return len(self.places)

    def scale(self, factors: Mapping[str, Any]) -> "Packed":
        """Each sum times the factor of its name, or 1."""
        of_rows: list[list[Any]] = [[] for _ in self.arrays]
        for name, place in self.places:
            of_rows[place.array] += [factors.get(name, 1.0)] * place.rows
        by_unit = {place.array: place.by_unit for _, place in self.places}
        scaled = [
            array * jnp.array(of_row, array.dtype).reshape(-1, *(1,) * by_unit[k])
            for k, (array, of_row) in enumerate(zip(self.arrays, of_rows, strict=True))
        ]
        return dataclasses.replace(self, arrays=tuple(scaled))


def pack(parts: Mapping[str, Parts]) -> Packed:
    """The sums as they leave a program.

    Example:
      >>> packed = pack({"norm": (jnp.float32(1.0), jnp.float32(2.0)), "n": (jnp.int32(4097),)})
      >>> packed["n"].tolist(), packed["norm"].tolist(), len(packed.arrays)
      ([1.0, 1.0], [1.0, 2.0], 1)
    """
    arrays: dict[tuple[bool, Any], list[jax.Array]] = {}
    places = []
    for name, of_name in sorted(parts.items()):  # `jit` sorts them, too
        rows = _limbs(*of_name) if of_name[0].dtype == jnp.int32 else of_name
        kind = by_unit, _ = rows[0].ndim > 0, rows[0].dtype
        before = arrays.setdefault(kind, [])
        place = Place(list(arrays).index(kind), len(before), len(rows), by_unit)
        places.append((name, place))
        before += rows
    return Packed(tuple(map(jnp.stack, arrays.values())), tuple(places))


def _limbs(n: jax.Array) -> Parts:
    # Not % and //, which care for signs, at ten times the operations to compile.
    return tuple(limb.astype(jnp.float32) for limb in (n & 4095, n >> 12))


def read_count(limbs: Array, axis: int) -> Array:
    """The count from its two limbs, which lie along the axis."""
    low, high = namespace(limbs).moveaxis(limbs, axis, 0)
    return low + 4096.0 * high


def log_norm(squares: Array, axis: int = -1) -> Array:
    """½ ln Σ x² from the sums of `Squares`, which lie along the axis; -inf where every x is 0."""
    sum_, exponent = _whole(squares, axis)
    with np.errstate(divide="ignore"):  # -inf is the answer, and NumPy would warn of it
        return 0.5 * namespace(sum_).log(sum_) - exponent * math.log(2.0)


def norm(squares: Array, axis: int = -1) -> Array:
    """√Σ x² from the sums of `Squares`, which lie along the axis."""
    sum_, exponent = _whole(squares, axis)
    xp = namespace(sum_)
    return xp.ldexp(xp.sqrt(sum_), -exponent.astype(int))


def _whole(squares: Array, axis: int) -> tuple[Array, Array]:
    """Σ (2ᵏ x)² over all x, at a k where it is a float, and this exponent k."""
    xp = namespace(squares)
    small, large = xp.moveaxis(squares, axis, 0)
    # Where both count, neither is far from 1; where one is, the other is nothing beside it.
    both = small * 2.0 ** (-2 * UP) + large * 2.0 ** (-2 * DOWN)
    is_small, is_large = large == 0, large > 1
    sum_ = xp.where(is_small, small, xp.where(is_large, large, both))
    exponent = xp.where(is_small, UP, xp.where(is_large, DOWN, 0))
    return sum_, exponent.astype(sum_.dtype)
