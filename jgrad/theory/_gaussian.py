"""Gaussian averages of an activation: moments, Hermite coefficients, bounds of the slope."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jgrad._types import Elementwise

from ._sampling import Host, Samples, name_of, resolve, sample


class At(NamedTuple):
    """φ, φ' and the standardised z at the nodes of a quadrature; arrays that broadcast."""

    value: Host
    slope: Host
    z: Host


#: What to average, as a function of φ, φ' and z at the nodes.
Integrand = Callable[[At], Host]


def value_squared(at: At) -> Host:
    """φ²."""
    return at.value**2


def slope_squared(at: At) -> Host:
    """φ'²."""
    return at.slope**2


#: Beyond this many octaves past the standard deviation, an average that still grows diverges.
_LAST_OCTAVE = 12


def average(
    phi: Elementwise | str,
    q: float | Sequence[float] | Host,
    *integrands: Integrand,
    kinks: tuple[float, ...] | None = None,
) -> Host:
    """Gaussian averages E f over z ~ N(0, 1), of each integrand f at each q; [integrands, *q].

    An integrand f is a function of `At`: value = φ(√q z), slope = φ'(√q z), and z itself.

    Accurate to about 1e-13 of E|f|, for smooth and kinked φ alike.

    Args:
      phi: the activation, or its name.
      q: variances, each positive and finite.
      integrands: what to average.
      kinks: where φ or a derivative jumps; found by itself where not given.

    Raises:
      ValueError: an average diverges (or overflows float64), or q is not positive and finite.

    Example:
      >>> average("relu", 4.0, lambda at: at.value**2).round(12)
      array([2.])
    """
    phi = resolve(phi)
    qs = np.atleast_1d(np.asarray(q, dtype=float))
    if not (np.isfinite(qs) & (qs > 0)).all():
        msg = f"a variance q must be positive and finite, got {q!r}"
        raise ValueError(msg)
    out = np.empty((len(integrands), *qs.shape))
    octaves = np.ceil(np.log2(qs) / 2).astype(int)
    for octave in np.unique(octaves):
        mine = octaves == octave
        out[:, mine] = _average(phi, int(octave), qs[mine], integrands, kinks)
    return out.reshape(len(integrands), *np.shape(q))


def _average(
    phi: Elementwise,
    octave: int,
    qs: Host,
    integrands: Sequence[Integrand],
    kinks: tuple[float, ...] | None,
) -> Host:
    reach, finite, samples = 0, True, samples_at(phi, octave, 4, kinks)
    for reach in range(4, _LAST_OCTAVE + 1):
        samples = samples_at(phi, octave, reach, kinks)
        z = samples.x / np.sqrt(qs)[:, None]
        weight = samples.weight * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi * qs)[:, None]
        there = weight > 0
        with np.errstate(invalid="ignore", over="ignore"):
            at = At(samples.value, samples.slope, z)
            terms = np.stack([f(at) * np.ones_like(z) for f in integrands])
            terms = np.where(there, terms * weight, 0.0)
        finite = bool(np.isfinite(terms).all())
        if not finite:
            break
        outside = np.abs(samples.x) > 2.0 ** (octave + reach - 1)
        sizes = np.abs(terms)
        if (sizes[..., outside].sum(-1) <= 1e-15 * sizes.sum(-1)).all():
            return terms.sum(-1)
    near = np.abs(samples.x) < 4 * np.sqrt(qs.max())
    odd = near & ~(np.isfinite(samples.value) & np.isfinite(samples.slope))
    if odd.any():
        x = samples.x[odd][np.abs(samples.x[odd]).argmin()]
        msg = (
            f"{name_of(phi)} or its slope is not finite at z = {x:.6g}: theory needs a φ that is "
            "defined wherever a Gaussian falls"
        )
        raise ValueError(msg)
    why = (
        "overflows float64" if not finite else f"still grows at {2.0**reach:g} standard deviations"
    )
    msg = (
        f"a Gaussian average of {name_of(phi)} diverges at q = {qs.max():.6g}, or nearly so: it "
        f"{why}. Theory needs finite E φ(√q z)² and E φ'(√q z)²"
    )
    raise ValueError(msg)


def samples_at(
    phi: Elementwise, octave: int, reach: int, kinks: tuple[float, ...] | None
) -> Samples:
    """`sample`, remembered for a hashable φ."""
    try:
        return _remembered(phi, octave, reach, kinks)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return sample(phi, octave, reach, kinks=kinks)


