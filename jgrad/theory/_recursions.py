"""The recursions behind `forecast`, one for each kind of network."""

import functools
import math
from collections.abc import Callable

import numpy as np

from jgrad._types import Elementwise

from . import _checks
from ._batch_norm import batch_norm_rate, batch_norm_slope
from ._dual import dual
from ._forecast import HIGH, LOW, Forecast
from ._gaussian import At, average, slope_squared, value_squared
from ._hermite import deficit_masses, deficits, tabled_by_variance
from ._networks import BatchNorm, LayerNorm, Plain, Recurrent, Residual, Transformer
from ._sampling import Host
from ._wandering import shared, wandering


@functools.singledispatch
def forecast(network: object) -> Forecast:
    """The forecast of a described random network: per-layer variance, correlation, gradient gains.

    Mean-field theory: independent random weights, infinite width unless the network states one, and
    gradients independent of what flowed forward. A thousand layers take well under a second.

    Args:
      network: a description: `Plain`, `Residual`, `BatchNorm`, `LayerNorm`, `Recurrent` or
        `Transformer`.

    Raises:
      TypeError: it is none of these.
      ValueError: a number in it is out of range, or φ's moments diverge.

    Example:
      >>> from jgrad.theory import Plain
      >>> f = forecast(Plain(phi="tanh", depth=50, sigma_w=1.0))
      >>> round(f.total_log_gain, 3), round(float(f.q[-1]), 5)
      (-2.123, 0.01043)
    """
    msg = (
        "forecast wants a Plain, Residual, BatchNorm, LayerNorm, Recurrent or Transformer, got "
        f"{network!r}"
    )
    raise TypeError(msg)


@forecast.register
def _plain(network: Plain) -> Forecast:
    _checks.network(network)
    drive = network.sigma_b**2
    start = network.q0 if network.q0 is not None else network.sigma_w**2 + drive
    return _chain(
        network,
        network.phi,
        network.depth,
        gain=network.sigma_w**2,
        drive=drive,
        keep=network.keep,
        q0=start,
        c0=network.c0,
        width=network.width,
        rotation=network.weights == "orthogonal",
        kinks=network.kinks,
    )


@forecast.register
def _recurrent(network: Recurrent) -> Forecast:
    _checks.network(network)
    drive = network.sigma_u**2 + network.sigma_b**2
    return _chain(
        network,
        network.phi,
        network.steps,
        gain=network.sigma_w**2,
        drive=drive,
        keep=1.0,
        q0=network.q0 if network.q0 is not None else drive,
        c0=0.0,
        width=network.width,
        rotation=False,
        kinks=network.kinks,
    )


def _chain(
    network: Plain | Recurrent,
    phi: Elementwise | str,
    depth: int,
    *,
    gain: float,
    drive: float,
    keep: float,
    q0: float,
    c0: float,
    width: float,
    rotation: bool,
    kinks: tuple[float, ...] | None,
) -> Forecast:
    def step(_: float, second: float) -> float:
        return float(np.logaddexp(_ln(gain / keep) + second, _ln(drive)))

    log_q, second, steep, fourth = _variances(phi, depth, _ln(q0), step, kinks)
    # A mask is 0 or 1/keep: squares of what it divides have their variance over it as well.
    spread = fourth / steep**2 / keep
    distance = _distances(phi, log_q, kinks)
    apart, share = np.empty(depth), np.empty(depth)
    now = 1 - c0
    for k in range(depth):
        apart[k] = now
        scale = math.exp(_ln(gain) + second[k] - step(log_q[k], second[k]))
        now = scale * ((1 / keep - 1) + distance(log_q[k], now))
        share[k] = scale / keep
    if math.isinf(width):
        variance = np.zeros(depth)
    else:
        first = max(0.0, 1 - drive / math.exp(min(log_q[0], HIGH)))
        known = np.concatenate([[first], share[:-1]]) if rotation else np.zeros(depth)
        variance = wandering(phi, log_q, share, known, keep, kinks) + 2 * (spread - rotation)
    return Forecast(
        network=network,
        log_q=log_q,
        apart=apart,
        log_gain=0.5 * np.log(steep),
        layer_log_gain=0.5 * np.log(steep * gain / keep),
        log_variance=variance / (4 * width),
        singular_variance=spread - 1 + (not rotation),
    )


