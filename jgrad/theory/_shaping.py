"""Activations and scales shaped for a depth: DKS, TAT, SELU's constants, Fixup."""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
import scipy.optimize
from scipy.special import ndtr

from jgrad import activations
from jgrad._types import Elementwise

from . import _checks
from ._sampling import NODES, WEIGHTS, Host, evaluator, gaps, name_of, resolve, sample_between

#: Where the search for (input scale, input shift) begins, in turn.
_STARTS = tuple(
    (scale, shift)
    for scale in (0.1, 0.3, 0.03, 1.0, 0.01)
    for shift in (0.5, 0.25, 1.0, 0.0, -0.5, -1.0)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shaped:
    """A transformed activation φ̂, applied by calling it.

    φ̂(x) = output_scale · (φ(input_scale · x + input_shift) + output_shift).
    """

    phi: Elementwise
    input_scale: float
    input_shift: float
    output_shift: float
    output_scale: float

    def __call__(self, x: jax.Array) -> jax.Array:
        """φ̂(x), same shape and dtype as x."""
        inner = self.phi(self.input_scale * x + self.input_shift)
        return self.output_scale * (inner + self.output_shift)


def dks(phi: Elementwise | str, depth: int, zeta: float = 1.5) -> Shaped:
    """φ transformed by deep kernel shaping for a plain network of that depth.

    With Q(q) = E φ̂(√q z)² and C the correlation map at q = 1: Q(1) = Q'(1) = 1, C(0) = 0 and
    C'(1) = ζ^(1/depth), so that C over the whole depth has slope ζ at 1. Martens et al., 2021,
    arXiv:2110.01765. For odd φ the signs of both shifts may be turned together.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      depth: layers.
      zeta: slope of the network's correlation map at 1, above 1.

    Raises:
      ValueError: depth < 1 or ζ ≤ 1; or no transformation of φ has these properties (a linear φ's
        slope is always 1).

    Example:
      >>> round(dks("tanh", 50).input_scale, 6)
      0.12844
    """
    _checks.whole("depth", depth, 1)
    _checks.wanted(1 < zeta < math.inf, "zeta", "a finite number > 1", zeta)
    target = zeta ** (1 / depth)

    def conditions(m: "_Averages") -> tuple[Host, float, float]:
        variance = m.second - m.mean**2
        slope = m.steep / variance
        turn = (m.turn - m.mean * m.tilt) / variance
        return np.array([(slope - 1) / (target - 1) - 1, turn - 1]), -m.mean, variance**-0.5

    what = f"DKS with ζ = {zeta:g} at depth {depth}"
    return _solve(resolve(phi), conditions, what)


def tat(phi: Elementwise | str, depth: int, tau: float = 0.3) -> Shaped:
    """A smooth φ, tailored for a plain network of that depth.

    Q(1) = Q'(1) = 1, C'(1) = 1 and C''(1) = τ/depth. Zhang et al., 2022, arXiv:2203.08120. The
    leaky ReLU has no C''(1): see `trelu_slope`.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function, with continuous slope.
      depth: layers.
      tau: curvature of the network's correlation map at 1, above 0.

    Raises:
      ValueError: depth < 1 or τ ≤ 0; φ' jumps; or no transformation of φ has these properties.

    Example:
      >>> round(tat("softplus", 50).input_scale, 6)
      0.212101
    """
    _checks.whole("depth", depth, 1)
    _checks.wanted(0 < tau < math.inf, "tau", "a finite number > 0", tau)
    phi = resolve(phi)
    if _slope_jumps(phi):
        msg = (
            f"TAT for smooth activations needs a continuous slope; that of {name_of(phi)} jumps. "
            "For the ReLU family see trelu_slope"
        )
        raise ValueError(msg)

    def conditions(m: "_Averages") -> tuple[Host, float, float]:
        # Q'(1) = C'(1) is linear in the output shift; the rest follows.
        shift = (m.steep - m.turn) / m.tilt
        second = m.second + 2 * shift * m.mean + shift**2
        curvature = m.bend / m.steep * depth / tau
        return np.array([second / m.steep - 1, curvature - 1]), shift, m.steep**-0.5

    return _solve(phi, conditions, f"TAT with τ = {tau:g} at depth {depth}")


@dataclasses.dataclass(frozen=True)
class _Averages:
    """Of f(z) = φ(αz + β): E f, E f², E f'², E z f f', E z f', E f''²."""

    mean: float
    second: float
    steep: float
    turn: float
    tilt: float
    bend: float


def _averages(
    phi: Elementwise, slope_of: Elementwise, kinks: tuple[float, ...], α: float, β: float
) -> _Averages:
    edges = np.unique([*np.linspace(-9, 9, 19), *np.clip((np.array(kinks) - β) / α, -9, 9)])
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + NODES)).ravel()
    weight = (half * WEIGHTS).ravel() * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    f, _ = evaluator(phi)(α * z + β)
    slope, bend = evaluator(slope_of)(α * z + β)
    slope, bend = α * slope, α * α * bend
    rows = np.stack([f, f * f, slope * slope, z * f * slope, z * slope, bend * bend])
    return _Averages(*(rows @ weight))


