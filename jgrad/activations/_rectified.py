"""The identity and the rectifiers: relu, leaky_relu, elu, selu, celu."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._exponential import decay, expm1
from ._link import activation, check_positive
from ._normal import near_one, upper_half


@states(
    Traits(
        slope_lower=1.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        parity="odd",
        limits=(-math.inf, math.inf),
        saturates="none",
        source="the linear unit",
    ),
    aliases=("linear",),
    log_slope=lambda x: jnp.where(jnp.isnan(x), x, 0.0).astype(x.dtype),
)
@activation
def identity(x: FloatArray) -> FloatArray:
    """The identity, x."""
    return x


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        smoothness=0,
        kinks=(0.0,),
        kink_slopes=(0.0,),
        limits=(0.0, math.inf),
        saturates="left",
        source="Nair & Hinton, 2010, Rectified linear units improve restricted Boltzmann machines",
    ),
)
@activation
def relu(x: FloatArray) -> FloatArray:
    """Rectified linear unit, max(x, 0); slope 0 at 0.

    Example:
      >>> relu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([0. , 0. , 1.5], dtype=float32)
    """
    # The maximum lets a NaN through; its slope there, and at 0, is 0 as in jax.nn.
    return jnp.where(x > 0, x, lax.stop_gradient(jnp.maximum(x, 0)))


@states(
    Traits(
        slope_lower=0.01,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        smoothness=0,
        kinks=(0.0,),
        kink_slopes=(1.0,),
        limits=(-math.inf, math.inf),
        saturates="none",
        source="Maas, Hannun & Ng, 2013, Rectifier nonlinearities improve neural network "
        "acoustic models",
    ),
    aliases=("prelu", "rrelu"),
)
@activation
def leaky_relu(x: FloatArray, *, negative_slope: float | jax.Array = 0.01) -> FloatArray:
    """Leaky rectifier: x for x ≥ 0, else `negative_slope` · x; slope 1 at 0.

    Example:
      >>> leaky_relu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.02,  0.  ,  1.5 ], dtype=float32)
    """
    return jnp.where(x >= 0, x, negative_slope * x)


# e^x, times a factor, to the left of 0: the negative half of the exponential linear units.


@jax.custom_jvp
def _exp(x: FloatArray, factor: FloatArray) -> FloatArray:
    e, scale = decay(-x)
    return e * (factor * scale)


@_exp.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    x, factor = primals
    return _exp(x, factor), _exp(x, factor) * tangents[0] + _exp(
        x, jnp.ones_like(factor)
    ) * tangents[1]


@jax.custom_jvp
def _expm1(x: FloatArray, factor: FloatArray) -> FloatArray:
    return factor * expm1(x)


@_expm1.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    x, factor = primals
    return _expm1(x, factor), _exp(x, factor) * tangents[0] + expm1(x) * tangents[1]


def _left(x: FloatArray) -> FloatArray:
    """min(x, 0), with slope 1 at 0."""
    return jnp.where(x > 0, 0.0, x).astype(x.dtype)


@states(
    Traits(
        lower=-1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(1.0,),
        limits=(-1.0, math.inf),
        saturates="left",
        source="Clevert, Unterthiner & Hochreiter, 2015, arXiv:1511.07289",
    ),
    log_slope=lambda x, alpha=1.0: jnp.where(x > 0, 0.0, x + jnp.log(jnp.abs(alpha))).astype(
        x.dtype
    ),
)
@activation
def elu(x: FloatArray, *, alpha: float | jax.Array = 1.0) -> FloatArray:
    """Exponential linear unit: x for x > 0, else α (e^x - 1).

    Example:
      >>> elu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.86469996,  0.        ,  1.5       ], dtype=float32)
    """
    return jnp.where(x > 0, x, _expm1(_left(x), jnp.asarray(alpha, x.dtype)))


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@states(
    Traits(
        lower=-_SELU_SCALE * _SELU_ALPHA,
        slope_lower=0.0,
        slope_upper=_SELU_SCALE * _SELU_ALPHA,
        monotone=True,
        convex=False,
        smoothness=0,
        kinks=(0.0,),
        kink_slopes=(_SELU_SCALE * _SELU_ALPHA,),
        limits=(-_SELU_SCALE * _SELU_ALPHA, math.inf),
        saturates="left",
        source="Klambauer et al., 2017, arXiv:1706.02515",
    ),
    log_slope=lambda x: jnp.where(
        x > 0, math.log(_SELU_SCALE), x + math.log(_SELU_SCALE * _SELU_ALPHA)
    ).astype(x.dtype),
)
@activation
def selu(x: FloatArray) -> FloatArray:
    """Self-normalising exponential linear unit, λ elu(x; α), λ ≈ 1.0507, α ≈ 1.6733.

    Example:
      >>> selu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-1.5202,  0.    ,  1.5761], dtype=float32)
    """
    factor = jnp.asarray(_SELU_SCALE * _SELU_ALPHA, x.dtype)
    return jnp.where(x > 0, _SELU_SCALE * x, _expm1(_left(x), factor))


@jax.custom_jvp
def _rising(x: FloatArray, alpha: FloatArray, factor: FloatArray) -> FloatArray:
    """Factor · e^(x/α) for x ≤ 0."""
    ratio = jnp.maximum(x, -1000 * alpha) / alpha
    # The exponential turns the quotient's rounding into a relative error of |x/α| ulps: what is
    # left of the division goes in by itself.
    high, alpha_high = upper_half(ratio), upper_half(alpha)
    left_over = (jnp.maximum(x, -1000 * alpha) - high * alpha_high) - high * (alpha - alpha_high)
    e, scale = decay(-high)
    return e * (factor * (scale * near_one(left_over / alpha)))


@_rising.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    x, alpha, factor = primals
    dx, dalpha, dfactor = tangents
    value = _rising(x, alpha, factor)
    along = _rising(x, alpha, factor / alpha)
    ratio = jnp.maximum(x / alpha, -1000)
    plain = _rising(x, alpha, jnp.ones_like(factor))
    return value, along * dx - ratio * along * dalpha + plain * dfactor


@jax.custom_jvp
def _settling(x: FloatArray, alpha: FloatArray) -> FloatArray:
    """α (e^(x/α) - 1) for x ≤ 0."""
    return alpha * expm1(x / alpha)


@_settling.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    x, alpha = primals
    dx, dalpha = tangents
    slope = _rising(x, alpha, jnp.ones_like(alpha))
    ratio = jnp.maximum(x / alpha, -1000)
    return _settling(x, alpha), slope * dx + (expm1(ratio) - ratio * slope) * dalpha


@states(
    Traits(
        lower=-1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(1.0,),
        limits=(-1.0, math.inf),
        saturates="left",
        source="Barron, 2017, arXiv:1704.07483",
    ),
    log_slope=lambda x, alpha=1.0: jnp.where(x > 0, 0.0, x / alpha).astype(x.dtype),
)
@activation
def celu(x: FloatArray, *, alpha: float | jax.Array = 1.0) -> FloatArray:
    """Continuously differentiable exponential linear unit: x for x > 0, else α (e^(x/α) - 1).

    Example:
      >>> celu(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.86469996,  0.        ,  1.5       ], dtype=float32)
    """
    check_positive(alpha=alpha)
    alpha = jnp.asarray(alpha, x.dtype)
    return jnp.where(x > 0, x, _settling(_left(x), alpha))
