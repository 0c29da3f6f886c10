"""Activations that saturate on both sides: sigmoid, tanh, erf, soft_sign."""

import math

import jax.numpy as jnp
from jax import lax

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._exponential import decay, log1p, polynomial, tanh_of
from ._link import activation, by_accuracy, derivative_of, link
from ._normal import bell_times

# sigmoid: σ' = e / (1 + e)² with e = e^-|x|, and σ'' = -σ' tanh(x/2).


def _curve_of_sigmoid(x: FloatArray) -> FloatArray:
    return -dsigmoid(x) * tanh_link(0.5 * x)


@link(derivative_of(_curve_of_sigmoid))
def d2sigmoid(x: FloatArray) -> FloatArray:
    """σ''."""
    a = jnp.abs(x)
    e = jnp.exp(-a)
    return -jnp.sign(x) * (e / ((1 + e) * (1 + e))) * tanh_of(0.5 * a)


@link(d2sigmoid)
def dsigmoid(x: FloatArray) -> FloatArray:
    """σ'."""
    e = jnp.exp(-jnp.abs(x))
    return e / ((1 + e) * (1 + e))


@link(dsigmoid)
def sigmoid_link(x: FloatArray) -> FloatArray:
    """σ, whose every derivative is stable."""
    return lax.logistic(x)


def _log_slope_sigmoid(x: FloatArray) -> FloatArray:
    a = jnp.abs(x)
    return -a - 2 * log1p(jnp.exp(-a))


@states(
    Traits(
        lower=0.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=0.25,
        monotone=True,
        convex=False,
        limits=(0.0, 1.0),
        saturates="both",
        source="Verhulst, 1838, Correspondance mathématique et physique 10, p. 113-121",
    ),
    aliases=("logistic",),
    log_slope=_log_slope_sigmoid,
)
@activation
def sigmoid(x: FloatArray, *, accuracy: str = "faithful") -> FloatArray:
    """σ(x) = 1 / (1 + e^-x).

    Args:
      x: of any float dtype.
      accuracy: "fast" takes jax.nn's form and loses the slope to the right: σ' is 1 % off from
        x = 12 and exactly 0 from x = 16.7 in float32.

    Example:
      >>> import jax
      >>> float(jax.grad(sigmoid)(jnp.float32(20.0)))
      2.061153...e-09
    """
    return by_accuracy(accuracy, sigmoid_link, lax.logistic)(x)


# tanh: tanh' = sech², sech²' = -2 tanh sech².


def _curve_of_tanh(x: FloatArray) -> FloatArray:
    return -2 * tanh_link(x) * dtanh(x)


@link(derivative_of(_curve_of_tanh))
def d2tanh(x: FloatArray) -> FloatArray:
    """Tanh''."""
    a = jnp.abs(x)
    e, scale = decay(2 * a)
    d = 1 + e * scale
    return -jnp.sign(x) * (tanh_of(a) * (8 * scale) / (d * d)) * e


@link(d2tanh)
def dtanh(x: FloatArray) -> FloatArray:
    """The slope of tanh, 4 e / (1 + e)² with e = e^-2|x|."""
    e, scale = decay(2 * jnp.abs(x))
    d = 1 + e * scale
    return e * (4 * scale) / (d * d)


@link(dtanh)
def tanh_link(x: FloatArray) -> FloatArray:
    """tanh, whose every derivative is stable."""
    return tanh_of(x)


def _log_slope_tanh(x: FloatArray) -> FloatArray:
    a = 2 * jnp.abs(x)
    return math.log(4) - a - 2 * log1p(jnp.exp(-a))


@states(
    Traits(
        lower=-1.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-1.0, 1.0),
        saturates="both",
        source="LeCun et al., 1998, Efficient BackProp",
    ),
    log_slope=_log_slope_tanh,
)
@activation
def tanh(x: FloatArray, *, accuracy: str = "faithful") -> FloatArray:
    """Hyperbolic tangent.

    Args:
      x: of any float dtype.
      accuracy: "fast" takes jax.nn's form and loses the slope: tanh' is 1 % off from |x| = 6
        and exactly 0 from |x| = 8 in float32.

    Example:
      >>> import jax
      >>> float(jax.grad(tanh)(jnp.float32(20.0)))
      1.69934...e-17
    """
    return by_accuracy(accuracy, tanh_link, jnp.tanh)(x)


