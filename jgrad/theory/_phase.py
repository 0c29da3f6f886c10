"""The phases of a deep random network: fixed points, critical points, depth scales.

A layer z = W φ(z') + b with W_ij ~ N(0, σ_w²/fan_in), b ~ N(0, σ_b²) maps the second moment q of
its pre-activations by F(q) = σ_w² E φ(√q z)² + σ_b² and the correlation c of two inputs by
C(c) = (σ_w² E φ(u)φ(v) + σ_b²)/q; squared gradient norms change by χ₁ = C'(1) = σ_w² E φ'(√q z)².
χ₁ < 1 is order (inputs merge, gradients vanish), χ₁ > 1 chaos (inputs part, gradients explode).
Poole et al., 2016, arXiv:1606.05340; Schoenholz et al., 2017, arXiv:1611.01232.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from jgrad._types import Elementwise

from . import _checks
from ._dual import dual
from ._gaussian import At, average, samples_at, slope_squared, value_squared
from ._hermite import deficit_masses, deficits
from ._sampling import Host, gaps, name_of, resolve
from ._search import HIGHEST, LOWEST, ROUNDING, root, roots, tabled


@dataclasses.dataclass(frozen=True, kw_only=True)
class FixedPoint:
    """A fixed point of the layer maps, and the depth scales there.

    Attributes:
      q: F(q) = q, the second moment of the pre-activations.
      c: the stable correlation, C(c) = c: 1 in the ordered phase, below in the chaotic one.
      chi1: σ_w² E φ'(√q z)², the factor per layer of squared gradient norms; C'(1) too, but where φ
        jumps: gradients see the slopes beside the jump, and inputs always part, c < 1.
      chi_q: F'(q), the factor per layer of a small change of q.
      chi_c: C'(c), the factor per layer of a small change of c.
      stable: layers lead back to q from nearby.
    """

    q: float
    c: float
    chi1: float
    chi_q: float
    chi_c: float
    stable: bool

    @property
    def xi_q(self) -> float:
        """-1/ln χ_q: the layers over which q forgets the input's norm."""
        return depth_scale(self.chi_q)

    @property
    def xi_c(self) -> float:
        """-1/ln χ_c: the layers over which two inputs' correlation is forgotten."""
        return depth_scale(self.chi_c)

    @property
    def xi_gradient(self) -> float:
        """-1/ln χ₁: the layers over which squared gradients change by e; negative: they grow."""
        return depth_scale(self.chi1)


def depth_scale(chi: float) -> float:
    """-1/ln χ, the number of layers in which χ^l falls by e: infinite at χ = 1, negative above.

    Within 1e-12 χ is 1: our averages are known to about that.

    Example:
      >>> round(depth_scale(0.9), 3), depth_scale(1.0), round(depth_scale(1.1), 3)
      (9.491, inf, -10.492)
    """
    if abs(abs(chi) - 1) < 1e-12:
        return math.inf
    return -1 / math.log(abs(chi)) if chi else 0.0


def variance_map(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    kinks: tuple[float, ...] | None = None,
) -> Callable[[float], float]:
    """The function F(q) = σ_w² E φ(√q z)² + σ_b², the length map of Poole et al., 2016.

    Raises:
      ValueError: a σ is negative or not finite.

    Example:
      >>> round(variance_map("relu", 1.5, 0.1)(2.0), 10)
      2.26
    """
    _checks.scale("σ_w", sigma_w)
    _checks.scale("σ_b", sigma_b)

    def layer(q: float) -> float:
        return sigma_w**2 * float(average(phi, q, value_squared, kinks=kinks)[0]) + sigma_b**2

    return layer


def correlation_map(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    q: float,
    kinks: tuple[float, ...] | None = None,
) -> Callable[[float], float]:
    """The function C(c) = (σ_w² E φ(u)φ(v) + σ_b²)/F(q), of two inputs of second moment q.

    Poole et al., 2016, there at the fixed point F(q) = q. For relu with σ_b = 0 it is
    (√(1 - c²) + (π - arccos c) c)/π, from which 1 - c falls as 9π²/(2 l²), slowly: at layer 100 it
    is still 20 % off that law (Hayou et al., 2019, arXiv:1902.06853).

    Raises:
      ValueError: a σ is negative, q is not positive, or |c| > 1.

    Example:
      >>> round(correlation_map("relu", 2**0.5, q=1.0)(0.0), 7)
      0.3183099
    """
    out = variance_map(phi, sigma_w, sigma_b, kinks=kinks)(q)
    pair = dual(phi, kinks=kinks)
    return lambda c: (sigma_w**2 * pair(q, q, c * q)[0] + sigma_b**2) / out


