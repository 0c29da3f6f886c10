"""Activations that gate x by a function of x: the relatives of silu, gelu and mish."""

import math

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._gaussian import gelu
from ._link import activation
from ._self_gated import silu
from ._sigmoidal import erf, sigmoid_link, tanh_link
from ._softplus import softplus_link
from ._tails import (
    expm1_link,
    gompertz_link,
    left_half,
    log1p_link,
    loglog_link,
    with_asymptote,
)

_QUICK = 1.702


@states(
    Traits(
        lower=-0.163610189636353581,
        slope_lower=-0.099839320128866917,
        slope_upper=1.09983932012886692,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-0.751154255441288951,),
        saturates="left",
        source="Hendrycks & Gimpel, 2016, arXiv:1606.08415",
    ),
    aliases=("gelu_sigmoid",),
)
@activation
def quick_gelu(x: FloatArray) -> FloatArray:
    """Quick GELU, x σ(1.702 x), gelu's approximation by a sigmoid.

    Example:
      >>> print(f"{quick_gelu(jnp.float32(1.0)):.4f}")
      0.8458
    """
    return with_asymptote(lambda x: silu(_QUICK * x) / _QUICK, x)


@states(
    Traits(
        lower=-0.382888746296476468,
        slope_lower=-0.137279065177192011,
        slope_upper=1.51227906517719201,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.27846454276107379,),
        saturates="left",
        source="Alcaide, 2018, arXiv:1801.07145",
    )
)
@activation
def e_swish(x: FloatArray, *, beta: float | jax.Array = 1.375) -> FloatArray:
    """E-swish, β x σ(x).

    Example:
      >>> print(f"{e_swish(jnp.float32(1.0)):.4f}")
      1.0052
    """
    return beta * silu(x)


@states(
    Traits(
        lower=-0.353285777848211271,
        slope_lower=-0.131570036189715816,
        slope_upper=1.06197530871791597,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.07886005846462406,),
        saturates="left",
        source="Liu & Di, 2020, arXiv:2003.09855",
    ),
    aliases=("telu",),
)
@activation
def tanh_exp(x: FloatArray) -> FloatArray:
    """TanhExp, x tanh(e^x).

    Example:
      >>> print(f"{tanh_exp(jnp.float32(-1.0)):.4f}")
      -0.3521
    """
    # From x = 6 the tanh is 1 in any dtype, and e^x has yet to overflow.
    return with_asymptote(lambda x: x * tanh_link(jnp.exp(jnp.minimum(x, 6))), x)


@states(
    Traits(
        lower=-0.34843745875960642,
        slope_lower=-0.126968589057905388,
        slope_upper=1.08612544415099715,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.19305996892818797,),
        saturates="left",
        source="Nag & Bhattacharyya, 2021, arXiv:2108.09598",
    )
)
@activation
def serf(x: FloatArray) -> FloatArray:
    """Log-softplus error activation, x erf(ln(1 + e^x)).

    Example:
      >>> print(f"{serf(jnp.float32(1.0)):.4f}")
      0.9367
    """
    return with_asymptote(lambda x: x * erf(softplus_link(x)), x)


@states(
    Traits(
        lower=-0.249993663660129495,
        slope_lower=-0.0891532052350203128,
        slope_upper=0.636884222881226299,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.39451930192450408,),
        saturates="left",
        source="Wang, Ren & Wang, 2022, Electronics 11(4), 540",
    )
)
@activation
def smish(
    x: FloatArray, *, alpha: float | jax.Array = 1.0, beta: float | jax.Array = 1.0
) -> FloatArray:
    """α x tanh(ln(1 + σ(β x))); far out to the right 0.6 α x.

    Example:
      >>> print(f"{smish(jnp.float32(1.0)):.4f}")
      0.4996
    """

    # tanh ln(1 + s) = n / (2 + n) with n = s (2 + s).
    def gated(x: FloatArray) -> FloatArray:
        s = sigmoid_link(beta * x)
        n = s * (2 + s)
        return x * (n / (2 + n))

    return alpha * with_asymptote(gated, x, 0.6)


@states(
    Traits(
        lower=-0.252768816789440353,
        slope_lower=-0.0898287855208900635,
        slope_upper=0.746311180412739681,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.37245413702569211,),
        saturates="left",
        source="Zhu et al., 2021, Logish: a new nonlinear nonmonotonic activation function for "
        "convolutional neural network, Neurocomputing 458",
    )
)
@activation
def logish(x: FloatArray) -> FloatArray:
    """Logish, x ln(1 + σ(x)); far out to the right x ln 2.

    Example:
      >>> print(f"{logish(jnp.float32(1.0)):.4f}")
      0.5487
    """
    return with_asymptote(lambda x: x * log1p_link(sigmoid_link(x)), x, math.log(2))


