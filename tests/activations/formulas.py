"""Every activation as the literature writes it, for NumPy and for mpmath: the tests' own catalogue.

`FORMULAS[name](m, x)` is the textbook formula at the default parameters, over a namespace m of
elementary functions: NUMPY works on float64 arrays, MPMATH on one number of any precision. Nothing
here is careful about rounding; that is left to mpmath's precision.
"""

import types

import mpmath as mp
import numpy as np
import scipy.special

NUMPY = types.SimpleNamespace(
    exp=np.exp,
    log=np.log,
    log1p=np.log1p,
    expm1=np.expm1,
    tanh=np.tanh,
    erf=scipy.special.erf,
    erfc=scipy.special.erfc,
    sqrt=np.sqrt,
    atan=np.arctan,
    asinh=np.arcsinh,
    sin=np.sin,
    cos=np.cos,
    abs=np.abs,
    where=np.where,
    pi=np.pi,
    number=float,
)
MPMATH = types.SimpleNamespace(
    exp=mp.exp,
    log=mp.log,
    log1p=mp.log1p,
    expm1=mp.expm1,
    tanh=mp.tanh,
    erf=mp.erf,
    erfc=mp.erfc,
    sqrt=mp.sqrt,
    atan=mp.atan,
    asinh=mp.asinh,
    sin=mp.sin,
    cos=mp.cos,
    abs=abs,
    where=lambda condition, yes, no: yes if condition else no,
    pi=mp.pi,
    number=mp.mpf,
)


def _sigmoid(m, x):
    return 1 / (1 + m.exp(-x))


def _softplus(m, x):
    return m.where(x > 0, x, 0) + m.log1p(m.exp(-m.abs(x)))


def _normal_cdf(m, x):
    return m.erfc(-x / m.sqrt(2)) / 2


def _gelu(m, x):
    return x * _normal_cdf(m, x)


def _relu(m, x):
    return m.where(x > 0, x, 0 * x)


def _clip(m, x, low, high):
    return m.where(x < low, low + 0 * x, m.where(x > high, high + 0 * x, x))


def _left(m, x):
    return m.where(x < 0, x, 0 * x)


def _elu(m, x, alpha=1):
    return m.where(x > 0, x, alpha * m.expm1(_left(m, x)))


def _selu(m, x):
    alpha = m.number("1.6732632423543772848170429916717")
    return m.number("1.0507009873554804934193349852946") * _elu(m, x, alpha)


def _gelu_tanh(m, x):
    # ½ (1 + tanh u) = σ(2u).
    u = m.sqrt(2 / m.pi) * (x + m.number("0.044715") * x**3)
    return x * _sigmoid(m, 2 * u)


def _serf(m, x):
    return x * m.erf(_softplus(m, x))


def _elish(m, x):
    return m.where(x >= 0, x, m.expm1(_left(m, x))) * _sigmoid(m, x)


def _soft_root_sign(m, x):
    return x / (x / 2 + m.exp(-x / 3))


def _rational(m, x):
    a = ["0.02996348", "0.61690165", "2.37539147", "3.06608078", "1.52474449", "0.25281987"]
    b = ["1.19160814", "4.40811795", "0.91111034", "0.34885983"]
    p = sum(m.number(c) * x**k for k, c in enumerate(a))
    q = sum(m.number(c) * x ** (k + 1) for k, c in enumerate(b))
    return p / (1 + m.abs(q))


def _xielu(m, x):
    alpha, beta = m.number("0.8"), m.number("0.5")
    negative = alpha * (m.expm1(_left(m, x)) - x) + beta * x
    return m.where(x > 0, alpha * x**2 + beta * x, negative)