@functools.lru_cache(maxsize=1024)
def _remembered(
    phi: Elementwise, octave: int, reach: int, kinks: tuple[float, ...] | None
) -> Samples:
    return sample(phi, octave, reach, kinks=kinks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """Gaussian moments of an activation φ at z ~ N(0, 1), and the gains made of them.

    Attributes:
      mean: E φ.
      second: E φ².
      slope_mean: E φ'.
      slope_second: E φ'².
      slope_fourth: E φ'⁴.
    """

    mean: float
    second: float
    slope_mean: float
    slope_second: float
    slope_fourth: float

    @property
    def variance(self) -> float:
        """Var φ; 0 where it is nothing but rounding."""
        variance = self.second - self.mean**2
        return variance if variance > 1e-13 * self.second else 0.0

    @property
    def gain_forward(self) -> float:
        """1/√Eφ²: times √(1/fan_in), the weights' scale that keeps a unit second moment."""
        return _inverse_root(self.second)

    @property
    def gain_backward(self) -> float:
        """1/√Eφ'²: the scale that keeps gradient norms where the second moment is one."""
        return _inverse_root(self.slope_second)

    @property
    def gain_variance(self) -> float:
        """1/√Var φ, the scale of normaliser-free nets (Brock et al., 2021, arXiv:2101.08692)."""
        return _inverse_root(self.variance)

    @property
    def nlc(self) -> float:
        """√(Eφ'²/Var φ), one layer's nonlinearity coefficient.

        Philipp & Carbonell, 2018, arXiv:1806.00179.
        """
        return math.sqrt(self.batch_norm_rate)

    @property
    def batch_norm_rate(self) -> float:
        """Eφ'²/Var φ, by which a batch-normalised layer multiplies squared gradient norms.

        At large batch; `batch_norm_rate` the function has the finite one. Yang et al., 2019,
        arXiv:1902.08129.
        """
        return _ratio(self.slope_second, self.variance)

    @property
    def correlation_at_zero(self) -> float:
        """C(0) = (Eφ)²/Eφ²: the correlation after φ of two uncorrelated inputs."""
        return _ratio(self.mean**2, self.second)

    @property
    def correlation_slope_at_one(self) -> float:
        """C'(1) = Eφ'²/Eφ² at q = 1 (Martens et al., 2021, arXiv:2110.01765)."""
        return _ratio(self.slope_second, self.second)

    @property
    def linear_fraction(self) -> float:
        """(Eφ')²/Var φ: the part of φ's variance that a straight line explains."""
        return _ratio(self.slope_mean**2, self.variance)


def _ratio(of: float, to: float) -> float:
    """The quotient; NaN where both are 0, as for a constant φ."""
    if to > 0:
        return of / to
    return math.inf if of > 0 else math.nan


def _inverse_root(x: float) -> float:
    return 1 / math.sqrt(x) if x > 0 else math.inf


def moments(phi: Elementwise | str, *, kinks: tuple[float, ...] | None = None) -> Moments:
    """Gaussian moments of an activation: averages over z ~ N(0, 1), to about 1e-13.

    Computed on the host in float64 whatever `jax_enable_x64` says, by quadrature split at the kinks
    (64-node Gauss-Hermite errs by 8e-2 on E φ'² of hard_tanh).

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      kinks: where φ or a derivative jumps; found by itself where not given, but between the borders
        of a feature narrower than a hundredth of a standard deviation, which may be missed.

    Raises:
      ValueError: a second moment diverges, or φ is not elementwise.
      TypeError: φ is no JAX function, or changes shape or dtype.

    Example:
      >>> m = moments("relu")
      >>> round(m.second, 12), round(m.gain_forward, 6)
      (0.5, 1.414214)
    """
    mean, second, slope_mean, slope_second, slope_fourth = average(
        phi,
        1.0,
        lambda at: at.value,
        lambda at: at.value**2,
        lambda at: at.slope,
        lambda at: at.slope**2,
        lambda at: at.slope**4,
        kinks=kinks,
    ).tolist()
    return Moments(
        mean=mean,
        second=second,
        slope_mean=slope_mean,
        slope_second=slope_second,
        slope_fourth=slope_fourth,
    )
