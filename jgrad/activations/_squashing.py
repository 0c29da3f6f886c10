"""Activations made of a tanh or an exponential, most of them saturating."""

import math

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._link import activation, check_positive, link
from ._normal import bell_times
from ._sigmoidal import sigmoid_link, tanh_link
from ._tails import expm1_link, left_half, loglog_link, xexp_link

_LECUN = 1.7159


@states(
    Traits(
        lower=-_LECUN,
        upper=_LECUN,
        slope_lower=0.0,
        slope_upper=_LECUN * 2 / 3,
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-_LECUN, _LECUN),
        saturates="both",
        source="LeCun et al., 1998, Efficient BackProp",
    ),
    aliases=("stanh",),
)
@activation
def lecun_tanh(x: FloatArray) -> FloatArray:
    """1.7159 tanh(2x / 3), which maps ±1 to about ±1.

    Example:
      >>> print(f"{lecun_tanh(jnp.float32(1.0)):.4f}")
      1.0000
    """
    return _LECUN * tanh_link(x * (2 / 3))


@states(
    Traits(
        lower=-0.25,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        smoothness=0,
        kinks=(0.0,),
        kink_slopes=(0.25,),
        limits=(-0.25, 1.0),
        saturates="both",
        source="Xu, Huang & Li, 2016, arXiv:1602.05980",
    )
)
@activation
def penalized_tanh(x: FloatArray, *, a: float | jax.Array = 0.25) -> FloatArray:
    """Tanh x for x > 0, else a tanh x; slope a at 0.

    The penalty a multiplies the negative half; where a source divides by it, its a is 1 / ours.

    Example:
      >>> print(f"{penalized_tanh(jnp.float32(1.0)):.4f}")
      0.7616
    """
    y = tanh_link(x)
    return jnp.where(x > 0, y, a * y)


@states(
    Traits(
        lower=-1.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=0.5,
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-1.0, 1.0),
        saturates="both",
        source="Zhu et al., 2025, arXiv:2503.10622",
    ),
    aliases=("dynamic_tanh",),
)
@activation
def dyt(
    x: FloatArray,
    *,
    alpha: float | jax.Array = 0.5,
    gamma: float | jax.Array = 1.0,
    beta: float | jax.Array = 0.0,
) -> FloatArray:
    """Dynamic tanh, γ tanh(α x) + β.

    Example:
      >>> print(f"{dyt(jnp.float32(2.0)):.4f}")
      0.7616
    """
    return gamma * tanh_link(alpha * x) + beta


#: Taylor coefficients of (x - tanh x) / x³ in powers of x².
_TANHSHRINK = (
    1 / 3,
    -2 / 15,
    17 / 315,
    -62 / 2835,
    1382 / 155925,
    -21844 / 6081075,
    929569 / 638512875,
    -6404582 / 10854718875,
    443861162 / 1856156927625,
)


@link(lambda x: tanh_link(x) ** 2)
def _tanhshrink(x: FloatArray) -> FloatArray:
    # The difference cancels near 0.
    near = jnp.abs(x) < 0.5
    y = jnp.where(near, x, 0).astype(x.dtype)
    square = y * y
    series = jnp.zeros_like(y)
    for c in reversed(_TANHSHRINK):
        series = series * square + c
    return jnp.where(near, y * square * series, x - tanh_link(x))


@states(
    Traits(
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-math.inf, math.inf),
        slope_zeros=(0.0,),
        saturates="none",
        source="torch.nn.Tanhshrink",
    ),
    aliases=("tanh_shrink",),
)
@activation
def tanhshrink(x: FloatArray) -> FloatArray:
    """What tanh takes away, x - tanh x.

    Example:
      >>> print(f"{tanhshrink(jnp.float32(0.001)):.3e}")
      3.333e-10
    """
    return _tanhshrink(x)


@link(sigmoid_link)
def _shifted_softplus(x: FloatArray) -> FloatArray:
    # ln((1 + e^-|x|) / 2) as ln(1 + (e^-|x| - 1) / 2), which is exact about 0.
    return jnp.maximum(x, 0) + jnp.log1p(expm1_link(-jnp.abs(x)) / 2)


@states(
    Traits(
        lower=-math.log(2),
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        limits=(-math.log(2), math.inf),
        saturates="left",
        source="Schütt et al., 2017, arXiv:1706.08566",
    ),
    aliases=("ssp",),
)
@activation
def shifted_softplus(x: FloatArray) -> FloatArray:
    """ln(1 + e^x) - ln 2, which is 0 at 0.

    Example:
      >>> print(f"{shifted_softplus(jnp.float32(2.0)):.4f}")
      1.4338
    """
    return _shifted_softplus(x)


