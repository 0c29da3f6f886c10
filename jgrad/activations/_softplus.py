"""Smooth forms of relu: softplus, log_sigmoid, squareplus."""

import math

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._exponential import log1p
from ._link import activation, check_positive, link
from ._sigmoidal import sigmoid_link


@link(sigmoid_link)
def softplus_link(x: FloatArray) -> FloatArray:
    """ln(1 + e^x), whose every derivative is stable."""
    return jnp.maximum(x, 0) + log1p(jnp.exp(-jnp.abs(x)))


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        limits=(0.0, math.inf),
        saturates="left",
        source="Dugas et al., 2000, Incorporating second-order functional knowledge for better "
        "option pricing",
    ),
    log_slope=lambda x: -softplus_link(-x),
)
@activation
def softplus(x: FloatArray) -> FloatArray:
    """ln(1 + e^x).

    Example:
      >>> softplus(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([0.1269   , 0.6931   , 1.7013999], dtype=float32)
    """
    return softplus_link(x)


@states(
    Traits(
        upper=0.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        limits=(-math.inf, 0.0),
        saturates="right",
        source="-softplus(-x)",
    ),
    aliases=("logsigmoid",),
    log_slope=lambda x: -softplus_link(x),
)
@activation
def log_sigmoid(x: FloatArray) -> FloatArray:
    """The logarithm of the sigmoid, ln σ(x) = -ln(1 + e^-x).

    Example:
      >>> log_sigmoid(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-2.1269, -0.6931, -0.2014], dtype=float32)
    """
    return -softplus_link(-x)


# squareplus, with h = x / √b: √b/2 (h + r), r = √(1 + h²).


def _squared_radius(h: FloatArray) -> FloatArray:
    """1 + h², of the largest h that does not overflow where h is larger."""
    largest = 0.5 * math.sqrt(float(jnp.finfo(h.dtype).max))
    a = jnp.minimum(jnp.abs(h), largest)
    return 1 + a * a


def _radius(h: FloatArray) -> FloatArray:
    """√(1 + h²), without overflow."""
    a = jnp.abs(h)
    return jnp.where(a > 1e9, a, jnp.sqrt(_squared_radius(h)))


def _bounded(h: FloatArray) -> FloatArray:
    """`h`, made finite."""
    largest = float(jnp.finfo(h.dtype).max) / 4
    return jnp.clip(h, -largest, largest)


def _tilt(h: FloatArray) -> FloatArray:
    """`h / r`, between -1 and 1."""
    h = _bounded(h)
    return h / _radius(h)


def _inverse_radius(h: FloatArray, n: int) -> FloatArray:
    """(1 + h²)^(-n/2), n ≥ 3."""

    @link(lambda h: -n * _tilt(h) * _inverse_radius(h, n + 1))
    def power(h: FloatArray) -> FloatArray:
        r = _radius(h)
        return (1 / r) ** (n - 3) / (_squared_radius(h) * r)

    return power(h)


@link(lambda h: _inverse_radius(h, 3))
def _squareplus_slope(h: FloatArray) -> FloatArray:
    h = _bounded(h)
    r = _radius(h)
    # To the left h + r cancels; r - |h| = 1 / (r + |h|).
    return jnp.where(h > 0, 1 + h / r, 1 / (1 + jnp.abs(h) * (r + jnp.abs(h))))


@link(_squareplus_slope)
def _squareplus(h: FloatArray) -> FloatArray:
    r = _radius(h)
    return jnp.where(h > 0, h + r, 1 / (r + jnp.abs(h)))


def _log_slope_squareplus(x: FloatArray, b: float | jax.Array = 4.0) -> FloatArray:
    h = x / jnp.sqrt(jnp.asarray(b, x.dtype))
    r = _radius(h)
    return jnp.where(
        h > 0,
        jnp.log(0.5 * _squareplus_slope(h)),
        -math.log(2) - jnp.log(r) - jnp.log(r + jnp.abs(h)),
    )


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        limits=(0.0, math.inf),
        saturates="left",
        source="Barron, 2021, arXiv:2112.11687",
    ),
    log_slope=_log_slope_squareplus,
)
@activation
def squareplus(x: FloatArray, *, b: float | jax.Array = 4.0) -> FloatArray:
    """(x + √(x² + b)) / 2.

    Example:
      >>> squareplus(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([0.41419998, 1.        , 2.        ], dtype=float32)
    """
    check_positive(b=b)
    root = jnp.sqrt(jnp.asarray(b, x.dtype))
    return 0.5 * root * _squareplus(x / root)