@forecast.register
def _residual(network: Residual) -> Forecast:
    _checks.network(network)
    inner = network.sigma_w**2 if network.branch == "two" else 1.0
    outer = network.scale**2 * (
        network.sigma_v**2 if network.branch == "two" else network.sigma_w**2
    )

    def step(log_q: float, second: float) -> float:
        # log_q is of the site: of W x where the branch has two matrices.
        return float(np.logaddexp(log_q, _ln(inner * outer) + second))

    log_q, second, steep, fourth = _variances(
        network.phi, network.depth, _ln(inner * network.q0), step, network.kinks
    )
    distance = _distances(network.phi, log_q, network.kinks)
    apart = np.empty(network.depth)
    now = 1 - network.c0
    for k in range(network.depth):
        apart[k] = now
        branch = math.exp(_ln(inner * outer) + second[k] - step(log_q[k], second[k]))
        now = (1 - branch) * now + branch * distance(log_q[k], now)
    # With A = scale · V D W and m = tr A Aᵀ, the block's (1 + A)(1 + A)ᵀ has mean 1 + m and second
    # moment 1 + 4m + tr (A Aᵀ)², the last m²(spread + one for each Gaussian factor); likewise the
    # length of (1 + A)ᵀu, where a unit's share counts three times.
    m, spread = inner * outer * steep, fourth / steep**2
    factors = 2 if network.branch == "two" else 1
    singular = (2 * m + m * m * (spread - 1 + factors)) / (1 + m) ** 2
    length = (4 * m + m * m * (3 * spread - 3 + 2 * factors)) / (1 + m) ** 2
    if network.branch == "one":
        in_spectrum, in_length = shared(network.phi, log_q, m, network.kinks)
        singular, length = singular + in_spectrum, length + in_length
    return Forecast(
        network=network,
        log_q=log_q,
        apart=apart,
        log_gain=0.5 * np.log(steep),
        layer_log_gain=0.5 * np.log1p(m),
        log_variance=length / (4 * network.width),
        singular_variance=singular,
    )


@forecast.register
def _batch_norm(network: BatchNorm) -> Forecast:
    _checks.network(network)
    rate = batch_norm_rate(network.phi, network.batch, kinks=network.kinks)
    slope = batch_norm_slope(network.phi, network.batch, kinks=network.kinks)
    flat = np.ones(network.depth)
    # At the fixed point all pairs of the batch are alike: c = -1/(B - 1) after the norm.
    return Forecast(
        network=network,
        log_q=0 * flat,
        apart=flat * (1 + (0.0 if math.isinf(network.batch) else 1 / (network.batch - 1))),
        log_gain=flat * 0.5 * math.log(slope),
        layer_log_gain=flat * 0.5 * math.log(rate),
        log_variance=0 * flat,
        singular_variance=flat * math.nan,
    )


@forecast.register
def _layer_norm(network: LayerNorm) -> Forecast:
    _checks.network(network)
    phi, gain, drive = network.phi, network.sigma_w**2, network.sigma_b**2
    second, steep, fourth = average(
        phi, 1.0, value_squared, slope_squared, _slope_fourth, kinks=network.kinks
    ).tolist()
    before = gain * second + drive
    masses = deficit_masses(phi, 1.0, kinks=network.kinks)[None]
    apart = np.empty(network.depth)
    now = 1 - network.c0
    for k in range(network.depth):
        apart[k] = now
        now = gain * second / before * float(deficits(masses, now)[0])
    flat = np.ones(network.depth)
    return Forecast(
        network=network,
        log_q=0 * flat,
        apart=apart,
        log_gain=flat * 0.5 * math.log(steep),
        layer_log_gain=flat * 0.5 * math.log(gain * steep / before),
        log_variance=0 * flat,
        singular_variance=flat * fourth / steep**2,
    )


