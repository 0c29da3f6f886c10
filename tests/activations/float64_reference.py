"""The prime activations and their first two derivatives in NumPy float64, for exhaustive sweeps.

Written over SciPy's special functions and not over the forms that jgrad uses; good to 1e-13
relative away from zeros on float32's range, which test_primes proves against mpmath.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

_SELU = 1.0507009873554804934, 1.6732632423543772848


def _normal(x):
    return np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def _sigmoid_slope(x):
    return special.expit(x) * special.expit(-x)


def _sech2(x):
    return 1 / np.cosh(x) ** 2


def _mish_slope(x):
    s = np.logaddexp(0, x)
    return np.tanh(s) + x * special.expit(x) * _sech2(s)


def _mish_curve(x):
    s, sigma = np.logaddexp(0, x), special.expit(x)
    return _sech2(s) * (2 * sigma + x * (_sigmoid_slope(x) - 2 * sigma**2 * np.tanh(s)))


def _inner(x):
    c = 2 * np.sqrt(2 / np.pi)
    return c * (x + 0.044715 * x**3), c * (1 + 3 * 0.044715 * x**2), c * 6 * 0.044715 * x


def _gelu_tanh_slope(x):
    v, dv, _ = _inner(x)
    return special.expit(v) * (1 + x * dv * special.expit(-v))


def _gelu_tanh_curve(x):
    x = np.clip(x, -50, 50)
    v, dv, d2v = _inner(x)
    return _sigmoid_slope(v) * (2 * dv + x * d2v - x * dv * dv * np.tanh(0.5 * v))


def _root(x):
    return np.hypot(x, 2)


def _exponential_unit(alpha, scale, rate):
    """(f, f', f'') of scale · (x if x > 0 else α (e^(rate x) - 1))."""

    def left(x, order):
        x = rate * np.minimum(x, 0)
        return scale * alpha * rate**order * (np.exp(x) if order else np.expm1(x))

    return (
        lambda x: np.where(x > 0, scale * x, left(x, 0)),
        lambda x: np.where(x > 0, scale, left(x, 1)),
        lambda x: np.where(x > 0, 0.0, left(x, 2)),
    )


#: Name → (φ, φ', φ'') of a float64 array.
REFERENCE: dict[str, tuple[Callable, Callable, Callable]] = {
    "sigmoid": (
        special.expit,
        _sigmoid_slope,
        lambda x: -_sigmoid_slope(x) * np.tanh(x / 2),
    ),
    "tanh": (np.tanh, _sech2, lambda x: -2 * np.tanh(x) * _sech2(x)),
    "softplus": (lambda x: np.logaddexp(0, x), special.expit, _sigmoid_slope),
    "log_sigmoid": (
        lambda x: -np.logaddexp(0, -x),
        lambda x: special.expit(-x),
        lambda x: -_sigmoid_slope(x),
    ),
    "elu": _exponential_unit(1.0, 1.0, 1.0),
    "selu": _exponential_unit(_SELU[1], _SELU[0], 1.0),
    "celu_half": _exponential_unit(0.5, 1.0, 2.0),
    "silu": (
        lambda x: x * special.expit(x),
        lambda x: special.expit(x) * (1 + x * special.expit(-x)),
        lambda x: _sigmoid_slope(x) * (2 - x * np.tanh(x / 2)),
    ),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * _normal(x),
        lambda x: _normal(x) * (np.sqrt(2) - x) * (np.sqrt(2) + x),
    ),
    "gelu_tanh": (lambda x: x * special.expit(_inner(x)[0]), _gelu_tanh_slope, _gelu_tanh_curve),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), _mish_slope, _mish_curve),
    "squareplus": (
        lambda x: np.where(x > 0, x + _root(x), 4 / (_root(x) + np.abs(x))) / 2,
        lambda x: np.where(x > 0, (1 + x / _root(x)) / 2, 2 / (_root(x) * (_root(x) + np.abs(x)))),
        lambda x: 2 / _root(x) ** 3,
    ),
    "soft_sign": (
        lambda x: x / (1 + np.abs(x)),
        lambda x: (1 + np.abs(x)) ** -2,
        lambda x: -2 * np.where(x < 0, -1, 1) * (1 + np.abs(x)) ** -3,
    ),
    "erf": (
        special.erf,
        lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x),
        lambda x: -4 / np.sqrt(np.pi) * x * np.exp(-x * x),
    ),
}