FORMULAS = {
    "identity": lambda m, x: x,
    "relu": _relu,
    "relu6": lambda m, x: _clip(m, x, 0, 6),
    "leaky_relu": lambda m, x: m.where(x > 0, x, m.number("0.01") * x),
    "elu": _elu,
    "selu": _selu,
    "celu": _elu,
    "softplus": _softplus,
    "shifted_softplus": lambda m, x: _softplus(m, x) - m.log(2),
    "squareplus": lambda m, x: (x + m.sqrt(x**2 + 4)) / 2,
    "sparse_plus": lambda m, x: m.where(
        x <= -1, 0 * x, m.where(x >= 1, x, (_clip(m, x, -1, 1) + 1) ** 2 / 4)
    ),
    "log_sigmoid": lambda m, x: -_softplus(m, -x),
    "sigmoid": _sigmoid,
    "hard_sigmoid": lambda m, x: _clip(m, x + 3, 0, 6) / 6,
    "sparse_sigmoid": lambda m, x: _clip(m, (x + 1) / 2, 0, 1),
    "tanh": lambda m, x: m.tanh(x),
    "hard_tanh": lambda m, x: _clip(m, x, -1, 1),
    "lecun_tanh": lambda m, x: m.number("1.7159") * m.tanh(2 * x / 3),
    "penalized_tanh": lambda m, x: m.where(x > 0, m.tanh(x), m.tanh(x) / 4),
    "soft_sign": lambda m, x: x / (1 + m.abs(x)),
    "arctan": lambda m, x: m.atan(x),
    "asinh": lambda m, x: m.asinh(x),
    "erf": lambda m, x: m.erf(x),
    "silu": lambda m, x: x * _sigmoid(m, x),
    "e_swish": lambda m, x: m.number("1.375") * x * _sigmoid(m, x),
    "hard_silu": lambda m, x: x * _clip(m, x + 3, 0, 6) / 6,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "quick_gelu": lambda m, x: x * _sigmoid(m, m.number("1.702") * x),
    "mish": lambda m, x: x * m.tanh(_softplus(m, x)),
    "tanh_exp": lambda m, x: x * m.tanh(m.exp(x)),
    "serf": _serf,
    "smish": lambda m, x: x * m.tanh(m.log1p(_sigmoid(m, x))),
    "logish": lambda m, x: x * m.log1p(_sigmoid(m, x)),
    "phish": lambda m, x: x * m.tanh(_gelu(m, x)),
    "gish": lambda m, x: x * m.log1p(-m.expm1(-m.exp(x))),
    "golu": lambda m, x: x * m.exp(-m.exp(-x)),
    "log_log": lambda m, x: -m.expm1(-m.exp(x)),
    "lisht": lambda m, x: x * m.tanh(x),
    "elish": _elish,
    "reu": lambda m, x: m.where(x > 0, x, x * m.exp(_left(m, x))),
    "polu": lambda m, x: m.where(x >= 0, x, 1 / (1 - _left(m, x)) - 1),
    "isru": lambda m, x: x / m.sqrt(1 + x**2),
    "isrlu": lambda m, x: m.where(x >= 0, x, x / m.sqrt(1 + x**2)),
    "bent_identity": lambda m, x: (m.sqrt(x**2 + 1) - 1) / 2 + x,
    "gaussian": lambda m, x: m.exp(-(x**2)),
    "gcu": lambda m, x: x * m.cos(x),
    "sin": lambda m, x: m.sin(x),
    "snake": lambda m, x: x + m.sin(x) ** 2,
    "sinlu": lambda m, x: (x + m.sin(x)) * _sigmoid(m, x),
    "dsilu": lambda m, x: _sigmoid(m, x) * (1 + x * _sigmoid(m, -x)),
    "squared_relu": lambda m, x: _relu(m, x) ** 2,
    "star_relu": lambda m, x: m.number("0.8944") * _relu(m, x) ** 2 - m.number("0.4472"),
    "soft_root_sign": _soft_root_sign,
    "tanhshrink": lambda m, x: x - m.tanh(x),
    "softshrink": lambda m, x: x - _clip(m, x, -m.number("0.5"), m.number("0.5")),
    "hardshrink": lambda m, x: m.where(m.abs(x) > m.number("0.5"), x, 0 * x),
    "threshold": lambda m, x: m.where(x > 1, x, 0 * x),
    "xielu": _xielu,
    "dyt": lambda m, x: m.tanh(x / 2),
    "rational": _rational,
    "exponential": lambda m, x: m.exp(x),
}