@forecast.register
def _transformer(network: Transformer) -> Forecast:
    """Second moment q of the stream and c between tokens, forward; the gradient's likewise, back.

    Attention adds the tokens' mean, of second moment (1 + (n - 1) c)/n, to every token; the
    feed-forward part adds E φ² and, between tokens, the dual.
    """
    _checks.network(network)
    n, pre = network.tokens, network.norm == "pre"
    pair = dual(network.phi, kinks=network.kinks)
    second, steep = pair(1.0, 1.0, 1.0)
    q, c = 1.0, 0.0
    streams, shares, apart, states = [], [], [], []
    for _ in range(network.depth):
        mean = (1 + (n - 1) * c) / n
        attended = q + mean if pre else 1 + mean
        c = (q * c + mean) / attended if pre else (c + mean) / attended
        across, across_slope = pair(1.0, 1.0, c)
        out = attended + second if pre else 1 + second
        apart.append(1 - c)
        shares.append((q, attended, out, across_slope))
        c = ((attended if pre else 1.0) * c + across) / out
        q = out if pre else 1.0
        streams.append(out)
    own, shared = 1.0, 0.0
    for q, attended, out, across_slope in reversed(shares):
        start = own
        if pre:
            own, shared = own * (1 + steep / attended), shared * (1 + across_slope / attended)
            mean = (own + (n - 1) * shared) / n / q
            own, shared = own + mean, shared + mean
        else:
            own, shared = own * (1 + steep) / out, shared * (1 + across_slope) / out
            mean = (own + (n - 1) * shared) / n
            own, shared = (own + mean) / attended, (shared + mean) / attended
        states.append(own / start)
    flat = np.ones(network.depth)
    return Forecast(
        network=network,
        log_q=np.log(streams),
        apart=np.array(apart),
        log_gain=flat * 0.5 * math.log(steep),
        layer_log_gain=0.5 * np.log(states[::-1]),
        log_variance=0 * flat,
        singular_variance=flat * math.nan,
    )


def _variances(
    phi: Elementwise | str,
    depth: int,
    log_q: float,
    step: Callable[[float, float], float],
    kinks: tuple[float, ...] | None,
) -> tuple[Host, Host, Host, Host]:
    """The ln q, ln E φ², E φ'², E φ'⁴ at each of `depth` sites, from ln q of the first."""
    rows = np.empty((4, depth))
    at, known = math.nan, (0.0, 0.0, 0.0)
    for k in range(depth):
        # A variance that has settled gives the averages it gave.
        if not abs(log_q - at) <= 1e-15 * max(1.0, abs(at)):
            at, known = log_q, _averages(phi, log_q, kinks)
        rows[:, k] = log_q, *known
        log_q = step(log_q, known[0])
    return rows[0], rows[1], rows[2], rows[3]


def _averages(
    phi: Elementwise | str, log_q: float, kinks: tuple[float, ...] | None
) -> tuple[float, float, float]:
    """The ln E φ², E φ'² and E φ'⁴ at this ln q."""
    inside = min(max(log_q, LOW), HIGH)
    second, steep, fourth, turn = average(
        phi,
        math.exp(inside),
        value_squared,
        slope_squared,
        _slope_fourth,
        lambda at: at.value**2 * (at.z**2 - 1),
        kinks=kinks,
    ).tolist()
    if second == 0:
        return -math.inf, steep, fourth
    return _ln(second) + (log_q - inside) * turn / (2 * second), steep, fourth


def _distances(
    phi: Elementwise | str, log_q: Host, kinks: tuple[float, ...] | None
) -> Callable[[float, float], float]:
    """The function (ln q, 1 - c) -> 1 - K(c)/K(1), interpolated in ln q."""
    masses, weights = tabled_by_variance(log_q, lambda q: deficit_masses(phi, q, kinks=kinks))
    return lambda place, apart: float(weights(place) @ deficits(masses, apart))


def _ln(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _slope_fourth(at: At) -> Host:
    return at.slope**4
