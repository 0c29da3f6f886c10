"""The rate at which batch normalisation explodes gradients, at any batch size."""

import math

import numpy as np
from scipy.special import gammaln

from jgrad._types import Elementwise

from . import _checks
from ._gaussian import moments
from ._sampling import NODES, WEIGHTS, Host, evaluator, name_of, resolve, sample_between


def batch_norm_rate(
    phi: Elementwise | str,
    batch: int | float = math.inf,
    *,
    kinks: tuple[float, ...] | None = None,
) -> float:
    """The factor per layer of squared gradient norms in a deep stack of W, batch norm, φ.

    At large batch E φ'²/Var φ at z ~ N(0, 1): π/(π - 1) for relu, always at least 1 (Yang et al.,
    2019, arXiv:1902.08129). At batch B exactly, for any φ, where the batch's Gram matrix has
    settled on one value on and one off the diagonal (`_at_batch` derives it): (B - 2)/(B - 3) for
    φ(z) = z.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      batch: examples normalised together.
      kinks: where φ or a derivative jumps; found by itself where not given.

    Raises:
      ValueError: batch < 4, for which the rate is infinite, or no whole number; φ is constant.

    Example:
      >>> round(batch_norm_rate("relu"), 6), round(batch_norm_rate("identity", 8), 6)
      (1.466942, 1.2)
    """
    if not batch >= 4:
        msg = f"batch normalisation has a finite gradient rate from batch 4 on, got batch {batch!r}"
        raise ValueError(msg)
    if not math.isinf(batch):
        _checks.whole("batch, examples normalised together", batch, 4)
    if moments(phi, kinks=kinks).variance == 0:
        msg = f"{name_of(phi)} is constant: batch normalisation would divide by its variance of 0"
        raise ValueError(msg)
    if math.isinf(batch):
        return moments(phi, kinks=kinks).batch_norm_rate
    return _at_batch(resolve(phi), int(batch), kinks)[0]


def batch_norm_slope(
    phi: Elementwise | str, batch: int | float, *, kinks: tuple[float, ...] | None = None
) -> float:
    """E φ'(y)² at a normalised pre-activation y of a batch: what the site does to squared norms.

    Example:
      >>> round(batch_norm_slope("relu", 8), 6)
      0.5
    """
    if math.isinf(batch):
        return moments(phi, kinks=kinks).slope_second
    return _at_batch(resolve(phi), int(batch), kinks)[1]


def _at_batch(phi: Elementwise, batch: int, kinks: tuple[float, ...] | None) -> tuple[float, float]:
    """The rate and E φ'².

    A unit's pre-activations h ∈ R^B are Gaussian with a covariance a on and b off the diagonal, so
    y = √B G h/|G h|, G = I - 11ᵀ/B, is uniform on the sphere of radius √B in the B - 1 dimensions
    orthogonal to 1, and |G h|² = (a - b) χ²_{B-1} independent of it. The gradient's covariance is a
    multiple of G after each layer, since P = G - y yᵀ/B in ∂y/∂h = √B P/|G h| removes 1. Hence

      rate = E[B/|G h|²] · E tr(P D G D)/(B - 1), D = diag φ'(y), E 1/χ²_{B-1} = 1/(B - 3),

    with a - b = σ_w² (E φ(y_i)² - E φ(y_i)φ(y_j)). σ_w cancels.
    """
    B = batch
    on, off = _one(phi, B, kinks), _two(phi, B, kinks)
    square, steep, tilted = on
    product, slopes, tilts = off
    trace_g = B * (1 - 1 / B) ** 2 * steep + (B - 1) / B * slopes
    trace_y = (1 - 1 / B) * B * tilted - (B - 1) * tilts
    rate = B / ((B - 3) * (square - product)) * (trace_g - trace_y / B) / (B - 1)
    return float(rate), float(steep)


def _one(phi: Elementwise, B: int, kinks: tuple[float, ...] | None) -> Host:
    """E φ², E φ'², E y²φ'² of one normalised entry."""
    y, weight, value, slope = _entry(phi, B, kinks)
    return np.stack([value**2, slope**2, (y * slope) ** 2]) @ weight


def _two(phi: Elementwise, B: int, kinks: tuple[float, ...] | None) -> Host:
    """E φφ, E φ'φ', E yφ'·yφ' of two entries, whose directions have cosine -1/(B - 1)."""
    n = B - 1
    y, weight, value, slope = _entry(phi, B, kinks)
    tilt = -1 / n
    radius = math.sqrt(1 - tilt * tilt) * np.sqrt(np.maximum(n - y * y, 0))
    corners = np.array(sample_between(phi, _borders(n), kinks=kinks).kinks)
    # The second entry is tilt·y + radius·s, s one coordinate of a sphere in n - 1 dimensions.
    fixed = _angles(n - 1)
    own = np.clip((corners - tilt * y[:, None]) / radius[:, None], -1, 1)
    edges = np.concatenate([np.arccos(own), np.broadcast_to(fixed, (y.size, fixed.size))], axis=1)
    edges.sort(axis=1)
    half = np.diff(edges, axis=1)[..., None] / 2
    angle = edges[:, :-1, None] + half * (1 + NODES)
    inner = half * WEIGHTS * np.sin(angle) ** (n - 3) * _density(n - 1)
    other = tilt * y[:, None, None] + radius[:, None, None] * np.cos(angle)
    other_value, other_slope = evaluator(phi)(other)
    given = [(inner * f).sum((1, 2)) for f in (other_value, other_slope, other * other_slope)]
    return np.stack([value * given[0], slope * given[1], y * slope * given[2]]) @ weight


def _entry(phi: Elementwise, B: int, kinks: tuple[float, ...] | None) -> tuple[Host, ...]:
    """Nodes and weights of one entry y = √n cos θ, density of θ ∝ sin^(n-2) θ, n = B - 1; φ, φ'."""
    n = B - 1
    corners = np.array(sample_between(phi, _borders(n), kinks=kinks).kinks)
    bends = np.arccos(np.clip(corners / math.sqrt(n), -1, 1))
    edges = np.unique([*bends, *_angles(n)])
    half = np.diff(edges)[:, None] / 2
    angle = (edges[:-1, None] + half * (1 + NODES)).ravel()
    y = math.sqrt(n) * np.cos(angle)
    weight = (half * WEIGHTS).ravel() * np.sin(angle) ** (n - 2) * _density(n)
    return y, weight, *evaluator(phi)(y)


def _angles(n: int) -> Host:
    """Borders of panels in θ that resolve sin^(n-2) θ, a bell about π/2 of width 1/√n."""
    bell = math.pi / 2 + np.linspace(-9, 9, 10) / math.sqrt(n)
    return np.unique([*np.linspace(0, math.pi, 7), *np.clip(bell, 0, math.pi)])


def _borders(n: int) -> Host:
    """Of panels over all that y can be; none where a kink is likely."""
    return math.sqrt(n) * np.array([-1.0, -0.51379, 0.48271, 1.0])


def _density(n: int) -> float:
    """1/∫ sin^(n-2) θ dθ over [0, π]."""
    return math.exp(gammaln(n / 2) - gammaln((n - 1) / 2)) / math.sqrt(math.pi)