# soft_sign: φ^(k) = (-sign)^(k-1) k! / (1 + |x|)^(k+1).


def _log_slope_soft_sign(x: FloatArray) -> FloatArray:
    return -2 * jnp.log1p(jnp.abs(x))


@states(
    Traits(
        lower=-1.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(1.0,),
        limits=(-1.0, 1.0),
        saturates="both",
        source="Bergstra et al., 2009, Quadratic polynomials learn better image features",
    ),
    aliases=("softsign",),
    log_slope=_log_slope_soft_sign,
)
@activation
def soft_sign(x: FloatArray) -> FloatArray:
    """Softsign, x / (1 + |x|).

    Example:
      >>> soft_sign(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.6667    ,  0.        ,  0.59999996], dtype=float32)
    """
    # Through 1 / (1 + |x|), which autodiff turns into powers of itself and never a difference.
    right = x >= 0
    a = jnp.where(right, x, -x)
    return jnp.where(right, 1.0, -1.0).astype(x.dtype) * _ratio(a)


@link(lambda a: _inverse_power(a, 2, 1.0))
def _ratio(a: FloatArray) -> FloatArray:
    return jnp.where(jnp.isinf(a), 1.0, a / (1 + a)).astype(a.dtype)


def _inverse_power(a: FloatArray, n: int, factor: float) -> FloatArray:
    """Factor / (1 + a)^n."""

    @link(lambda a: _inverse_power(a, n + 1, -n * factor))
    def power(a: FloatArray) -> FloatArray:
        return (factor / (1 + a)) * (1 / (1 + a)) ** (n - 1)

    return power(a)


# erf: erf' = 2/√π e^(-x²).


def _log_slope_erf(x: FloatArray) -> FloatArray:
    return math.log(2 / math.sqrt(math.pi)) - x * x


@states(
    Traits(
        lower=-1.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=2 / math.sqrt(math.pi),
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-1.0, 1.0),
        saturates="both",
        source="Abramowitz & Stegun, 1964, Handbook of Mathematical Functions, §7.1",
    ),
    log_slope=_log_slope_erf,
)
@activation
def erf(x: FloatArray, *, accuracy: str = "faithful") -> FloatArray:
    """The error function, 2/√π ∫₀ˣ e^(-t²) dt.

    Args:
      x: of any float dtype.
      accuracy: "fast" takes jax.nn's form and loses up to 60 ulp of the slope's tail in
        float32, all of the second derivative's.

    Example:
      >>> erf(jnp.array([-2.0, 0.0, 1.5])).round(4)
      Array([-0.9953,  0.    ,  0.9661], dtype=float32)
    """
    return by_accuracy(accuracy, _erf, lax.erf)(x)


_derf = bell_times((2 / math.sqrt(math.pi),), 2)

_ERF = (
    1.128379167,
    -0.37612636658,
    0.1128371866,
    -0.026857459267,
    0.0051767076427,
    -0.00073489305831,
)  # erf(x) / x in powers of x², on [0, 0.6]


_LOG_ERFC = (
    3.0239521755e-05,
    -1.1286855438,
    -0.63534558358,
    -0.10566808397,
    0.023125842394,
    -0.0032845237515,
    0.00022215816061,
)  # ln(1 - erf(x)) on [0.6, 4]; erf is 1 beyond


@link(_derf)
def _erf(x: FloatArray) -> FloatArray:
    if x.dtype == jnp.float64:
        return lax.erf(x)
    a = jnp.minimum(jnp.abs(x), 4)
    far = jnp.sign(x) * (1 - jnp.exp(polynomial(_LOG_ERFC, a)))
    return jnp.where(a < 0.6, x * polynomial(_ERF, a * a), far)