@states(
    Traits(
        lower=0.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=math.exp(-1),
        monotone=True,
        convex=False,
        limits=(0.0, 1.0),
        saturates="both",
        source="Gomes & Ludermir, 2008, Complementary log-log and probit: activation functions "
        "implemented in artificial neural networks",
    ),
    aliases=("cloglog",),
)
@activation
def log_log(x: FloatArray) -> FloatArray:
    """1 - e^(-e^x), the complementary log-log.

    Example:
      >>> print(f"{log_log(jnp.float32(0.0)):.4f}")
      0.6321
    """
    return loglog_link(x)


@states(
    Traits(
        lower=0.0,
        upper=1.0,
        slope_lower=-math.sqrt(2 / math.e),
        slope_upper=math.sqrt(2 / math.e),
        monotone=False,
        convex=False,
        parity="even",
        limits=(0.0, 0.0),
        slope_zeros=(0.0,),
        saturates="both",
        source="Broomhead & Lowe, 1988, Multivariable functional interpolation and adaptive "
        "networks",
    )
)
@activation
def gaussian(x: FloatArray) -> FloatArray:
    """e^(-x²).

    Example:
      >>> print(f"{gaussian(jnp.float32(1.0)):.4f}")
      0.3679
    """
    return bell_times((1.0,), 2)(x)


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=math.inf,
        monotone=True,
        convex=True,
        limits=(0.0, math.inf),
        saturates="left",
        source="keras.activations.exponential",
    ),
    aliases=("exp",),
)
@activation
def exponential(x: FloatArray) -> FloatArray:
    """e^x.

    Example:
      >>> print(f"{exponential(jnp.float32(1.0)):.4f}")
      2.7183
    """
    return jnp.exp(x)


@states(
    Traits(
        lower=-2.46248440214738906,
        upper=2.0,
        slope_lower=-0.456052378664239139,
        slope_upper=1.16797876909235781,
        monotone=False,
        convex=False,
        limits=(0.0, 2.0),
        slope_zeros=(-3.0,),
        saturates="both",
        source="Zhou et al., 2020, arXiv:2003.00547",
    ),
    aliases=("srs",),
)
@activation
def soft_root_sign(
    x: FloatArray, *, alpha: float | jax.Array = 2.0, beta: float | jax.Array = 3.0
) -> FloatArray:
    """Soft root sign, x / (x/α + e^(-x/β)), bounded where β < e α.

    Example:
      >>> print(f"{soft_root_sign(jnp.float32(-3.0)):.4f}")
      -2.4625
    """
    check_positive(alpha=alpha, beta=beta)
    # Divided through by e^(-x/β) to the left and by x to the right, where the slope, 1/D - x D'/D²
    # by the quotient rule, would cancel.
    right = x > 1
    u = beta * xexp_link(jnp.where(right, 1, x) / beta)
    y = jnp.where(right, x, 1)
    return jnp.where(right, 1 / (1 / alpha + jnp.exp(-y / beta) / y), u / (1 + u / alpha))


@states(
    Traits(
        lower=-0.367879441171442322,
        slope_lower=-math.exp(-2),
        slope_upper=1.0,
        monotone=False,
        convex=False,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(1.0,),
        limits=(0.0, math.inf),
        slope_zeros=(-1.0,),
        saturates="left",
        source="Ying et al., 2019, IEEE Access 7, Rectified exponential units for convolutional "
        "neural networks",
    )
)
@activation
def reu(x: FloatArray) -> FloatArray:
    """Rectified exponential unit: x for x > 0, else x e^x.

    Example:
      >>> print(f"{reu(jnp.float32(2.0)):.4f}")
      2.0000
    """
    return jnp.where(x > 0, x, xexp_link(left_half(x)))


@states(
    Traits(
        lower=-0.205751224096482129,
        slope_lower=-0.3,
        slope_upper=math.inf,
        monotone=False,
        convex=True,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(0.5,),
        limits=(math.inf, math.inf),
        slope_zeros=(-0.980829253011726237,),
        saturates="none",
        source="Huang & Schlag, 2024, arXiv:2411.13010",
    )
)
@activation
def xielu(
    x: FloatArray,
    *,
    alpha_p: float | jax.Array = 0.8,
    alpha_n: float | jax.Array = 0.8,
    beta: float | jax.Array = 0.5,
) -> FloatArray:
    """αp x² + β x for x > 0, else αn (e^x - 1 - x) + β x.

    The authors train αp as softplus(a) and αn as β + softplus(b); these are the values after that,
    0.8 when training starts. Their min(x, -10⁻⁶) in the exponential, which makes a step of 10⁻⁶
    at 0, is left out.

    Example:
      >>> print(f"{xielu(jnp.float32(2.0)):.4f}")
      4.2000
    """
    right = jnp.maximum(x, 0)
    left = left_half(x)
    return jnp.where(
        x > 0,
        right * (alpha_p * right + beta),
        alpha_n * expm1_link(left) + (beta - alpha_n) * left,
    )
