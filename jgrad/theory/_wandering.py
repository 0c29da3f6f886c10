"""How far random networks of finite width stray from the forecast, where layers err together.

Layers' deviations are independent only as far as each sees a fresh φ'. Two things bind them.

A chain z' = W φ(z) + b: given φ(z), z' is Gaussian of a variance Q' that errs, and passes its error
on. Relative to their means let p = φ'², f = φ² at a site, s the share of Q' that comes from the
weights, and h = (z² - 1)/√2. Then d ln Q' = s (f̄ - 1) + (s E f h/√2) d ln Q, f̄ the mean over the n
units, while a layer multiplies ‖δ‖² by p̄ (1 + E p h/√2 · d ln Q). So the deviation of a layer
counts for p̄ - 1 + B s (f̄ - 1), where B = (E p h + s' E f h B')/√2 of the next layer, B = 0 at the
output; its n-fold variance is that of p + B s f in one unit. A rotation gives z' its length
exactly: of the part of z' that it makes, the component of p + B s f along h is left out.

Blocks x + s W φ(x): φ' is taken of nearly the same stream in each. Unit by unit x_l is x_k and
Gaussian noise independent of it, so that φ'(x_k)² and φ'(x_l)² covary: over their means by
K_kl = Σ_r b_r(q_k) b_r(q_l) (q_k/q_l)^r/2, b_r the Hermite coefficients of φ'². Means of gains are
not touched by it; spectra and spreads are, the former at any width. Let p_l = φ'(x_l)²/E φ'(x_l)²
be a unit's, m_l = s² σ_w² E φ'(x_l)² the branch's mean square gain.

- Spectrum. Of A = J Jᵀ of the blocks so far, A' = (1 + s W D) A (1 + s D Wᵀ), the diagonal is a
  number a for all units, while the off-diagonal squares are u_i + u_j with, relative to a²,
  u' = u/(1 + m) + m p/(1 + m)² + (the same for all units). The variance of the eigenvalues, 2 E u,
  grows by that of independent blocks and by 2 m Cov(p, u)/(1 + m).
- Length. Backwards δ' = δ + s D Wᵀ δ has mean squares ω' = ω/(1 + m) + m p/(1 + m) by unit: large
  where later blocks let through, so that 4 m/(1 + m)² · Cov(ω, p) adds to n Var ln ‖δ‖². And the
  mean of p over the n units of one network errs alike in all blocks, which adds the covariances
  K_kl/n of all pairs.

Derived here, to leading order in 1/n; `Forecast.gradient_log_spread` and `Residual` have how far
simulated networks are from it.
"""

import math

import numpy as np

from jgrad._types import Elementwise

from ._forecast import HIGH, LOW
from ._gaussian import At, average, slope_squared, value_squared
from ._hermite import slope_modes, tabled_by_variance
from ._sampling import Host


def wandering(
    phi: Elementwise | str,
    log_q: Host,
    share: Host,
    known: Host,
    keep: float,
    kinks: tuple[float, ...] | None,
) -> Host:
    """N-fold variance of ln ‖δ‖² that φ' makes in each layer of a chain, from the output down.

    Args:
      phi: the activation.
      log_q: ln q by site, [depth].
      share: of the next site's q that comes from the weights, [depth].
      known: of the site's own q that a rotation has made, [depth]; 0 for Gaussian weights.
      keep: probability that dropout keeps a unit; squares of its mask vary by 1/keep.
      kinks: of φ.
    """
    q, place = np.unique(np.exp(np.clip(log_q, LOW, HIGH)), return_inverse=True)
    steep, second, pp, pf, ff, ph, fh = average(
        phi,
        q,
        slope_squared,
        value_squared,
        lambda at: at.slope**4,
        lambda at: (at.slope * at.value) ** 2,
        lambda at: at.value**4,
        lambda at: at.slope**2 * _h(at),
        lambda at: at.value**2 * _h(at),
        kinks=kinks,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        pp = pp / steep**2 / keep - 1
        pf = pf / (steep * second) / keep - 1
        ff = ff / second**2 / keep - 1
        ph, fh = ph / steep, fh / second
    out = np.empty(len(log_q))
    B = 0.0
    for k in reversed(range(len(log_q))):
        i, counts = place[k], B * share[k]
        along = ph[i] + counts * fh[i]
        out[k] = pp[i] + 2 * counts * pf[i] + counts**2 * ff[i] - (known[k] * along) ** 2
        B = along / math.sqrt(2)
    return out


def shared(
    phi: Elementwise | str, log_q: Host, m: Host, kinks: tuple[float, ...] | None
) -> tuple[Host, Host]:
    """What each block adds to a variance beyond independent blocks, of the spectrum and the length.

    The first to the variance of the eigenvalues of J Jᵀ over their squared mean, from the input up;
    the second to n Var ln ‖δ‖², from the output down. [depth] each.
    """
    table, weights = tabled_by_variance(log_q, lambda q: slope_modes(phi, q, kinks=kinks))
    modes = np.stack([weights(x) for x in log_q]) @ table
    fade, share = 1 / (1 + m), m / (1 + m)
    spectrum = 2 * share * _remembered(modes, log_q, share * fade, fade)
    down = slice(None, None, -1)
    by_unit, in_all = (
        _remembered(modes[down], log_q[down], share[down], kept)[down]
        for kept in (fade[down], np.ones_like(m))
    )
    return spectrum, 4 * share * fade * by_unit + 2 * share * in_all


def _remembered(modes: Host, log_q: Host, given: Host, kept: Host) -> Host:
    """Σ over the k before l of given_k · Π kept between them · K_kl, for each l."""
    order = np.arange(1, modes.shape[1] + 1)
    memory = np.zeros(modes.shape[1])
    out = np.zeros(len(modes))
    for k in range(1, len(modes)):
        memory = kept[k - 1] * memory + given[k - 1] * modes[k - 1]
        memory *= np.exp(-0.5 * order * abs(log_q[k] - log_q[k - 1]))
        out[k] = modes[k] @ memory
    return out


def _h(at: At) -> Host:
    return (at.z**2 - 1) / math.sqrt(2)