def fixed_point(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    keep: float = 1.0,
    q0: float = 1.0,
    kinks: tuple[float, ...] | None = None,
) -> FixedPoint:
    """The fixed point to which layers lead from second moment q0.

    Where they lead from q0 to no fixed point (the variance grows without bound), the largest
    unstable one below, marked `stable=False`. Where q0 itself is a fixed point, stable or not, that
    one: so `q0=q` with a q of `critical` examines that point.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      sigma_w: √(fan_in · variance) of the weights.
      sigma_b: standard deviation of the biases.
      keep: probability that dropout keeps a unit (and divides by it). Below 1 two copies of one
        input part, c < 1 whatever the weights: there is no edge of chaos (Schoenholz et al., 2017).
      q0: second moment of the pre-activations to start from.
      kinks: where φ or a derivative jumps; found by itself where not given.

    Raises:
      ValueError: a σ is negative; q0 is not positive; no fixed point with q ≤ 10⁴.

    Example:
      >>> p = fixed_point("tanh", 1.3, 0.3)
      >>> round(p.q, 6), round(p.c, 6), round(p.xi_c, 4), p.stable
      (0.607047, 1.0, 16.1082, True)
    """
    _checks.wanted(0 < keep <= 1, "keep, a probability", "0 < keep ≤ 1", keep)
    # NumPy's numbers are let in; Python's come out.
    kept, sigma_b, q0 = float(sigma_w) / math.sqrt(keep), float(sigma_b), float(q0) or 1e-40
    points = fixed_variances(phi, kept, sigma_b, q0=q0, kinks=kinks)
    layer = variance_map(phi, kept, sigma_b, kinks=kinks)
    drift = layer(q0) / q0 - 1
    below, above = [q for q in points if q < q0], [q for q in points if q > q0]
    here = [q for q in points if abs(q - q0) <= 1e-6 * q0]
    if here:
        q = here[0]
    elif abs(drift) <= ROUNDING:
        q = q0
    elif drift > 0 and (above or below):
        q = above[0] if above else below[-1]
    elif drift < 0:
        q = below[-1] if below else 0.0
    else:
        msg = (
            f"no fixed point of {name_of(phi)} with q ≤ {max(HIGHEST, q0):g} at σ_w = "
            f"{sigma_w:g}, σ_b = {sigma_b:g}: the variance grows from layer to layer, "
            f"F({q0:g}) = {layer(q0):g}"
        )
        raise ValueError(msg)
    return _describe(phi, kept, sigma_b, q if q > 1e-39 else 0.0, keep, kinks)


def fixed_variances(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float = 0.0,
    *,
    q0: float = 1.0,
    kinks: tuple[float, ...] | None = None,
) -> tuple[float, ...]:
    """Every isolated q in (0, 10⁴] with F(q) = q, in increasing order, stable and unstable.

    Raises:
      ValueError: a σ is negative.

    Example:
      >>> [round(q, 4) for q in fixed_variances("gelu", 1.6)]
      [0.5911]
    """
    _checks.scale("σ_w", sigma_w)
    _checks.scale("σ_b", sigma_b)
    _checks.positive("q0, a second moment", q0)
    lowest = min(LOWEST, q0, sigma_b**2 / 2 if sigma_b > 0 else math.inf)

    def growth(log_q: Host) -> Host:
        q = np.exp(log_q)
        return (sigma_w**2 * average(phi, q, value_squared, kinks=kinks)[0] + sigma_b**2) / q - 1

    return tuple(math.exp(x) for x in roots(growth, *tabled(growth, lowest, max(HIGHEST, q0))))


