"""Dual activations: what a random layer makes of two correlated inputs.

With (u, v) Gaussian of covariance [[q11, q12], [q12, q22]], the dual is K = E φ(u)φ(v) and its
companion K' = E φ'(u)φ'(v): the layer maps of the NNGP and of the neural tangent kernel (Cho &
Saul, 2009; Daniely et al., 2016, arXiv:1602.05897; Jacot et al., 2018, arXiv:1806.07572).
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from jgrad._types import Elementwise

from . import traceable
from ._sampling import NODES, WEIGHTS, Host, evaluator, name_of, on_host, resolve, sample_between

#: Half the widths, in standard deviations, of the windows tried in turn until what is left out is
#: nothing.
_WINDOWS = (10.0, 16.0, 24.0, 34.0)

#: Panels held in memory at a time.
_AT_ONCE = 100_000

#: Half a width -> borders of panels on it that resolve φ, and φ's kinks there.
Pieces = Callable[[float], tuple[Host, tuple[float, ...]]]

#: (q11, q22, q12) -> (E φ(u)φ(v), E φ'(u)φ'(v))
Dual = Callable[[float, float, float], tuple[float, float]]


def dual(phi: Elementwise | str, *, kinks: tuple[float, ...] | None = None) -> Dual:
    """The dual of φ: a function (q11, q22, q12) -> (E φ(u)φ(v), E φ'(u)φ'(v)), floats.

    By closed form for the catalogue entries that `theory.traceable.DUALS` lists, else by nested
    quadrature split at the kinks; to about 1e-12 either way. Tens of milliseconds, but a minute
    for a φ whose slope has a root or a logarithm away from 0, as |z - 1|^1.5. Where φ jumps, φ' is
    the slope beside the jump, as autodiff has it, so the second number is no longer the derivative
    of the first.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      kinks: where φ or a derivative jumps; found by itself where not given.

    Raises (the function returned):
      ValueError: the covariance is not positive semidefinite.

    Example:
      >>> k, k_slope = dual("relu")(1.0, 1.0, 0.5)
      >>> round(k, 10), round(k_slope, 10)
      (0.3044988905, 0.3333333333)
    """
    phi = resolve(phi)
    closed = traceable.closed_name(phi)
    # A correlation map asks again and again at one variance.
    pieces = functools.lru_cache(maxsize=16)(lambda reach: _pieces(phi, reach, kinks))

    def both(q11: float, q22: float, q12: float) -> tuple[float, float]:
        _refuse_unless_covariance(q11, q22, q12)
        if closed is None:
            return _nested(phi, float(q11), float(q22), float(q12), pieces)
        with on_host():
            k, k_slope = traceable.DUALS[closed](*np.array([q11, q22, q12], dtype=float))
            return float(k), float(k_slope)

    return both


def _refuse_unless_covariance(q11: float, q22: float, q12: float) -> None:
    limit = math.sqrt(q11 * q22) if min(q11, q22) > 0 else math.nan
    if not abs(q12) <= limit * (1 + 1e-12):
        msg = (
            f"[[{q11:g}, {q12:g}], [{q12:g}, {q22:g}]] is no covariance with positive variances: "
            f"wanted q11, q22 > 0 and |q12| ≤ √(q11 q22)"
        )
        raise ValueError(msg)


def _nested(
    phi: Elementwise, q11: float, q22: float, q12: float, pieces_within: Pieces
) -> tuple[float, float]:
    """K and K' as ∫ φ(u) g(u) N(u; 0, q11) du, where g(u) = E[φ(v) | u], v | u ~ N(ρu, s²)."""
    q11, q22 = max(q11, q22), min(q11, q22)
    for window in _WINDOWS:
        terms, tails = _terms(phi, q11, q22, q12, window, pieces_within)
        if not np.isfinite(terms).all():
            break
        sizes = np.abs(terms)
        if (sizes[:, tails].sum(1) <= 1e-14 * sizes.sum(1)).all():
            k, k_slope = terms.sum(1)
            return float(k), float(k_slope)
    msg = (
        f"E φ(u)φ(v) of {name_of(phi)} diverges or overflows at q11 = {q11:g}, q22 = {q22:g}: "
        f"its terms still grow at {_WINDOWS[-1]:g} standard deviations"
    )
    raise ValueError(msg)


