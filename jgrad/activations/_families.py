"""Families of activations solved for their parameters from samples, in closed form.

Each solver reads a function φ at points of the identification grid and returns the parameters
that φ would have if it were of the family; whether it is, the caller finds out on the whole grid.
Outside the family's domain a solver raises ValueError, ZeroDivisionError or OverflowError, as
`math` does, or returns nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from ._samples import Samples

#: Points of the grid where solvers look; all of them and their mirror images are on it.
_NEAR = (2.0**-6, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_FAR = 2.0**14


Solver = Callable[[Samples], dict[str, float]]


def _best_point(t: Callable[[float], float]) -> float:
    """The point where a sigmoidal t(x) in (0, 1) is best inverted: where it is nearest 1/2."""
    return min(_NEAR, key=lambda x: abs(t(x) - 0.5))


def _leaky_relu(phi: Samples) -> dict[str, float]:
    slope = -phi.at(-_FAR) / _FAR
    return {"negative_slope": slope} if slope > -1 and abs(slope) > 1e-6 else {}


def _silu(phi: Samples) -> dict[str, float]:
    # The even part of x σ(βx) is x/2 · tanh(βx/2).
    def t(x: float) -> float:
        return (phi.at(x) + phi.at(-x)) / x

    x = _best_point(t)
    return {"beta": 2 * math.atanh(t(x)) / x}


def _smish(phi: Samples) -> dict[str, float]:
    # φ(x)/x is α tanh ln(1 + σ(βx)), and α tanh ln 2 = 0.6 α far out.
    alpha = phi.at(_FAR) / _FAR / 0.6
    x = _best_point(lambda x: phi.at(x) / (alpha * x))
    sigmoid = math.exp(math.atanh(phi.at(x) / (alpha * x))) - 1
    return {"alpha": alpha, "beta": math.log(sigmoid / (1 - sigmoid)) / x}


def _dyt(phi: Samples) -> dict[str, float]:
    gamma = (phi.at(_FAR) - phi.at(-_FAR)) / 2
    beta = (phi.at(_FAR) + phi.at(-_FAR)) / 2

    def t(x: float) -> float:
        return (phi.at(x) - beta) / gamma

    x = _best_point(lambda x: abs(t(x)))
    alpha = math.atanh(t(x)) / x
    sign = math.copysign(1.0, alpha)
    return {"alpha": sign * alpha, "gamma": sign * gamma, "beta": beta}


def _sinlu(phi: Samples) -> dict[str, float]:
    def wave(x: float) -> float:  # a sin(bx)
        return phi.at(x) * (1 + math.exp(-x)) - x

    b = math.acos(wave(1.0) / (2 * wave(0.5))) / 0.5
    return {"a": wave(0.5) / math.sin(0.5 * b), "b": b}


def _snake(phi: Samples) -> dict[str, float]:
    # φ'(x) = 1 + sin 2ax; a rough a near the origin, then a point where the sine is not small.
    def a(x: float) -> float:
        return math.asin(phi.slope_at(x) - 1) / (2 * x)

    rough = a(_NEAR[0])
    if not rough > 0:
        return {}
    return {"a": a(max(x for x in _NEAR if 2 * rough * x <= 1 or x == _NEAR[0]))}


def _sin(phi: Samples) -> dict[str, float]:
    rough = math.asin(phi.at(_NEAR[0])) / _NEAR[0]
    if rough == 0:
        return {}
    x = max(x for x in _NEAR if abs(rough) * x <= 1 or x == _NEAR[0])
    return {"omega": math.asin(phi.at(x)) / x}


def _soft_root_sign(phi: Samples) -> dict[str, float]:
    alpha = phi.at(_FAR)
    return {"alpha": alpha, "beta": -1 / math.log(1 / phi.at(1.0) - 1 / alpha)}


def _star_relu(phi: Samples) -> dict[str, float]:
    bias = phi.at(-_FAR)
    scale = (phi.at(4.0) - bias) / 16
    return {"scale": scale, "bias": bias} if scale else {}


def _hard_tanh(phi: Samples) -> dict[str, float]:
    low, high = phi.at(-_FAR), phi.at(_FAR)
    # A bound near the grid's end is not seen to hold, as in `maximum(x, 1e-6)`.
    return {"min_val": low, "max_val": high} if -1000 < low < high < 1000 else {}


def _e_swish(phi: Samples) -> dict[str, float]:
    beta = phi.at(_FAR) / _FAR
    return {"beta": beta} if beta else {}


def _xielu(phi: Samples) -> dict[str, float]:
    # α_p x² + βx on the right; α_n (eˣ - 1 - x) + βx on the left.
    alpha_p = (phi.at(4.0) - 2 * phi.at(2.0)) / 8
    beta = (4 * phi.at(1.0) - phi.at(2.0)) / 2
    alpha_n = (phi.at(-_FAR) + beta * _FAR) / (_FAR - 1)
    return {"alpha_p": alpha_p, "alpha_n": alpha_n, "beta": beta} if alpha_p and alpha_n else {}


def _moderate(solver: Solver) -> Solver:
    """The solver, for a family whose parameters are positive: within 1/1000 and 1000."""

    def solve(phi: Samples) -> dict[str, float]:
        solved = solver(phi)
        return solved if all(1e-3 < value < 1e3 for value in solved.values()) else {}

    return solve


class Family(NamedTuple):
    """How to solve for a family's parameters, and its plain formula to check the solution with."""

    solve: Solver
    formula: Callable[..., np.ndarray]


