"""Gaussian error linear units: gelu (exact) and gelu_tanh."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._exponential import decay, tanh_of
from ._link import activation, by_accuracy, derivative_of, link
from ._normal import bell, bell_times, near_one, tail, upper_half, within
from ._sigmoidal import sigmoid_link, tanh_link
from ._softplus import softplus_link

# gelu, with Φ(-z) = tail(z) e^(-z²/2): φ' = Φ + x N, φ'' = N (2 - x²), N the normal density.

_DENSITY = 1 / math.sqrt(2 * math.pi)
_d2gelu = bell_times((2 * _DENSITY, 0.0, -_DENSITY), 1)


@link(_d2gelu)
def _dgelu(x: FloatArray) -> FloatArray:
    z = jnp.abs(within(x))
    e, rest = bell(z, 1)
    left = e * (rest * (tail(z) - _DENSITY * z))
    return jnp.where(x >= 0, 1 - left, left)


@link(_dgelu)
def _gelu(x: FloatArray) -> FloatArray:
    z = jnp.abs(within(x))
    e, rest = bell(z, 1)
    return jnp.maximum(x, 0) - e * (rest * z * tail(z))


def _log_slope_gelu(x: FloatArray) -> FloatArray:
    z = jnp.abs(x)
    # From 1e9 on tail(z) - N(0) z is -N(0) z to the last bit.
    near = jnp.clip(z, 0, 1e9)
    left = jnp.log(jnp.abs(tail(near) - _DENSITY * near)) - 0.5 * z * z
    return jnp.where(x >= 0, jnp.log(_dgelu(x)), left)


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
        source="Hendrycks & Gimpel, 2016, arXiv:1606.08415",
    ),
    aliases=("gelu_exact", "gelu_erf"),
    log_slope=_log_slope_gelu,
)
@activation
def gelu(x: FloatArray, *, accuracy: str = "faithful") -> FloatArray:
    """Gaussian error linear unit, x Φ(x), Φ the standard normal CDF.

    Args:
      x: of any float dtype.
      accuracy: "fast" takes jax.nn's form and loses up to 90 ulp of the left tail, and all of it
        from x = -13 in float32.

    Example:
      >>> gelu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.0455,  0.    ,  1.3998], dtype=float32)
    """
    return by_accuracy(accuracy, _gelu, partial(jax.nn.gelu, approximate=False))(x)


# gelu_tanh: x σ(v), v = x (c₁ + c₃ x²). With e = e^-|v|, d = 1 + e:
# φ' = σ (1 + x v' (1 - σ)), φ'' = σ' (2 v' + x v'' - x v'² tanh(v/2)).

_C1 = 2 * math.sqrt(2 / math.pi)
_C3 = _C1 * 0.044715
#: What the doubles above lack.
_C1_REST = -9.96930880911092e-17
_C3_REST = -6.175149918155315e-19


def _halves(c: float, rest: float, dtype: jnp.dtype) -> tuple[float, float]:
    """The constant c + rest as two floats, the first of half the bits."""
    keep = 2.0 ** ((jnp.finfo(dtype).nmant - 1) // 2 - math.floor(math.log2(c)))
    high = round(c * keep) / keep
    return high, (c - high) + rest


def _inner(x: FloatArray) -> FloatArray:
    """V."""
    return x * (_C1 + _C3 * (x * x))


def _slope_of_inner(x: FloatArray) -> FloatArray:
    """V'."""
    return _C1 + 3 * _C3 * (x * x)


def _inner_decay(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """e^-|v| as a product (E, rest), |v| to one and a half times the bits of x."""
    x = jnp.abs(x)
    c1, c1_rest = _halves(_C1, _C1_REST, x.dtype)
    c3, c3_rest = _halves(_C3, _C3_REST, x.dtype)
    xh = upper_half(x)
    xl = x - xh
    square = upper_half(xh * xh)
    square_rest = (xh * xh - square) + xl * (x + xh)
    factor = upper_half(c1 + c3 * square)
    rest = (c1 - factor) + c3 * square
    factor_rest = rest + (c1_rest + c3 * square_rest + c3_rest * (x * x))
    e, scale = decay(xh * factor)
    return e, scale * near_one(-(xh * factor_rest + xl * (factor + factor_rest)))


def _bounded(x: FloatArray) -> FloatArray:
    """`x` within ±30, where e^-|v| is long 0 in any dtype."""
    return jnp.clip(x, -30, 30)


def _gate_curve(x: FloatArray) -> FloatArray:
    return -_gate_slope(x) * tanh_link(0.5 * _inner(x)) * _slope_of_inner(x)


@link(_gate_curve)
def _gate_slope(x: FloatArray) -> FloatArray:
    """σ'(v)."""
    e, rest = _inner_decay(x)
    d = 1 + e * rest
    return e * (rest / (d * d))


def _curve_of_gelu_tanh(x: FloatArray) -> FloatArray:
    x = _bounded(x)
    dv = _slope_of_inner(x)
    bend = x * dv * dv * tanh_link(0.5 * _inner(x))
    return _gate_slope(x) * (2 * dv + 6 * _C3 * (x * x) - bend)


@link(derivative_of(_curve_of_gelu_tanh))
def _d2gelu_tanh(x: FloatArray) -> FloatArray:
    x = jnp.abs(_bounded(x))
    dv = _slope_of_inner(x)
    e, rest = _inner_decay(x)
    d = 1 + e * rest
    bracket = 2 * dv + 6 * _C3 * (x * x) - x * dv * dv * tanh_of(0.5 * _inner(x))
    return e * (bracket * rest / (d * d))


@link(_d2gelu_tanh)
def _dgelu_tanh(x: FloatArray) -> FloatArray:
    x = _bounded(x)
    e, rest = _inner_decay(x)
    d = 1 + e * rest
    steep = x * _slope_of_inner(x)
    return jnp.where(x >= 0, d + steep * (e * rest), e * ((d + steep) * rest)) / (d * d)


@link(_dgelu_tanh)
def _gelu_tanh(x: FloatArray) -> FloatArray:
    near = _bounded(x)
    e, rest = _inner_decay(near)
    return jnp.where(x >= 0, x, e * (near * rest)) / (1 + e * rest)


def _log_slope_gelu_tanh(x: FloatArray) -> FloatArray:
    near = jnp.clip(x, -1e4, 1e4)
    v = _inner(near)
    factor = 1 + near * _slope_of_inner(near) * sigmoid_link(-v)
    return jnp.log(jnp.abs(factor)) - softplus_link(-_inner(x))


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
        source="Hendrycks & Gimpel, 2016, arXiv:1606.08415",
    ),
    aliases=("gelu_approximate",),
    log_slope=_log_slope_gelu_tanh,
)
@activation
def gelu_tanh(x: FloatArray, *, accuracy: str = "faithful") -> FloatArray:
    """The tanh form of gelu, x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2.

    Args:
      x: of any float dtype.
      accuracy: "fast" takes jax.nn's form and loses the left tail: φ and φ' are exactly 0 from
        x = -4.9 in float32, and φ' is NaN from |x| = 1e19.

    Example:
      >>> gelu_tanh(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.0454   ,  0.       ,  1.3995999], dtype=float32)
    """
    return by_accuracy(accuracy, _gelu_tanh, partial(jax.nn.gelu, approximate=True))(x)
