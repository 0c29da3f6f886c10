"""Gaussian error linear units: gelu (exact) and gelu_tanh."""

import math

import jax.numpy as jnp
from jax import lax

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._link import activation, link
from ._sigmoidal import dsigmoid, sigmoid_link, tanh_link
from ._softplus import softplus_link

# gelu: φ' = Φ + x N, φ'' = N (2 - x²), N the normal density.


@link(lambda x: -jnp.clip(x, -40, 40) * normal_density(x))
def normal_density(x: FloatArray) -> FloatArray:
    """The standard normal density."""
    return jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _curve_of_gelu(x: FloatArray) -> FloatArray:
    x = jnp.clip(x, -40, 40)
    return normal_density(x) * (2 - x * x)


@link(_curve_of_gelu)
def _dgelu(x: FloatArray) -> FloatArray:
    x = jnp.clip(x, -40, 40)
    return 0.5 * lax.erfc(-x * math.sqrt(0.5)) + x * normal_density(x)


@link(_dgelu)
def _gelu(x: FloatArray) -> FloatArray:
    return jnp.where(x < -40, 0.0, x * 0.5 * lax.erfc(-x * math.sqrt(0.5))).astype(x.dtype)


def _log_slope_gelu(x: FloatArray) -> FloatArray:
    return jnp.log(jnp.abs(_dgelu(x)))


@states(
    Traits(
        lower=-0.169971207479903662,
        slope_lower=-0.128904145185154786,
        slope_upper=1.12890414518515479,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-0.751791524693564457,),
        saturates="left",
        source="Hendrycks & Gimpel, 2016, arXiv:1606.08415, §2",
    ),
    aliases=("gelu_exact", "gelu_erf"),
    log_slope=_log_slope_gelu,
)
@activation
def gelu(x: FloatArray) -> FloatArray:
    """Gaussian error linear unit, x Φ(x), Φ the standard normal CDF."""
    return _gelu(x)


# gelu_tanh: x σ(v), v = 2 √(2/π) (x + 0.044715 x³).

_SLOPE = 2 * math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _inner(x: FloatArray) -> FloatArray:
    return _SLOPE * (x + _CUBIC * x * x * x)


def _curve_of_gelu_tanh(x: FloatArray) -> FloatArray:
    x = jnp.clip(x, -40, 40)
    v = _inner(x)
    dv = _SLOPE * (1 + 3 * _CUBIC * x * x)
    d2v = _SLOPE * 6 * _CUBIC * x
    return dsigmoid(v) * (2 * dv + x * d2v - x * dv * dv * tanh_link(0.5 * v))


@link(_curve_of_gelu_tanh)
def _dgelu_tanh(x: FloatArray) -> FloatArray:
    x = jnp.clip(x, -40, 40)
    v = _inner(x)
    dv = _SLOPE * (1 + 3 * _CUBIC * x * x)
    return sigmoid_link(v) * (1 + x * dv * sigmoid_link(-v))


@link(_dgelu_tanh)
def _gelu_tanh(x: FloatArray) -> FloatArray:
    gate = sigmoid_link(_inner(jnp.clip(x, -40, 40)))
    return jnp.where(gate == 0, 0.0, x * gate).astype(x.dtype)


def _log_slope_gelu_tanh(x: FloatArray) -> FloatArray:
    x = jnp.clip(x, -1e6, 1e6)
    v = _inner(x)
    dv = _SLOPE * (1 + 3 * _CUBIC * x * x)
    return -softplus_link(-v) + jnp.log(jnp.abs(1 + x * dv * sigmoid_link(-v)))


@states(
    Traits(
        lower=-0.170040750571254051,
        slope_lower=-0.128993068658771765,
        slope_upper=1.12899306865877177,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-0.752461422071016258,),
        saturates="left",
        source="Hendrycks & Gimpel, 2016, arXiv:1606.08415, §2",
    ),
    aliases=("gelu_approximate",),
    log_slope=_log_slope_gelu_tanh,
)
@activation
def gelu_tanh(x: FloatArray) -> FloatArray:
    """The tanh form of gelu, x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    return _gelu_tanh(x)
