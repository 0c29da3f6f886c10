"""Activations of polynomial pieces: clipped, shrunk, squared."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._link import activation, check_not_negative

# Each is written so that a NaN fails every comparison and passes through, and so that a kink and
# a NaN lie on the side whose slope jax.nn gives them.


@states(
    Traits(
        lower=0.0,
        upper=6.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        smoothness=0,
        kinks=(0.0, 6.0),
        kink_slopes=(0.0, 0.0),
        limits=(0.0, 6.0),
        saturates="both",
        source="Krizhevsky, 2010, Convolutional deep belief networks on CIFAR-10",
    )
)
@activation
def relu6(x: FloatArray) -> FloatArray:
    """min(max(x, 0), 6); slope 0 at both kinks.

    Example:
      >>> relu6(jnp.array([-1.0, 2.0, 7.0]))
      Array([0., 2., 6.], dtype=float32)
    """
    return jnp.where((x > 0) & (x < 6), x, lax.stop_gradient(jnp.clip(x, 0, 6)))


@states(
    Traits(
        lower=-1.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        smoothness=0,
        kinks=(-1.0, 1.0),
        kink_slopes=(1.0, 1.0),
        limits=(-1.0, 1.0),
        saturates="both",
        source="Collobert, 2004, Large scale machine learning (thesis)",
    ),
    aliases=("hardtanh",),
)
@activation
def hard_tanh(
    x: FloatArray, *, min_val: float | jax.Array = -1.0, max_val: float | jax.Array = 1.0
) -> FloatArray:
    """Clips x to [`min_val`, `max_val`]; slope 1 at both kinks.

    Example:
      >>> hard_tanh(jnp.array([-3.0, 0.5, 3.0]), max_val=2.0)
      Array([-1. ,  0.5,  2. ], dtype=float32)
    """
    bounds = (min_val, max_val)
    if all(isinstance(b, int | float) for b in bounds) and not min_val <= max_val:
        msg = f"min_val is wanted at or below max_val, got {min_val} and {max_val}"
        raise ValueError(msg)
    return jnp.where(x < min_val, min_val, jnp.where(x > max_val, max_val, x)).astype(x.dtype)


@states(
    Traits(
        lower=0.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=1 / 6,
        monotone=True,
        convex=False,
        smoothness=0,
        kinks=(-3.0, 3.0),
        kink_slopes=(0.0, 0.0),
        limits=(0.0, 1.0),
        saturates="both",
        source="Howard et al., 2019, arXiv:1905.02244",
    ),
    aliases=("hardsigmoid",),
)
@activation
def hard_sigmoid(x: FloatArray) -> FloatArray:
    """(x + 3) / 6 clipped to [0, 1]; slope 0 at both kinks.

    Example:
      >>> hard_sigmoid(jnp.array([-4.0, 0.0, 4.0]))
      Array([0. , 0.5, 1. ], dtype=float32)
    """
    line = (x + 3) / 6
    return jnp.where((x > -3) & (x < 3), line, lax.stop_gradient(jnp.clip(line, 0, 1)))


@states(
    Traits(
        lower=-0.375,
        slope_lower=-0.5,
        slope_upper=1.5,
        monotone=False,
        convex=False,
        smoothness=0,
        kinks=(-3.0, 3.0),
        kink_slopes=(0.0, 1.0),
        limits=(0.0, math.inf),
        slope_zeros=(-1.5,),
        saturates="left",
        source="Howard et al., 2019, arXiv:1905.02244",
    ),
    aliases=("hard_swish", "hardswish"),
)
@activation
def hard_silu(x: FloatArray) -> FloatArray:
    """Hard swish, x · hard_sigmoid(x); slope 0 at -3 and 1 at 3.

    Example:
      >>> hard_silu(jnp.array([-4.0, 1.5, 4.0]))
      Array([0.   , 1.125, 4.   ], dtype=float32)
    """
    inside = jnp.clip(x, -3, 3)
    return jnp.where(x <= -3, 0.0, jnp.where(x >= 3, x, inside * ((inside + 3) / 6))).astype(
        x.dtype
    )


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        smoothness=1,
        kinks=(-1.0, 1.0),
        kink_slopes=(0.0, 1.0),
        limits=(0.0, math.inf),
        saturates="left",
        source="Shamir & Lin, 2022, arXiv:2202.06499, SmeLU at β = 1; jax.nn.sparse_plus",
    ),
    aliases=("smelu",),
)
@activation
def sparse_plus(x: FloatArray) -> FloatArray:
    """0 for x ≤ -1, x for x ≥ 1, and between them (x + 1)² / 4.

    Example:
      >>> sparse_plus(jnp.array([-2.0, 0.0, 2.0]))
      Array([0.  , 0.25, 2.  ], dtype=float32)
    """
    # Clipped first: of a square that overflows autodiff makes 0 · inf.
    inside = jnp.clip(x, -1, 1) + 1
    return jnp.where(x <= -1, 0.0, jnp.where(x >= 1, x, inside * inside / 4)).astype(x.dtype)


@states(
    Traits(
        lower=0.0,
        upper=1.0,
        slope_lower=0.0,
        slope_upper=0.5,
        monotone=True,
        convex=False,
        smoothness=0,
        kinks=(-1.0, 1.0),
        kink_slopes=(0.25, 0.25),
        limits=(0.0, 1.0),
        saturates="both",
        source="jax.nn.sparse_sigmoid, the slope of sparse_plus",
    )
)
@activation
def sparse_sigmoid(x: FloatArray) -> FloatArray:
    """(x + 1) / 2 clipped to [0, 1]; slope 1/4, half of what it is inside, at both kinks.

    Example:
      >>> sparse_sigmoid(jnp.array([-2.0, 0.5, 2.0]))
      Array([0.  , 0.75, 1.  ], dtype=float32)
    """
    return (jnp.clip(x, -1, 1) + 1) / 2


@states(
    Traits(
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        smoothness=0,
        kinks=(-0.5, 0.5),
        kink_slopes=(0.0, 0.0),
        limits=(-math.inf, math.inf),
        saturates="none",
        source="Donoho, 1995, IEEE Trans. Inf. Theory 41(3), De-noising by soft-thresholding",
    ),
    aliases=("soft_shrink",),
)
@activation
def softshrink(x: FloatArray, *, lambd: float | jax.Array = 0.5) -> FloatArray:
    """sign(x) max(|x| - λ, 0); slope 0 at both kinks.

    Example:
      >>> softshrink(jnp.array([-2.0, 0.25, 2.0]))
      Array([-1.5,  0. ,  1.5], dtype=float32)
    """
    check_not_negative(lambd=lambd)
    return jnp.where(jnp.abs(x) <= lambd, 0.0, x - jnp.sign(x) * lambd).astype(x.dtype)


@states(
    Traits(
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        smoothness=-1,
        kinks=(-0.5, 0.5),
        kink_slopes=(0.0, 0.0),
        limits=(-math.inf, math.inf),
        saturates="none",
        source="Donoho & Johnstone, 1994, Biometrika 81(3), Ideal spatial adaptation by wavelet "
        "shrinkage",
    ),
    aliases=("hard_shrink",),
)
@activation
def hardshrink(x: FloatArray, *, lambd: float | jax.Array = 0.5) -> FloatArray:
    """Keeps x where |x| > λ, else 0; it jumps at ±λ, where its slope is 0.

    Example:
      >>> hardshrink(jnp.array([-2.0, 0.25, 2.0]))
      Array([-2.,  0.,  2.], dtype=float32)
    """
    check_not_negative(lambd=lambd)
    return jnp.where(jnp.abs(x) <= lambd, 0.0, x).astype(x.dtype)


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        smoothness=-1,
        kinks=(1.0,),
        kink_slopes=(0.0,),
        limits=(0.0, math.inf),
        saturates="left",
        source="Konda, Memisevic & Krueger, 2014, arXiv:1402.3337 (θ = 1); torch.nn.Threshold",
    ),
    aliases=("thresholded_relu",),
)
@activation
def threshold(
    x: FloatArray, *, theta: float | jax.Array = 1.0, value: float | jax.Array = 0.0
) -> FloatArray:
    """Keeps x where x > θ, else `value`; it jumps at θ, where its slope is 0.

    PyTorch calls θ `threshold` and has no defaults; θ = 1 and 0 are Konda et al.'s.

    Example:
      >>> threshold(jnp.array([-2.0, 0.5, 2.0]), theta=0.25, value=-1.0)
      Array([-1. ,  0.5,  2. ], dtype=float32)
    """
    return jnp.where(x <= theta, value, x).astype(x.dtype)


@states(
    Traits(
        lower=0.0,
        slope_lower=0.0,
        slope_upper=math.inf,
        monotone=True,
        convex=True,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(0.0,),
        limits=(0.0, math.inf),
        saturates="left",
        source="So et al., 2021, arXiv:2109.08668",
    ),
    aliases=("relu_squared", "relu2"),
)
@activation
def squared_relu(x: FloatArray) -> FloatArray:
    """max(x, 0)².

    Example:
      >>> squared_relu(jnp.array([-2.0, 3.0]))
      Array([0., 9.], dtype=float32)
    """
    return _squared_relu(x)


def _squared_relu(x: FloatArray) -> FloatArray:
    positive = jnp.where(x <= 0, 0.0, x).astype(x.dtype)
    return positive * positive


@states(
    Traits(
        lower=-0.4472,
        slope_lower=0.0,
        slope_upper=math.inf,
        monotone=True,
        convex=True,
        smoothness=1,
        kinks=(0.0,),
        kink_slopes=(0.0,),
        limits=(-0.4472, math.inf),
        saturates="left",
        source="Yu et al., 2022, arXiv:2210.13452",
    )
)
@activation
def star_relu(
    x: FloatArray, *, scale: float | jax.Array = 0.8944, bias: float | jax.Array = -0.4472
) -> FloatArray:
    """S max(x, 0)² + b; at its defaults of mean 0 and variance 1 for x ~ N(0, 1).

    Example:
      >>> star_relu(jnp.array([-2.0, 1.0])).round(4)
      Array([-0.4472,  0.4472], dtype=float32)
    """
    return scale * _squared_relu(x) + bias
