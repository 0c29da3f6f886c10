"""Activations that oscillate: sin, gcu, snake, sinlu."""

import math

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._link import activation, check_nonzero
from ._sigmoidal import sigmoid_link
from ._tails import with_asymptote


@states(
    Traits(
        lower=-1.0,
        upper=1.0,
        slope_lower=-1.0,
        slope_upper=1.0,
        monotone=False,
        convex=False,
        parity="odd",
        limits=(math.nan, math.nan),
        slope_zeros=tuple((k + 0.5) * math.pi for k in range(-3, 3)),
        saturates="none",
        source="Sitzmann et al., 2020, arXiv:2006.09661 (SIREN, ω = 30)",
    ),
    aliases=("sine", "siren"),
)
@activation
def sin(x: FloatArray, *, omega: float | jax.Array = 1.0) -> FloatArray:
    """The sine of ω x.

    Example:
      >>> print(f"{sin(jnp.float32(0.5), omega=30.0):.4f}")
      0.6503
    """
    return jnp.sin(omega * x)


@states(
    Traits(
        slope_lower=-math.inf,
        slope_upper=math.inf,
        monotone=False,
        convex=False,
        parity="odd",
        limits=(math.nan, math.nan),
        slope_zeros=(
            -9.5293344053619636,
            -6.43729817917194712,
            -3.42561845948172815,
            -0.860333589019379762,
            0.860333589019379762,
            3.42561845948172815,
            6.43729817917194712,
            9.5293344053619636,
        ),
        saturates="none",
        source="Noel et al., 2021, arXiv:2108.12943",
    )
)
@activation
def gcu(x: FloatArray) -> FloatArray:
    """Growing cosine unit, x cos x.

    Example:
      >>> print(f"{gcu(jnp.float32(1.0)):.4f}")
      0.5403
    """
    return x * jnp.cos(x)


@jax.custom_jvp
def _snake(x: FloatArray, a: jax.Array) -> FloatArray:
    s = jnp.where(jnp.isinf(x), 0.0, jnp.sin(a * x)).astype(x.dtype)
    return x + s * (s / a)


@_snake.defjvp
def _(primals: tuple, tangents: tuple) -> tuple:
    x, a = primals
    s, c = jnp.sin(a * x), jnp.cos(a * x)
    # 1 + 2 s c as a square: never negative beside its double zeros.
    by_x = (s + c) ** 2
    by_a = (2 * s * c * x - s * (s / a)) / a
    return _snake(x, a), by_x * tangents[0] + by_a * tangents[1]


@states(
    Traits(
        slope_lower=0.0,
        slope_upper=2.0,
        monotone=True,
        convex=False,
        limits=(-math.inf, math.inf),
        slope_zeros=tuple((k - 0.25) * math.pi for k in range(-2, 4)),
        saturates="none",
        source="Ziyin, Hartwig & Ueda, 2020, arXiv:2006.08195",
    )
)
@activation
def snake(x: FloatArray, *, a: float | jax.Array = 1.0) -> FloatArray:
    """Snake, x + sin²(a x) / a.

    Example:
      >>> print(f"{snake(jnp.float32(1.0)):.4f}")
      1.7081
    """
    check_nonzero(a=a)
    return _snake(x, jnp.asarray(a, x.dtype))


@states(
    Traits(
        lower=-0.497370554189991022,
        slope_lower=-0.235864268482946,
        slope_upper=2.00797072252265747,
        monotone=False,
        convex=False,
        limits=(0.0, math.inf),
        slope_zeros=(-1.08286527089408104,),
        saturates="left",
        source="Paul et al., 2022, Mathematics 10(3), 337",
    )
)
@activation
def sinlu(x: FloatArray, *, a: float | jax.Array = 1.0, b: float | jax.Array = 1.0) -> FloatArray:
    """Sinu-sigmoidal linear unit, (x + a sin(b x)) σ(x).

    Example:
      >>> print(f"{sinlu(jnp.float32(1.0)):.4f}")
      1.3462
    """
    return with_asymptote(lambda x: (x + a * jnp.sin(b * x)) * sigmoid_link(x), x)
