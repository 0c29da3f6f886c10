"""Which activation is this? A scalar function is named by its values and slopes on a fixed grid.

A name is given where every sample agrees with the catalogue within the rounding of a naive
formula; a family with parameters is first solved for them in closed form. Anything else has no
name: affine functions (but for the identity), constants, powers, |x| (a leaky ReLU of slope -1,
which nobody means by it), and the exponential (in the catalogue, but in a traced program nearly
always a part of a softmax or a loss).
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._types import Elementwise

from ._catalog import CATALOG
from ._families import SOLVERS, Solver

#: Half-width of the region where samples must be finite: a naive formula may overflow beyond it.
_CORE = 8.0
#: Beyond this, what the catalogue says is zero must be zero: `maximum(x, 1e-6)` is no ReLU.
_FAR = 1000.0
#: Allowed error of a value and of a slope, in units of eps and of the function's own scale.
_VALUE_ULPS, _SLOPE_ULPS = 8.0, 32.0
#: Points at which only the slope may differ: frameworks disagree at kinks, of which there are few.
_KINKS = 2
#: Entries of the catalogue that are never named.
_UNNAMED = frozenset({"exponential"})


def _grid() -> np.ndarray:
    # At most eight significant bits a point, so that the grid is exact in bfloat16 and float16.
    # Off the origin no point mirrors another but for those the closed forms below need: a mean or
    # a norm over the grid, which makes a function other than elementwise, then shows.
    dense_right = np.arange(1, 22) * 0.375
    dense_left = -np.arange(1, 19) * 0.4375
    beside_kinks = np.concatenate(
        [(0.498046875, 0.50390625, 0.9921875, 1.0078125, 2.984375, 3.015625, 5.96875, 6.03125)]
    )
    solved_at = np.array([2.0**-6, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16384.0])
    right = np.array([0.0078125, 0.0625, 10.0, 13.0, 20.0, 27.0, 31.0, 128.0, 1024.0, 8192.0])
    left = -np.array([0.00390625, 0.03125, 9.0, 11.0, 18.0, 24.0, 30.0, 112.0, 1280.0, 10240.0])
    points = (dense_right, dense_left, beside_kinks, -beside_kinks, solved_at, -solved_at)
    return np.unique(np.concatenate([*points, right, left, [0.0]])).astype(np.float32)


#: Where functions are sampled: float32, increasing, exact in bfloat16 and float16.
IDENTIFY_GRID: np.ndarray = _grid()
IDENTIFY_GRID.setflags(write=False)


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a function was found to be.

    Attributes:
      name: the canonical name, a key of CATALOG.
      params: (keyword, value) of every parameter that is not at its default.

    Example:
      >>> str(Identity("leaky_relu", (("negative_slope", 0.2),)))
      'leaky_relu(negative_slope=0.2)'
    """

    name: str
    params: tuple[tuple[str, float], ...] = ()

    @property
    def phi(self) -> Elementwise:
        """The catalogue's function, its parameters bound."""
        phi = CATALOG[self.name]
        return functools.partial(phi, **dict(self.params)) if self.params else phi

    def __str__(self) -> str:
        bound = ", ".join(f"{key}={value:g}" for key, value in self.params)
        return f"{self.name}({bound})" if bound else self.name


@dataclasses.dataclass(frozen=True)
class _Samples:
    """A function on the grid: values and slopes [n], float64; slopes may be unknown."""

    values: np.ndarray
    slopes: np.ndarray | None

    def at(self, x: float) -> float:
        return float(self.values[_INDEX[x]])

    def slope_at(self, x: float) -> float:
        return math.nan if self.slopes is None else float(self.slopes[_INDEX[x]])


_INDEX = {float(x): i for i, x in enumerate(IDENTIFY_GRID)}


def identify(fn: Callable[..., Any]) -> Identity | None:
    """The catalogue's name of an elementwise function, whoever wrote it; None where nothing fits.

    Of equal functions (elu and celu at α = 1) the one with the fewest parameters off their
    defaults is named, and of those the first in CATALOG. What lies beyond |x| = 2¹⁴ is not looked
    at. Parameters come rounded to the shortest decimal that the samples cannot tell from the
    fit; where φ jumps (hardshrink, threshold), only the default place of the jump is known.

    Args:
      fn: maps float arrays of shape [n] to the same shape, elementwise. Functions of JAX are
        compared by value and slope; what JAX cannot trace (NumPy, `math`), by value alone.

    Example:
      >>> print(identify(lambda x: x * jnp.tanh(jnp.log1p(jnp.exp(x)))))
      mish
      >>> print(identify(lambda x: jnp.where(x > 0, x, 0.2 * x)))
      leaky_relu(negative_slope=0.2)
      >>> print(identify(lambda x: 2 * x + 1))
      None
    """
    try:
        with jax.ensure_compile_time_eval():
            grid = jnp.asarray(IDENTIFY_GRID)
            values, slopes = jax.jvp(fn, (grid,), (jnp.ones_like(grid),))
    except Exception:  # Whatever a function that is not JAX's raises on a tracer.
        return _identify_values(fn)
    if jnp.shape(values) != IDENTIFY_GRID.shape or not jnp.issubdtype(values.dtype, jnp.floating):
        return None
    return identify_samples(values, slopes, eps=float(jnp.finfo(values.dtype).eps))


def _identify_values(fn: Callable[..., Any]) -> Identity | None:
    grid = IDENTIFY_GRID.astype(np.float64)
    with np.errstate(all="ignore"):
        try:
            values = np.asarray(fn(grid))
        except Exception:  # Such as math.tanh, which takes one number at a time.
            values = np.array([_or_nan(fn, float(x)) for x in grid])
    if values.shape != grid.shape or not np.issubdtype(values.dtype, np.floating):
        return None
    return identify_samples(values, eps=max(float(np.finfo(values.dtype).eps), _EPS))