def _describe(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float,
    q: float,
    keep: float,
    kinks: tuple[float, ...] | None,
) -> FixedPoint:
    at = q if q > 0 else 1e-40
    steep, turn = average(phi, at, slope_squared, _value_squared_by_width, kinks=kinks)
    chi1, chi_q = sigma_w**2 * float(steep), sigma_w**2 * float(turn) / (2 * at)
    if abs(abs(chi_q) - 1) > 1e-7:
        stable = abs(chi_q) < 1
    else:
        # Marginal: look a little to either side, unless every q is fixed there.
        layer = variance_map(phi, sigma_w, sigma_b, kinks=kinks)
        step = 1e-3
        stable = layer(max(q, step) * (1 + step)) <= max(q, step) * (1 + step) * (1 + 1e-9) and (
            q == 0 or layer(q * (1 - step)) >= q * (1 - step) * (1 - 1e-9)
        )
    jumps = _jumps(resolve(phi), at, kinks)
    if chi1 <= 1 + 1e-9 and keep == 1 and not jumps:
        c, chi_c = 1.0, chi1
    else:
        # The masks of two inputs are independent, so that across them nothing is divided by keep.
        c, chi_c = _correlation(phi, sigma_w * math.sqrt(keep), sigma_b, at, jumps, kinks)
    return FixedPoint(q=q, c=c, chi1=chi1, chi_q=chi_q, chi_c=chi_c, stable=stable)


def _correlation(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float,
    q: float,
    jumps: bool,
    kinks: tuple[float, ...] | None,
) -> tuple[float, float]:
    """The stable c of the correlation map, below 1, and C'(c) there."""
    pair = dual(phi, kinks=kinks)

    def map_(c: float) -> float:
        return (sigma_w**2 * pair(q, q, c * q)[0] + sigma_b**2) / q

    def map_and_slope(c: float) -> tuple[float, float]:
        if jumps:  # φ' is the slope beside the jump, and tells nothing of C'
            step = 1e-4 * (1 - c)
            return map_(c), (map_(c + step) - map_(c - step)) / (2 * step)
        k, k_slope = pair(q, q, c * q)
        return (sigma_w**2 * k + sigma_b**2) / q, sigma_w**2 * k_slope

    # On [0, 1] C is a power series without negative coefficients: convex, C(0) ≥ 0, and C(1) < 1 or
    # C(1) = 1 with C'(1) > 1, so it crosses the diagonal once below 1.
    at_zero, slope_at_zero = map_and_slope(0.0)
    if at_zero <= 1e-14:
        return 0.0, slope_at_zero

    # Newton's steps from where the Hermite series crosses; the dual is exact and slow.
    c = _crossing(phi, sigma_w, sigma_b, q, kinks)
    for _ in range(5):
        after, slope = map_and_slope(c)
        step = (after - c) / (1 - slope)
        if abs(step) <= 1e-13 * (1 - c) + 1e-15:
            return c, slope
        c += step
        if not 0 < c < 1:
            break

    def excess(c: float) -> float:
        return map_(c) - c

    top = 0.5
    while excess(top) > 0 and top < 1 - 1e-12:
        top = 1 - (1 - top) / 8
    c = root(excess, 0.0, top)
    return c, map_and_slope(c)[1]


def _jumps(phi: Elementwise, q: float, kinks: tuple[float, ...] | None) -> bool:
    """Whether φ itself jumps where a Gaussian of variance q looks: then C'(1) is infinite."""
    samples = samples_at(phi, math.ceil(math.log2(q) / 2), 4, kinks)
    scale = math.sqrt(q)
    # Zero is a border of panels, where nothing is looked for.
    near = (0.0, *(k for k in samples.kinks if abs(k) < 16 * scale))
    return bool((gaps(phi, near, scale)[0] > 1e-6 * np.abs(samples.value).max()).any())


def _crossing(
    phi: Elementwise | str,
    sigma_w: float,
    sigma_b: float,
    q: float,
    kinks: tuple[float, ...] | None,
) -> float:
    """About the c < 1 with C(c) = c; NaN where φ grows too fast for its Hermite series."""
    try:
        masses = deficit_masses(phi, q, kinks=kinks)[None]
    except ValueError:
        return math.nan
    second = sigma_w**2 * float(average(phi, q, value_squared, kinks=kinks)[0])
    lost = 1 - (second + sigma_b**2) / q

    def excess(log_apart: float) -> float:
        apart = math.exp(log_apart)
        return (lost + second / q * float(deficits(masses, apart)[0])) / apart - 1

    if excess(-30.0) <= 0 or excess(0.0) >= 0:
        return math.nan
    return 1 - math.exp(root(excess, -30.0, 0.0))


def _value_squared_by_width(at: At) -> Host:
    """φ² (z² - 1), whose average is 2q ∂/∂q E φ(√q z)²: no slope, so right where φ jumps too."""
    return at.value**2 * (at.z**2 - 1)
