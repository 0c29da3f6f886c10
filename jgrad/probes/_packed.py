"""How sums leave a program, in few arrays, and how they are read.

A probed program has hundreds of sums. On a CPU every array that leaves a program costs it
microseconds, as many as some layers take, and every loop milliseconds to compile: so the sums of
all sites that are alike leave together, as the rows of one array or two.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ._sums import DOWN, UP, Count, Parts, on_one_device

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


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["sites", "places"]
)
@dataclasses.dataclass(frozen=True)
class Packed(Mapping):
    """Sites that are alike, each with its sums: site key → name → array.

    An array is a sum [...], a count in two limbs (n mod 4096, n div 4096) or squares [..., 2];
    those of single units have an axis of units behind. A float32 that counts stalls at 2²⁴; limbs
    may be added 4096 times.

    Attributes:
      arrays: [..., site, row] and, for single units, [..., site, row, unit].
      sites: keys of the sites.
      places: (name, where it is) of every sum.
    """

    arrays: tuple[Any, ...]
    sites: tuple[str, ...]
    places: tuple[tuple[str, Place], ...]

    def __getitem__(self, site: str) -> "Sums":
        return Sums(self, self.sites.index(site))

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

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


@dataclasses.dataclass(frozen=True)
class Sums(Mapping):
    """One site's sums by name."""

    packed: Packed
    site: int

    def __getitem__(self, name: str) -> Array:
        place = dict(self.packed.places)[name]
        index = slice(place.start, place.start + place.rows) if place.rows > 1 else place.start
        array = self.packed.arrays[place.array]
        return array[..., self.site, index, :] if place.by_unit else array[..., self.site, index]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.packed.places)

    def __len__(self) -> int:
        return len(self.packed.places)


def pack(parts: Mapping[str, Mapping[str, Parts]]) -> Packed:
    """Site key → name → parts of one shape, in few arrays.

    Example:
      >>> norm, count = (jnp.float32(1.0), jnp.float32(2.0)), Count(jnp.float32(4097))
      >>> packed = pack({"a": {"norm": norm, "n": count}, "b": {"norm": norm, "n": count}})
      >>> packed["b"]["n"].tolist(), packed["b"]["norm"].tolist(), len(packed.arrays)
      ([1.0, 1.0], [1.0, 2.0], 1)
    """
    rows: dict[tuple[bool, Any], list[_Row]] = {}
    places = []
    for name, mine in sorted(next(iter(parts.values())).items()):
        first = _rows(name, mine)
        x = first[0].of(mine)
        kind = by_unit, _ = x.ndim > 0, x.dtype
        before = rows.setdefault(kind, [])
        places.append((name, Place(list(rows).index(kind), len(before), len(first), by_unit)))
        before += first
    arrays = tuple(_stack(parts, of_kind) for of_kind in rows.values())
    return Packed(arrays, tuple(parts), tuple(places))


class _Row(NamedTuple):
    """A row of an array: which part of which sum, and what is made of it if it is a count."""

    name: str
    part: int
    limb: str = ""

    def of(self, parts: Parts) -> Any:
        return parts[self.part]


def _rows(name: str, parts: Parts) -> list[_Row]:
    if isinstance(parts, Count):
        return [_Row(name, 0, "low"), _Row(name, 0, "high")]
    return [_Row(name, k) for k in range(len(parts))]


def _stack(parts: Mapping[str, Mapping[str, Parts]], rows: Sequence[_Row]) -> jax.Array:
    """[site, row, ...]: all in one loop, and all limbs in one more."""
    each = [row.of(of_site[row.name]) for of_site in parts.values() for row in rows]
    # Not jnp.stack, whose checks of hundreds of scalars take longer than all else here.
    every = jax.lax.concatenate([jax.lax.expand_dims(x, (0,)) for x in each], 0)
    whole = every.reshape(len(parts), len(rows), *every.shape[1:])
    low, high = (
        np.array([row.limb == limb for row in rows]).reshape(-1, *(1,) * (whole.ndim - 2))
        for limb in ("low", "high")
    )
    if not low.any():
        return whole
    above = jnp.floor(whole / 4096)
    return jnp.where(low, whole - 4096 * above, jnp.where(high, above, whole))


def gather(sums: Mapping[str, Any]) -> tuple[Packed, ...]:
    """All sites' sums: those not packed yet are packed with those that are alike.

    Args:
      sums: site key → parts by name, or Packed already.
    """
    groups: dict[Any, dict[str, Any]] = collections.defaultdict(dict)
    for key, of_site in sums.items():
        if not isinstance(of_site, Packed):
            leaves, structure = jax.tree.flatten(of_site)
            # Units of one site may lie on other devices than another's: these stay where they are.
            alike = "" if on_one_device() else key
            groups[alike, structure, *((x.shape, x.dtype) for x in leaves)][key] = of_site
    packed = [of_site for of_site in sums.values() if isinstance(of_site, Packed)]
    return (*map(pack, groups.values()), *packed)


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