def _or_nan(fn: Callable[[float], float], x: float) -> float:
    try:
        return float(fn(x))
    except (OverflowError, ZeroDivisionError, ValueError):
        return math.nan


_EPS = float(np.finfo(np.float32).eps)


def identify_samples(
    values: Any, slopes: Any | None = None, *, eps: float = _EPS
) -> Identity | None:
    """The catalogue's name of a function given by its samples on IDENTIFY_GRID.

    Samples that are not finite are left out where |x| > 8 (a naive formula may overflow there);
    nearer the origin they mean that the function has no name.

    Args:
      values: φ(IDENTIFY_GRID), shape [n].
      slopes: φ'(IDENTIFY_GRID), shape [n]; without them values alone decide.
      eps: relative rounding of the arithmetic that φ was evaluated in. Coarser than float32's
        (in bfloat16 gelu and gelu_tanh hardly differ), a name is given only where the best fit
        is far better than any other.

    Example:
      >>> print(identify_samples(np.maximum(IDENTIFY_GRID, 0.0), IDENTIFY_GRID > 0))
      relu
    """
    values = np.asarray(values, dtype=np.float64)
    slopes = None if slopes is None else np.asarray(slopes, dtype=np.float64)
    wanted = (len(IDENTIFY_GRID),)
    for what, samples in (("values", values), ("slopes", slopes)):
        if samples is not None and samples.shape != wanted:
            msg = f"{what} of shape {samples.shape}, wanted {wanted}, one a point of IDENTIFY_GRID"
            raise ValueError(msg)
    if not np.isfinite(values[np.abs(IDENTIFY_GRID) <= _CORE]).all():
        return None
    given = _Samples(values, slopes)
    misfits = {
        name: _misfit(given, entry, eps) for name, entry in _table().items() if name not in _UNNAMED
    }
    fits = [name for name, misfit in misfits.items() if misfit <= 1]
    if fits:
        best = min(fits, key=misfits.__getitem__)
        first = next(n for n in fits if _misfit(_table()[n], _table()[best], _EPS) <= 1)
        rivals = [n for n in fits if _misfit(_table()[n], _table()[best], _EPS) > 1]
        clear = all(misfits[best] < 0.25 * misfits[rival] for rival in rivals)
        return Identity(first) if clear else None
    found = [
        identity
        for name, solve in SOLVERS.items()
        if name in CATALOG and (identity := _fitted(name, solve, given, eps)) is not None
    ]
    order = list(CATALOG)
    return min(found, key=lambda i: (len(i.params), order.index(i.name)), default=None)


def _misfit(given: _Samples, entry: _Samples, eps: float) -> float:
    """The largest disagreement of two functions, in units of what rounding allows."""
    x = np.abs(IDENTIFY_GRID.astype(np.float64))
    core = x <= _CORE
    steepest = max(1.0, float(np.max(np.abs(entry.slopes[core]))))  # type: ignore[index]
    usable = np.isfinite(given.values)
    allowed = _VALUE_ULPS * eps * (1 + x * steepest + np.abs(entry.values))
    allowed = np.where((x > _FAR) & (np.abs(entry.values) < 1e-30), 1e-30, allowed)
    with np.errstate(invalid="ignore"):
        misfit = float(np.max((np.abs(given.values - entry.values) / allowed)[usable]))
    if given.slopes is None or entry.slopes is None or misfit > 1:
        return misfit
    usable = core & np.isfinite(given.slopes)
    if np.sum(core & ~usable) > _KINKS:
        return math.inf
    allowed = _SLOPE_ULPS * eps * (1 + x) * steepest
    off = np.sort((np.abs(given.slopes - entry.slopes) / allowed)[usable])
    return max(misfit, float(off[-1 - _KINKS]))


def _sampled(phi: Elementwise) -> _Samples:
    with jax.ensure_compile_time_eval():
        grid = jnp.asarray(IDENTIFY_GRID)
        values, slopes = jax.jvp(phi, (grid,), (jnp.ones_like(grid),))
        return _Samples(np.asarray(values, np.float64), np.asarray(slopes, np.float64))


_cached: dict[str, _Samples] = {}


def _table() -> Mapping[str, _Samples]:
    """Every entry of the catalogue on the grid, at its defaults; sampled at first use."""
    for name in CATALOG:
        if name not in _cached:
            _cached[name] = _sampled(CATALOG[name])
    return _cached


def _defaults(phi: Elementwise) -> dict[str, float]:
    parameters = inspect.signature(phi).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and isinstance(p.default, int | float)
    }


def _fitted(name: str, solve: Solver, given: _Samples, eps: float) -> Identity | None:
    """The member of a family that the samples are of, or None."""
    with np.errstate(all="ignore"):
        try:
            solved = solve(given)
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
    defaults = _defaults(CATALOG[name])
    if (
        not solved
        or not all(map(math.isfinite, solved.values()))
        or solved.keys() - defaults.keys()
    ):
        return None
    rounded = {key: _shortest(value, defaults[key]) for key, value in solved.items()}
    params = tuple((key, value) for key, value in rounded.items() if value != defaults[key])
    identity = Identity(name, params)
    entry = _sampled(identity.phi)
    return identity if _misfit(given, entry, eps) <= 1 else None


def _shortest(value: float, default: float) -> float:
    """The default, or else the shortest decimal, that is `value` within a fit's error."""
    candidates = [default, *(float(f"{value:.{digits}g}") for digits in range(1, 9))]
    near = (c for c in candidates if abs(c - value) <= 16 * _EPS * max(abs(value), 1e-3))
    return next(near, value)
