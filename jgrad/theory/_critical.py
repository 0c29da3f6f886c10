"""Critical points: where squared gradients keep their size from layer to layer."""

import math

import numpy as np

from jgrad._types import Elementwise

from . import _checks
from ._gaussian import average, slope_squared, value_squared
from ._sampling import Host, name_of, resolve
from ._search import HIGHEST, LOWEST, ROUNDING, roots, tabled


def critical(
    phi: Elementwise | str,
    sigma_b: float = 0.0,
    *,
    kinks: tuple[float, ...] | None = None,
) -> tuple[tuple[float, float], ...]:
    """Every (σ_w, q) at this σ_b with χ₁ = 1 at the fixed point q: the edge of chaos.

    A q runs along the edge: σ_w² = 1/E φ'(√q z)² and σ_b² = q - σ_w² E φ(√q z)² (Poole et al.,
    2016; Hayou et al., 2019, arXiv:1902.06853). All points with 0 < q ≤ 10⁴ are found, and q = 0
    where φ(0) = 0 and σ_b = 0, a limit. A piecewise linear φ bent only at the origin is critical at
    one σ_w and every q; its point is given with q = 1. The q may be unstable, and then networks
    started there drift off (`fixed_point(phi, sigma_w, sigma_b, q0=q).stable` tells): so it is for
    GELU below σ_b ≈ 0.416, SiLU below 0.745 and Mish below 0.308. PyTorch's gain for tanh, 5/3, is
    no critical point: at σ_b = 0 that is σ_w = 1.

    Raises:
      ValueError: σ_b is negative, or there is no such point (softplus has none, relu only at
        σ_b = 0); names the nearest χ₁.

    Example:
      >>> [(round(w, 6), round(q, 5)) for w, q in critical("tanh", 0.3)]
      [(1.395584, 0.76347)]
    """
    _checks.scale("σ_b", sigma_b)
    phi = resolve(phi)

    def bend(log_q: Host) -> Host:
        q = np.exp(log_q)
        second, steep = average(phi, q, value_squared, slope_squared, kinks=kinks)
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - second / (q * steep) - sigma_b**2 / q

    def width(q: float) -> float:
        return float(average(phi, q, slope_squared, kinks=kinks)[0]) ** -0.5

    lowest = min(LOWEST, sigma_b**2 / 2) if sigma_b > 0 else LOWEST
    grid, heights = tabled(bend, lowest, HIGHEST)
    if np.isfinite(heights).all() and (np.abs(heights) <= ROUNDING).all():
        return ((width(1.0), 1.0),)
    points = [math.exp(x) for x in roots(bend, grid, heights)]
    if sigma_b == 0 and abs(heights[0]) < 1e-3:
        # Towards q = 0 with φ(0) = 0: σ_w from the slopes on either side of zero.
        points = [0.0, *points]
    if not points:
        raise ValueError(_nearest(phi, sigma_b, kinks))
    return tuple((width(q) if q > 0 else width(1e-40), q) for q in points)


def _nearest(phi: Elementwise, sigma_b: float, kinks: tuple[float, ...] | None) -> str:
    """The message for no critical point: the fixed point whose χ₁ comes closest to 1."""

    def averages(log_q: Host) -> Host:
        return average(phi, np.exp(log_q), value_squared, slope_squared, kinks=kinks)

    log_q, (second, steep) = tabled(averages, max(LOWEST, sigma_b**2 * 1.0001), HIGHEST)
    q = np.exp(log_q)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma_w = np.sqrt((q - sigma_b**2) / second)
        chi1 = sigma_w**2 * steep
        distance = np.nan_to_num(np.abs(np.log(chi1)), nan=np.inf)
    best = int(np.argmin(distance))
    start = (
        f"{name_of(phi)} has no critical point at σ_b = {sigma_b:g}: no fixed point with q ≤ "
        f"{q[-1]:.4g} has χ₁ = 1. "
    )
    if math.isinf(distance[best]):
        return start + "χ₁ is 0 at all of them: the slope is zero but for single points"
    return start + (
        f"The nearest is χ₁ = {chi1[best]:.6g} at σ_w = {sigma_w[best]:.6g}, q = {q[best]:.4g}"
    )