@states(
    Traits(
        lower=0.0,
        slope_lower=-0.218424265828987509,
        slope_upper=1.29830667330581155,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.19543120138791246, 0.0),
        saturates="left",
        source="Naveen, 2022, Phish: a novel hyper-optimizable activation function, "
        "doi:10.36227/techrxiv.17283824",
    )
)
@activation
def phish(x: FloatArray) -> FloatArray:
    """Phish, x tanh(gelu(x)), gelu the exact one.

    Example:
      >>> print(f"{phish(jnp.float32(1.0)):.4f}")
      0.6865
    """
    return with_asymptote(lambda x: x * tanh_link(gelu(x)), x)


@states(
    Traits(
        lower=-0.278159460896386914,
        slope_lower=-0.0998045073599887316,
        slope_upper=0.752704571085669485,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.28205104926012605,),
        saturates="left",
        source="Kaytan, Aydilek & Yeroğlu, 2023, Gish: a novel activation function for image "
        "classification, Neural Computing and Applications 35(34)",
    )
)
@activation
def gish(x: FloatArray) -> FloatArray:
    """Gish, x ln(2 - e^(-e^x)); far out to the right x ln 2.

    Example:
      >>> print(f"{gish(jnp.float32(1.0)):.4f}")
      0.6596
    """
    return with_asymptote(lambda x: x * log1p_link(loglog_link(x)), x, math.log(2))


@states(
    Traits(
        lower=-0.0972601312276394046,
        slope_lower=-0.11487831154867857,
        slope_upper=1.11339727527567666,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-0.567143290409783873,),
        saturates="left",
        source="Das et al., 2025, arXiv:2502.03654",
    )
)
@activation
def golu(x: FloatArray) -> FloatArray:
    """Gompertz linear unit, x e^(-e^-x).

    Example:
      >>> print(f"{golu(jnp.float32(1.0)):.4f}")
      0.6922
    """
    return with_asymptote(lambda x: x * gompertz_link(x), x)


@states(
    Traits(
        lower=0.0,
        slope_lower=-1.19967864025773,
        slope_upper=1.19967864025773,
        monotone=False,
        convex=False,
        parity="even",
        limits=(math.inf, math.inf),
        slope_zeros=(0.0,),
        saturates="none",
        source="Roy et al., 2019, arXiv:1901.05894",
    )
)
@activation
def lisht(x: FloatArray) -> FloatArray:
    """Linearly scaled hyperbolic tangent, x tanh x.

    Example:
      >>> print(f"{lisht(jnp.float32(1.0)):.4f}")
      0.7616
    """
    return x * tanh_link(x)


@states(
    Traits(
        lower=-0.171572875253809902,
        slope_lower=-0.0785468478755558759,
        slope_upper=1.09983932012886692,
        monotone=False,
        convex=False,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(0.5,),
        limits=(0.0, math.inf),
        slope_zeros=(-0.881373587019543025,),
        saturates="left",
        source="Basirat & Roth, 2018, arXiv:1808.00783",
    )
)
@activation
def elish(x: FloatArray) -> FloatArray:
    """Exponential linear squashing, x σ(x) for x ≥ 0, else (e^x - 1) σ(x).

    Example:
      >>> print(f"{elish(jnp.float32(1.0)):.4f}")
      0.7311
    """
    left = left_half(x)
    return jnp.where(x >= 0, silu(x), expm1_link(left) * sigmoid_link(left))


@states(
    Traits(
        lower=-0.099839320128866917,
        upper=1.09983932012886692,
        slope_lower=-0.0369143731998931856,
        slope_upper=0.5,
        monotone=False,
        convex=False,
        limits=(0.0, 1.0),
        slope_zeros=(-2.39935728051546767, 2.39935728051546767),
        saturates="both",
        source="Elfwing, Uchibe & Doya, 2017, arXiv:1702.03118",
    )
)
@activation
def dsilu(x: FloatArray) -> FloatArray:
    """The slope of silu, σ(x) (1 + x (1 - σ(x))).

    Example:
      >>> print(f"{dsilu(jnp.float32(1.0)):.4f}")
      0.9277
    """
    return jax.jvp(silu, (x,), (jnp.ones_like(x),))[1]
