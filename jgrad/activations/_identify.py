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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._types import Elementwise

from ._catalog import CATALOG
from ._families import FAMILIES
from ._link import check_function
from ._samples import IDENTIFY_GRID, Samples

#: Half-width of the region where samples must be finite: a naive formula may overflow beyond it.
_CORE = 8.0
#: Beyond this, what the catalogue says is zero must be zero: `maximum(x, 1e-6)` is no ReLU.
_FAR = 1000.0
#: What counts as zero there.
_TINY = 1e-30
#: Allowed error of a value and of a slope, in units of eps and of the function's own scale.
_VALUE_ULPS, _SLOPE_ULPS = 8.0, 32.0
#: Points at which only the slope may differ: frameworks disagree at kinks, of which there are few.
_KINKS = 2
#: Entries of the catalogue that are never named.
_UNNAMED = frozenset({"exponential"})


#: The catalogue on the grid, written by scripts/activation_samples.
SAMPLES = Path(__file__).with_name("samples.npz")


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
    check_function("identify", fn)
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
    if not eps > 0:
        msg = f"eps is a relative rounding error, above 0; got {eps}"
        raise ValueError(msg)
    values = np.asarray(values, dtype=np.float64)
    slopes = np.asarray(np.full_like(values, np.nan) if slopes is None else slopes, np.float64)
    wanted = IDENTIFY_GRID.shape
    for what, samples in (("values", values), ("slopes", slopes)):
        if samples.shape != wanted:
            msg = f"{what} of shape {samples.shape}, wanted {wanted}, one a point of IDENTIFY_GRID"
            raise ValueError(msg)
    if not np.isfinite(values[np.abs(IDENTIFY_GRID) <= _CORE]).all():
        return None
    return _identified(values.tobytes(), slopes.tobytes(), eps, tuple(CATALOG.items()))


@functools.lru_cache(maxsize=1024)  # a deep network's layers are alike
def _identified(
    values: bytes, slopes: bytes, eps: float, catalogue: tuple[tuple[str, Elementwise], ...]
) -> Identity | None:
    given = Samples(np.frombuffer(values), np.frombuffer(slopes))
    names, table = _table(catalogue)
    misfits = _misfits(given, table, eps)
    fits = [i for i, name in enumerate(names) if misfits[i] <= 1 and name not in _UNNAMED]
    if fits:
        best = min(fits, key=misfits.__getitem__)
        # Entries that are equal at their defaults fit equally; others are rivals.
        equal = _misfits(table.row(best), table, _EPS) <= 1
        rivals = [i for i in fits if not equal[i]]
        clear = all(misfits[best] < 0.25 * misfits[i] for i in rivals)
        return Identity(names[next(i for i in fits if equal[i])]) if clear else None
    found = [identity for name in FAMILIES if (identity := _member(name, given, eps)) is not None]
    return min(found, key=lambda i: (len(i.params), names.index(i.name)), default=None)


def _misfits(given: Samples, table: Samples, eps: float) -> np.ndarray:
    """Each entry's largest disagreement with φ, in units of what rounding allows; shape [entry]."""
    x = np.abs(IDENTIFY_GRID.astype(np.float64))
    core = x <= _CORE
    # A jump's slope by differences is no number to allow for.
    slopes = np.sort(np.abs(table.slopes[:, core]), axis=1)[:, -1 - _KINKS, None]
    steepest = np.maximum(1.0, slopes)
    allowed = _VALUE_ULPS * eps * (1 + x * steepest + np.abs(table.values))
    allowed = np.where((x > _FAR) & (np.abs(table.values) < _TINY), _TINY, allowed)
    with np.errstate(invalid="ignore"):
        off = np.abs(given.values - table.values) / allowed
    misfits = np.max(np.where(np.isfinite(given.values), off, 0), axis=1)
    if np.isnan(given.slopes).all():
        return misfits
    usable = core & np.isfinite(given.slopes)
    if np.sum(core & ~usable) > _KINKS:
        return np.full_like(misfits, np.inf)
    allowed = _SLOPE_ULPS * eps * (1 + x) * steepest
    with np.errstate(invalid="ignore"):
        off = np.abs(given.slopes - table.slopes) / allowed
    slope_misfits = np.sort(np.where(usable, off, 0), axis=1)[:, -1 - _KINKS]
    return np.maximum(misfits, slope_misfits)


_cached: dict[str, np.ndarray] = {}


def _table(catalogue: tuple[tuple[str, Elementwise], ...]) -> tuple[list[str], Samples]:
    """The catalogue's names, and each entry at its defaults: values and slopes [entry, n].

    They are read from a file, since compiling them all takes seconds; what is not in it (an
    activation that was registered since) is sampled.
    """
    if not _cached:
        _cached.update(_stored())
    for name, phi in catalogue:
        if name not in _cached:
            _cached[name] = sample(phi)
    rows = np.stack([_cached[name] for name, _ in catalogue])
    return [name for name, _ in catalogue], Samples(rows[:, 0], rows[:, 1])


def _stored() -> dict[str, np.ndarray]:
    with np.load(SAMPLES) as file:
        stored = dict(file)
    return stored if np.array_equal(stored.pop("grid"), IDENTIFY_GRID) else {}


def sample(phi: Elementwise) -> np.ndarray:
    """φ and φ' on IDENTIFY_GRID, shape [2, n], float64."""
    with jax.ensure_compile_time_eval():
        grid = jnp.asarray(IDENTIFY_GRID)
        return np.stack(jax.jvp(phi, (grid,), (jnp.ones_like(grid),))).astype(np.float64)


@functools.cache
def _defaults(phi: Elementwise) -> dict[str, float]:
    parameters = inspect.signature(phi).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and isinstance(p.default, int | float)
    }


def _member(name: str, given: Samples, eps: float) -> Identity | None:
    """The member of a family that the samples are of, or None."""
    family, defaults = FAMILIES[name], _defaults(CATALOG[name])
    with np.errstate(all="ignore"):
        try:
            solved = family.solve(given)
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
        if not solved or not all(map(math.isfinite, solved.values())):
            return None
        if solved.keys() - defaults.keys():
            return None
        rounded = {key: _shortest(value, defaults[key]) for key, value in solved.items()}
        x, h = IDENTIFY_GRID.astype(np.float64), 1e-6
        values, right, left = (family.formula(y, **rounded) for y in (x, x + h, x - h))
    # The plain formula stands for the catalogue's function, which takes seconds to compile.
    member = Samples(values[None], (right - left)[None] / (2 * h))
    if not _misfits(given, member, eps)[0] <= 1:
        return None
    params = tuple((key, value) for key, value in rounded.items() if value != defaults[key])
    return Identity(name, params)


def _shortest(value: float, default: float) -> float:
    """The default, or else the shortest decimal, that is `value` within a fit's error."""
    candidates = [default, *(float(f"{value:.{digits}g}") for digits in range(1, 9))]
    near = (c for c in candidates if abs(c - value) <= 16 * _EPS * max(abs(value), 1e-3))
    return next(near, value)