#: Canonical name → family.
FAMILIES: dict[str, Family] = {
    "leaky_relu": Family(
        _leaky_relu, lambda x, negative_slope: np.where(x > 0, x, negative_slope * x)
    ),
    "elu": Family(
        _moderate(lambda phi: {"alpha": -phi.at(-_FAR)}),
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    ),
    "celu": Family(
        _moderate(lambda phi: {"alpha": -phi.at(-_FAR)}),
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    ),
    "silu": Family(_silu, lambda x, beta: x * expit(beta * x)),
    "squareplus": Family(
        _moderate(lambda phi: {"b": 4 * phi.at(0.0) ** 2}),
        lambda x, b: (x + np.sqrt(x * x + b)) / 2,
    ),
    "hard_tanh": Family(_hard_tanh, lambda x, min_val, max_val: np.clip(x, min_val, max_val)),
    "penalized_tanh": Family(
        lambda phi: {"a": -phi.at(-_FAR)}, lambda x, a: np.where(x > 0, 1, a) * np.tanh(x)
    ),
    "e_swish": Family(_e_swish, lambda x, beta: beta * x * expit(x)),
    "smish": Family(_smish, lambda x, alpha, beta: alpha * x * np.tanh(np.log1p(expit(beta * x)))),
    "polu": Family(
        _moderate(lambda phi: {"n": -math.log2(1 + phi.at(-1.0))}),
        lambda x, n: np.where(x > 0, x, (1 - np.minimum(x, 0)) ** -n - 1),
    ),
    "isru": Family(
        _moderate(lambda phi: {"alpha": 1 / phi.at(_FAR) ** 2 - 1 / _FAR**2}),
        lambda x, alpha: x / np.sqrt(1 + alpha * x * x),
    ),
    "isrlu": Family(
        _moderate(lambda phi: {"alpha": 1 / phi.at(-_FAR) ** 2 - 1 / _FAR**2}),
        lambda x, alpha: np.where(x > 0, x, x / np.sqrt(1 + alpha * x * x)),
    ),
    "sin": Family(_sin, lambda x, omega: np.sin(omega * x)),
    "snake": Family(_snake, lambda x, a: x + np.sin(a * x) ** 2 / a),
    "sinlu": Family(_sinlu, lambda x, a, b: (x + a * np.sin(b * x)) * expit(x)),
    "star_relu": Family(_star_relu, lambda x, scale, bias: scale * np.maximum(x, 0) ** 2 + bias),
    "soft_root_sign": Family(
        _moderate(_soft_root_sign),
        lambda x, alpha, beta: x / (x / alpha + np.exp(np.minimum(-x / beta, 500))),
    ),
    "softshrink": Family(
        _moderate(lambda phi: {"lambd": 16 - phi.at(16.0)}),
        lambda x, lambd: x - np.clip(x, -lambd, lambd),
    ),
    "threshold": Family(
        lambda phi: {"value": phi.at(-_FAR)}, lambda x, value: np.where(x > 1, x, value)
    ),
    "xielu": Family(
        _xielu,
        lambda x, alpha_p, alpha_n, beta: (
            np.where(x > 0, alpha_p * x * x, alpha_n * (np.expm1(np.minimum(x, 0)) - x)) + beta * x
        ),
    ),
    "dyt": Family(_dyt, lambda x, alpha, gamma, beta: gamma * np.tanh(alpha * x) + beta),
}