def _terms(
    phi: Elementwise,
    q11: float,
    q22: float,
    q12: float,
    window: float,
    pieces_within: Pieces,
) -> tuple[Host, Host]:
    """The outer integrals' terms, [2, n], and which of them lie at the window's ends, [n]."""
    ρ = q12 / q11
    s = math.sqrt(max(q22 - q12 * ρ, 0.0))
    σ = math.sqrt(q11)
    pieces, corners = pieces_within(window * σ)

    # g is smooth except near u = corner/ρ, where it bends over a width s/ρ.
    steps = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0]) * s
    bends = np.concatenate([k + np.concatenate([-steps, steps]) for k in corners] or [[]])
    mapped = np.concatenate([pieces, bends]) / ρ if abs(ρ) > 1e-3 else np.empty(0)
    edges = np.concatenate([pieces, mapped, _spread(window) * σ])
    edges = np.unique(edges[np.abs(edges) <= window * σ])
    half = np.diff(edges)[:, None] / 2
    u = (edges[:-1, None] + half * (1 + NODES)).ravel()
    weight = (half * WEIGHTS).ravel() * np.exp(-0.5 * (u / σ) ** 2) / (σ * math.sqrt(2 * math.pi))
    own = np.stack(evaluator(phi)(u))
    with np.errstate(invalid="ignore", over="ignore"):
        terms = weight * own * _given(phi, ρ * u, s, pieces, window)
    return terms, np.abs(u) > 0.85 * window * σ


def _given(phi: Elementwise, m: Host, s: float, pieces: Host, window: float) -> Host:
    """E φ(m + s z) and E φ'(m + s z) for each m, [2, n], panels split where φ's pieces meet."""
    evaluate = evaluator(phi)
    if s <= 1e-9 * float(np.abs(m).max()):
        return np.stack(evaluate(m))
    rows = max(1, _AT_ONCE // (pieces.size + round(window)))
    if m.size > rows:
        parts = [_given(phi, m[i : i + rows], s, pieces, window) for i in range(0, m.size, rows)]
        return np.concatenate(parts, axis=1)
    own = np.clip((pieces - m[:, None]) / s, -window, window)
    fixed = _spread(window)
    edges = np.sort(np.concatenate([own, np.broadcast_to(fixed, (m.size, fixed.size))], axis=1))
    left, right = edges[:, :-1], edges[:, 1:]
    row, column = np.nonzero(right > left)
    half = (right - left)[row, column, None] / 2
    z = (right + left)[row, column, None] / 2 + half * NODES
    weight = half * WEIGHTS * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    both = evaluate(m[row, None] + s * z)
    return np.stack([np.bincount(row, (weight * f).sum(1), minlength=m.size) for f in both])


def _spread(window: float) -> Host:
    """Borders of panels about two standard deviations wide: on each, a Gaussian is resolved."""
    return np.linspace(-window, window, round(window) + 1)


def _pieces(
    phi: Elementwise, reach: float, kinks: tuple[float, ...] | None
) -> tuple[Host, tuple[float, ...]]:
    """Borders of panels on [-reach, reach] that resolve φ, and its kinks there."""
    # No border where a kink is likely: a kink is found because a panel does not resolve it.
    rough = reach * np.array([-1.0, -0.51379, 0.48271, 1.0])
    corners = sample_between(phi, rough, kinks=kinks).kinks
    inside = tuple(k for k in corners if abs(k) < reach)
    # Again from the corners found: without the panels that shrank onto them.
    return sample_between(phi, rough, kinks=inside).edges, inside
