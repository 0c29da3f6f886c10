"""Activations that gate x with a sigmoid of x: silu, mish."""

import math

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._exponential import decay, tanh_of
from ._link import activation, by_accuracy, check_nonzero, derivative_of, link
from ._sigmoidal import dsigmoid, dtanh, sigmoid_link, tanh_link
from ._softplus import softplus_link

# silu, e = e^-|x|, d = 1 + e: φ' = σ (1 + x (1 - σ)), φ'' = σ' (2 - x tanh(x/2)).


def _finite(x: FloatArray) -> FloatArray:
    """`x` within ±1e9, where every activation has long reached its asymptote."""
    return jnp.clip(x, -1e9, 1e9)


def _curve_of_silu(x: FloatArray) -> FloatArray:
    x = _finite(x)
    return dsigmoid(x) * (2 - x * tanh_link(0.5 * x))


@link(derivative_of(_curve_of_silu))
def _d2silu(x: FloatArray) -> FloatArray:
    a = _finite(jnp.abs(x))
    e, scale = decay(a)
    d = 1 + e * scale
    return e * (((2 - a * tanh_of(0.5 * a)) * scale) / (d * d))


@link(_d2silu)
def _dsilu(x: FloatArray) -> FloatArray:
    x = _finite(x)
    e, scale = decay(jnp.abs(x))
    near = e * scale
    d = 1 + near
    return jnp.where(x >= 0, d + x * near, e * ((d + x) * scale)) / (d * d)


@link(_dsilu)
def _silu(x: FloatArray) -> FloatArray:
    e, scale = decay(jnp.abs(x))
    return jnp.where(x >= 0, x, e * (_finite(x) * scale)) / (1 + e * scale)


def _log_slope_silu(x: FloatArray, beta: float | jax.Array = 1.0) -> FloatArray:
    x = beta * x
    near = jnp.clip(x, -1e30, 1e30)
    return jnp.log(jnp.abs(1 + near * sigmoid_link(-near))) - softplus_link(-x)


@states(
    Traits(
        lower=-0.278464542761073795,
        slope_lower=-0.0998393201288669169,
        slope_upper=1.09983932012886692,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.27846454276107379,),
        saturates="left",
        source="Hendrycks & Gimpel, 2016, arXiv:1606.08415; Elfwing et al., 2017, "
        "arXiv:1702.03118; Ramachandran, Zoph & Le, 2017, arXiv:1710.05941 (β)",
    ),
    aliases=("swish",),
    log_slope=_log_slope_silu,
)
@activation
def silu(x: FloatArray, *, beta: float | jax.Array = 1.0, accuracy: str = "faithful") -> FloatArray:
    """Sigmoid linear unit, x σ(β x); β is Swish's, 1 unless it is trained.

    Args:
      x: of any float dtype.
      beta: steepness of the gate, not 0.
      accuracy: "fast" takes jax.nn's form and loses the last four units of the left tail (0 from
        x = -87.3) and, to the right, the second derivative: 0 from x = 16.6 in float32.

    Example:
      >>> silu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.2384,  0.    ,  1.2264], dtype=float32)
    """
    check_nonzero(beta=beta)
    form = by_accuracy(accuracy, _silu, jax.nn.silu)
    if isinstance(beta, int | float) and beta == 1:
        return form(x)
    return form(beta * x) / beta


# mish, with e = e^x: x n / D, n = e (e + 2), D = n + 2; to the right of 0 in q = e^-x. With
# w = d tanh(softplus x)/dx = 4 e (1 + e) / D², φ' = n / D + x w and φ'' = 2 w + x w'.


def _gate_slope(x: FloatArray) -> FloatArray:
    return dtanh(softplus_link(x)) * sigmoid_link(x)


def _curve_of_mish(x: FloatArray) -> FloatArray:
    return 2 * _gate_slope(x) + _finite(x) * derivative_of(_gate_slope)(x)


@link(derivative_of(_curve_of_mish))
def _d2mish(x: FloatArray) -> FloatArray:
    x = _finite(x)
    e, scale = decay(jnp.abs(x))
    q = e * scale
    right = x >= 0
    # w and w'/w, each multiplied through by powers of q to the right.
    d = jnp.where(right, 1 + 2 * q * (1 + q), 2 + q * (2 + q))
    top = jnp.where(right, q * (q * (2 * q + 2) - 3) - 2, 2 + q * (2 - q * (3 + 2 * q)))
    bracket = 2 + x * (top / ((1 + q) * d))
    rest = bracket * (4 * (1 + q) * jnp.where(right, q, 1) * scale) / (d * d)
    return e * rest


@link(_d2mish)
def _dmish(x: FloatArray) -> FloatArray:
    x = _finite(x)
    e, scale = decay(jnp.abs(x))
    q = e * scale
    right = x >= 0
    d = jnp.where(right, 1 + 2 * q * (1 + q), 2 + q * (2 + q))
    top = jnp.where(
        right,
        (1 + 2 * q) * d + 4 * x * (q * q) * (1 + q),
        e * ((4 * (x + 1) + q * (6 + 4 * x + q * (4 + q))) * scale),
    )
    return top / (d * d)


@link(_dmish)
def _mish(x: FloatArray) -> FloatArray:
    e, scale = decay(jnp.abs(x))
    q = e * scale
    right = x >= 0
    d = jnp.where(right, 1 + 2 * q * (1 + q), 2 + q * (2 + q))
    # x last to the right, where x (1 + 2 q) could overflow.
    return jnp.where(right, x, e * (_finite(x) * scale)) * (jnp.where(right, 1 + 2 * q, 2 + q) / d)


def _log_slope_mish(x: FloatArray) -> FloatArray:
    near = jnp.clip(x, -1e30, 1e30)
    q = jnp.exp(-jnp.abs(x))
    d = 2 + q * (2 + q)
    left = x + jnp.log(jnp.abs(4 * (near + 1) + q * (6 + 4 * near + q * (4 + q))) / (d * d))
    return jnp.where(x >= 0, jnp.log(_dmish(x)), left)


@states(
    Traits(
        lower=-0.308843413017250407,
        slope_lower=-0.112526122389462556,
        slope_upper=1.08849816125172787,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.19243121451549522,),
        saturates="left",
        source="Misra, 2019, arXiv:1908.08681",
    ),
    log_slope=_log_slope_mish,
)
@activation
def mish(x: FloatArray) -> FloatArray:
    """Self-gated by a tanh: x tanh(softplus(x)).

    Example:
      >>> mish(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.2525,  0.    ,  1.4034], dtype=float32)
    """
    return _mish(x)
