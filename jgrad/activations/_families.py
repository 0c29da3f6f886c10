"""Families of activations solved for their parameters from samples, in closed form.

Each solver reads a function φ at points of the identification grid and returns the parameters
that φ would have if it were of the family; whether it is, the caller finds out on the whole grid.
Outside the family's domain a solver raises ValueError, ZeroDivisionError or OverflowError, as
`math` does, or returns nothing.
"""

import math
from collections.abc import Callable
from typing import Protocol

#: Points of the grid where solvers look; all of them and their mirror images are on it.
_NEAR = (2.0**-6, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_FAR = 2.0**14


class Sampled(Protocol):
    """A function known at the points of the grid."""

    def at(self, x: float) -> float:
        """φ(x)."""
        ...

    def slope_at(self, x: float) -> float:
        """φ'(x), nan where unknown."""
        ...


Solver = Callable[[Sampled], dict[str, float]]


def _best_point(t: Callable[[float], float]) -> float:
    """The point where a sigmoidal t(x) in (0, 1) is best inverted: where it is nearest 1/2."""
    return min(_NEAR, key=lambda x: abs(t(x) - 0.5))


def _leaky_relu(phi: Sampled) -> dict[str, float]:
    slope = -phi.at(-_FAR) / _FAR
    return {"negative_slope": slope} if slope > -1 and abs(slope) > 1e-6 else {}


def _silu(phi: Sampled) -> dict[str, float]:
    # The even part of x σ(βx) is x/2 · tanh(βx/2).
    def t(x: float) -> float:
        return (phi.at(x) + phi.at(-x)) / x

    x = _best_point(t)
    return {"beta": 2 * math.atanh(t(x)) / x}


def _smish(phi: Sampled) -> dict[str, float]:
    # φ(x)/x is α tanh ln(1 + σ(βx)), and α tanh ln 2 = 0.6 α far out.
    alpha = phi.at(_FAR) / _FAR / 0.6
    x = _best_point(lambda x: phi.at(x) / (alpha * x))
    sigmoid = math.exp(math.atanh(phi.at(x) / (alpha * x))) - 1
    return {"alpha": alpha, "beta": math.log(sigmoid / (1 - sigmoid)) / x}


def _dyt(phi: Sampled) -> dict[str, float]:
    gamma = (phi.at(_FAR) - phi.at(-_FAR)) / 2
    beta = (phi.at(_FAR) + phi.at(-_FAR)) / 2

    def t(x: float) -> float:
        return (phi.at(x) - beta) / gamma

    x = _best_point(lambda x: abs(t(x)))
    alpha = math.atanh(t(x)) / x
    sign = math.copysign(1.0, alpha)
    return {"alpha": sign * alpha, "gamma": sign * gamma, "beta": beta}


def _sinlu(phi: Sampled) -> dict[str, float]:
    def wave(x: float) -> float:  # a sin(bx)
        return phi.at(x) * (1 + math.exp(-x)) - x

    b = math.acos(wave(1.0) / (2 * wave(0.5))) / 0.5
    return {"a": wave(0.5) / math.sin(0.5 * b), "b": b}


def _snake(phi: Sampled) -> dict[str, float]:
    # φ'(x) = 1 + sin 2ax; a rough a near the origin, then a point where the sine is not small.
    def a(x: float) -> float:
        return math.asin(phi.slope_at(x) - 1) / (2 * x)

    rough = a(_NEAR[0])
    if not rough > 0:
        return {}
    return {"a": a(max(x for x in _NEAR if 2 * rough * x <= 1 or x == _NEAR[0]))}


def _sin(phi: Sampled) -> dict[str, float]:
    rough = math.asin(phi.at(_NEAR[0])) / _NEAR[0]
    if rough == 0:
        return {}
    x = max(x for x in _NEAR if abs(rough) * x <= 1 or x == _NEAR[0])
    return {"omega": math.asin(phi.at(x)) / x}


def _soft_root_sign(phi: Sampled) -> dict[str, float]:
    alpha = phi.at(_FAR)
    return {"alpha": alpha, "beta": -1 / math.log(1 / phi.at(1.0) - 1 / alpha)}


def _star_relu(phi: Sampled) -> dict[str, float]:
    bias = phi.at(-_FAR)
    scale = (phi.at(4.0) - bias) / 16
    return {"scale": scale, "bias": bias} if scale else {}


def _hard_tanh(phi: Sampled) -> dict[str, float]:
    low, high = phi.at(-_FAR), phi.at(_FAR)
    return {"min_val": low, "max_val": high} if low < high else {}


def _e_swish(phi: Sampled) -> dict[str, float]:
    beta = phi.at(_FAR) / _FAR
    return {"beta": beta} if beta else {}


def _xielu(phi: Sampled) -> dict[str, float]:
    # α_p x² + βx on the right; α_n (eˣ - 1 - x) + βx on the left.
    alpha_p = (phi.at(4.0) - 2 * phi.at(2.0)) / 8
    beta = (4 * phi.at(1.0) - phi.at(2.0)) / 2
    alpha_n = (phi.at(-_FAR) + beta * _FAR) / (_FAR - 1)
    return {"alpha_p": alpha_p, "alpha_n": alpha_n, "beta": beta} if alpha_p and alpha_n else {}


def _positive(solver: Solver) -> Solver:
    """The solver, for a family whose parameters are positive."""

    def solve(phi: Sampled) -> dict[str, float]:
        solved = solver(phi)
        return solved if all(value > 0 for value in solved.values()) else {}

    return solve


#: Canonical name → solver.
SOLVERS: dict[str, Solver] = {
    "leaky_relu": _leaky_relu,
    "elu": _positive(lambda phi: {"alpha": -phi.at(-_FAR)}),
    "celu": _positive(lambda phi: {"alpha": -phi.at(-_FAR)}),
    "silu": _silu,
    "softplus": _positive(lambda phi: {"beta": math.log(2) / phi.at(0.0)}),
    "squareplus": _positive(lambda phi: {"b": 4 * phi.at(0.0) ** 2}),
    "hard_tanh": _hard_tanh,
    "penalized_tanh": lambda phi: {"a": -phi.at(-_FAR)},
    "e_swish": _e_swish,
    "smish": _smish,
    "polu": _positive(lambda phi: {"n": -math.log2(1 + phi.at(-1.0))}),
    "isru": _positive(lambda phi: {"alpha": 1 / phi.at(_FAR) ** 2 - 1 / _FAR**2}),
    "isrlu": _positive(lambda phi: {"alpha": 1 / phi.at(-_FAR) ** 2 - 1 / _FAR**2}),
    "sin": _sin,
    "snake": _snake,
    "sinlu": _sinlu,
    "star_relu": _star_relu,
    "soft_root_sign": _positive(_soft_root_sign),
    "softshrink": _positive(lambda phi: {"lambd": 16 - phi.at(16.0)}),
    "threshold": lambda phi: {"value": phi.at(-_FAR)},
    "xielu": _xielu,
    "dyt": _dyt,
}
