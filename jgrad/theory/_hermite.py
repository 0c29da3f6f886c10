"""Hermite coefficients of an activation, and the correlation maps made of them."""

import math
from collections.abc import Callable

import numpy as np
import scipy.optimize

from jgrad._types import Elementwise

from . import _checks
from ._gaussian import average, slope_squared, value_squared
from ._sampling import Host, name_of, resolve, sample_between

#: Standard deviations out to which φ times the Gaussian's square root is looked at, in turn, until
#: what lies at the ends is nothing: the first for all but what grows exponentially.
_WINDOWS = (13, 20, 36)

#: Terms of the power series of a correlation map; beyond it, the borders of a power law's bins.
_SERIES = 400
_ENDS = (_SERIES - 0.5) * np.exp(np.linspace(0, 18, 240))
DEGREES = np.concatenate([np.arange(_SERIES, dtype=float), np.sqrt(_ENDS[:-1] * _ENDS[1:])])


def hermite(
    phi: Elementwise | str,
    count: int,
    *,
    q: float = 1.0,
    kinks: tuple[float, ...] | None = None,
) -> Host:
    """a_k = E φ(√q z) h_k(z) for k < count, h_k the normalised Hermite polynomials; [count].

    φ(√q z) = Σ a_k h_k(z) in mean square, and E φ(u)φ(v) = Σ a_k² c^k for inputs of variance q and
    correlation c (Daniely et al., 2016, arXiv:1602.05897). To about 1e-13 for count ≤ 500.

    Raises:
      ValueError: q is not positive, or φ grows so fast that its coefficients are not resolved.

    Example:
      >>> hermite("relu", 3).round(6)
      array([0.398942, 0.5     , 0.282095])
    """
    _checks.whole("count", count, 0)
    _checks.positive("q, a variance", q)
    return _coefficients(phi, q, count, lambda value, _: value, kinks)


def slope_modes(
    phi: Elementwise | str, q: float, *, kinks: tuple[float, ...] | None = None
) -> Host:
    """Hermite coefficients 1 ≤ r < 400 of φ'(√q z)²/E φ'(√q z)², [399]; 0 where φ' is 0.

    Σ b_r² c^r is the covariance over squared mean of φ'² at inputs of correlation c. The squares
    fall as r^-3/2 where φ' jumps, so that at c = 1 2.5 % of relu's variance is lacking.
    """
    found = _coefficients(phi, q, _SERIES, lambda _, slope: slope**2, kinks)
    return found[1:] / found[0] if found[0] > 0 else 0 * found[1:]


def _coefficients(
    phi: Elementwise | str,
    q: float,
    count: int,
    what: Callable[[Host, Host], Host],
    kinks: tuple[float, ...] | None,
) -> Host:
    """Of `what`, a function of φ and φ'."""
    phi, scale = resolve(phi), math.sqrt(q)
    for window in _WINDOWS:
        # Half a standard deviation a panel: the 500th polynomial has two waves there.
        borders = np.linspace(-window, window, 4 * window + 1)
        samples = sample_between(phi, borders * scale, kinks=kinks)
        z = samples.x / scale
        # By the functions h_k(z) exp(-z²/4), which stay bounded where the polynomials overflow.
        bell = np.exp(-0.25 * z * z)
        with np.errstate(invalid="ignore", over="ignore"):
            value = what(samples.value, samples.slope)
            weighted = samples.weight / scale * bell * value / math.sqrt(2 * math.pi)
        sizes = np.abs(weighted)
        if sizes[np.abs(z) > 0.95 * window].sum() <= 1e-13 * sizes.sum():
            break
    else:
        msg = f"{name_of(phi)} grows too fast at q = {q:g} for its Hermite coefficients"
        raise ValueError(msg)
    before, now = np.zeros_like(z), bell
    out = np.empty(count)
    for k in range(count):
        out[k] = weighted @ now
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return out


def deficit_masses(
    phi: Elementwise | str, q: float, *, kinks: tuple[float, ...] | None = None
) -> Host:
    """The masses of 1 - K(c)/K(1) = Σ mass (1 - c^degree), on the degrees `DEGREES`, [639].

    The power series in c of φ's Hermite coefficients, up to the 400th, and beyond it a power law
    a_k² ∝ k^-p that holds what the series still lacks of E φ² and of q E φ'². The relative error
    stays bounded as c → 1: rounding for smooth φ, about 1e-5 where φ is bent at the origin, 5e-4
    where elsewhere, 4e-3 where φ jumps. Milliseconds, where `dual` is exact and takes tens.
    """
    second, steep = average(phi, q, value_squared, slope_squared, kinks=kinks)
    series = hermite(phi, _SERIES, q=q, kinks=kinks) ** 2 / second
    left = 1 - series.sum()
    left_slope = q * steep / second - DEGREES[:_SERIES] @ series
    tail = _power_law(left, left_slope) if left > 1e-12 else np.zeros(_ENDS.size - 1)
    return np.concatenate([series, tail])


def deficits(masses: Host, apart: float) -> Host:
    """1 - K(c)/K(1) at c = 1 - apart, for masses [n, 639]; [n]."""
    if apart < 1:
        return -masses @ np.expm1(DEGREES * math.log1p(-apart))
    # For c ≤ 0 the signs alternate, and what is beyond the series is nothing.
    return 1 - masses[:, :_SERIES] @ (1 - apart) ** np.arange(_SERIES)


def _power_law(total: float, slope: float) -> Host:
    """Masses ∝ degree^-p beyond the series, with Σ mass and Σ degree · mass as given."""
    degree = DEGREES[_SERIES:]

    def masses(power: float) -> Host:
        mass = _ENDS[:-1] ** (1 - power) - _ENDS[1:] ** (1 - power)
        return mass * total / mass.sum()

    def excess(power: float) -> float:
        return float(degree @ masses(power)) - slope

    # Where φ jumps p is 3/2, and the second sum is no slope of anything.
    if not excess(12.0) < 0 < excess(1.6):
        return masses(1.5)
    return masses(scipy.optimize.root_scalar(excess, bracket=(1.6, 12.0)).root)


def tabled_by_variance(
    log_q: Host, of: Callable[[float], Host]
) -> tuple[Host, Callable[[float], Host]]:
    """`of` at variances that span these, [n, ...], and the n weights that interpolate at a ln q."""
    # Beyond, φ has become a power law, and what is relative does not change any more.
    low, high = (float(np.clip(f(log_q), -30.0, 100.0)) for f in (np.min, np.max))
    ends = np.stack([of(math.exp(place)) for place in (low, high)])
    if np.abs(ends[0] - ends[1]).max() < 1e-12:
        return ends[:1], lambda _: np.ones(1)
    # Chebyshev's points, and the weights of the polynomial through them in its barycentric form.
    count = min(40, 8 + math.ceil(4 * (high - low)))
    angles = (np.arange(count) + 0.5) * math.pi / count
    places = (low + high) / 2 + (high - low) / 2 * np.cos(angles)
    signs = (-1.0) ** np.arange(count) * np.sin(angles)

    def weights(place: float) -> Host:
        from_each = min(max(place, low), high) - places
        nearest = int(np.abs(from_each).argmin())
        if abs(from_each[nearest]) < 1e-12:
            return np.eye(count)[nearest]
        weight = signs / from_each
        return weight / weight.sum()

    return np.stack([of(math.exp(place)) for place in places]), weights