def _solve(
    phi: Elementwise, conditions: Callable[[_Averages], tuple[Host, float, float]], what: str
) -> Shaped:
    """The transformation whose averages meet the two conditions, from the first start that does."""
    kinks = sample_between(phi, np.array([-30.0, -9.7, 11.3, 30.0])).kinks

    slope_of = activations.slope(phi)

    def at(place: Host) -> tuple[Host, float, float]:
        α, β = math.exp(min(max(place[0], -12.0), 3.0)), float(place[1])
        with np.errstate(all="ignore"):
            return conditions(_averages(phi, slope_of, kinks, α, β))

    def residual(place: Host) -> Host:
        return np.nan_to_num(at(place)[0], nan=1e6, posinf=1e6, neginf=-1e6)

    for scale, shift in _STARTS:
        found = scipy.optimize.root(residual, [math.log(scale), shift], tol=1e-13)
        if np.abs(residual(found.x)).max() < 1e-8 and -11 < found.x[0] < 2.9:
            _, output_shift, output_scale = at(found.x)
            return Shaped(
                phi=phi,
                input_scale=math.exp(found.x[0]),
                input_shift=float(found.x[1]),
                output_shift=float(output_shift),
                output_scale=float(output_scale),
            )
    msg = f"{what} is infeasible for {name_of(phi)}: no input scale and shift was found for it"
    raise ValueError(msg)


def _slope_jumps(phi: Elementwise) -> bool:
    kinks = sample_between(phi, np.array([-30.0, -9.7, 11.3, 30.0])).kinks
    return bool((gaps(phi, kinks)[1] > 1e-6).any())


def trelu_slope(depth: int, eta: float = 0.9) -> float:
    """TAT's negative slope for leaky ReLU: the network maps correlation 0 to η over that depth.

    Times the output scale √(2/(1 + a²)), which keeps q = 1. Zhang et al., 2022, arXiv:2203.08120.

    Raises:
      ValueError: depth < 1; η not between 0 and 1; or even the ReLU (a = 0) does not bring
        uncorrelated inputs to η, as at depth 10 for η = 0.9 (it reaches 0.8715).

    Example:
      >>> round(trelu_slope(50), 6)
      0.430523
    """
    _checks.whole("depth", depth, 1)
    _checks.wanted(0 < eta < 1, "eta, a correlation", "0 < eta < 1", eta)

    def reached(a: float) -> float:
        c = 0.0
        for _ in range(depth):
            rest, angle = math.sqrt((1 - c) * (1 + c)), math.acos(c)
            bent = (1 - a) ** 2 * (rest + (math.pi - angle) * c) / math.pi
            c = min((bent + 2 * a * c) / (1 + a * a), 1.0)
        return c

    if not eta < 1 or reached(0.0) < eta:
        msg = (
            f"η = {eta:g} at depth {depth} is infeasible: the ReLU itself maps correlation 0 to "
            f"{reached(0.0):.6g} over {depth} layers, and a leaky one to less"
        )
        raise ValueError(msg)
    found = scipy.optimize.root_scalar(
        lambda a: reached(a) - eta, bracket=(0.0, 1.0), xtol=1e-15, rtol=1e-14
    )
    return float(found.root)


def selu_constants() -> tuple[float, float]:
    """SELU's (α, λ), which give mean 0 and variance 1 at z ~ N(0, 1).

    Klambauer et al., 2017, arXiv:1706.02515. Squared gradients still grow, by E φ'² = 1.0716 per
    layer with LeCun's initialisation.

    Example:
      >>> selu_constants()
      (1.67326324235437..., 1.05070098735548...)
    """
    # E of (e^z - 1) and of its square over z < 0.
    first = math.sqrt(math.e) * ndtr(-1.0) - 0.5
    second = math.exp(2) * ndtr(-2.0) - 2 * math.sqrt(math.e) * ndtr(-1.0) + 0.5
    α = -1 / math.sqrt(2 * math.pi) / first
    return float(α), float(1 / math.sqrt(0.5 + α * α * second))


def fixup_scale(blocks: int, layers: int = 2) -> float:
    """Fixup's factor for a branch's He-initialised weights, blocks^(-1/(2·layers - 2)).

    The last layer of each branch starts at zero. Zhang et al., 2019, arXiv:1901.09321. SkipInit (De
    & Smith, 2020, arXiv:2002.10444) and ReZero instead multiply the branch by one learned number
    that starts at 0; a fixed multiplier 1/√blocks bounds the growth by e.

    Raises:
      ValueError: fewer than one block or two layers.

    Example:
      >>> fixup_scale(16, layers=3)
      0.5
    """
    _checks.whole("Fixup's blocks", blocks, 1)
    _checks.whole("Fixup's layers a branch", layers, 2)
    return blocks ** (-1 / (2 * layers - 2))
