"""Activations built of roots, powers and quotients, and the inverses of tan and sinh."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._catalog import Traits, states
from ._link import activation, check_positive, link
from ._tails import expm1_link


def _within(x: FloatArray) -> FloatArray:
    """The x clipped to where x² is far from overflow."""
    bound = math.sqrt(float(jnp.finfo(x.dtype).max)) / 2
    return jnp.clip(x, -bound, bound)


def _inverse_radius(x: FloatArray, n: int) -> FloatArray:
    """(1 + x²)^(-n/2), whose every derivative is stable."""

    @link(lambda x: -n * _unit(x) * _inverse_radius(x, n + 1))
    def power(x: FloatArray) -> FloatArray:
        y = _within(x)
        return (1 / jnp.where(y == x, jnp.sqrt(1 + y * y), jnp.abs(x))) ** n

    return power(x)


@link(lambda x: _inverse_radius(x, 3))
def _unit(x: FloatArray) -> FloatArray:
    """The ratio x / √(1 + x²), whose every derivative is stable."""
    y = _within(x)
    return y / jnp.sqrt(1 + y * y)


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
        source="Carlile et al., 2017, arXiv:1710.09967",
    )
)
@activation
def isru(x: FloatArray, *, alpha: float | jax.Array = 1.0) -> FloatArray:
    """Inverse square root unit, x / √(1 + α x²).

    Example:
      >>> print(f"{isru(jnp.float32(0.75), alpha=1.0):.4f}")
      0.6000
    """
    check_positive(alpha=alpha)
    root = jnp.sqrt(jnp.asarray(alpha, x.dtype))
    return _unit(root * x) / root


@states(
    Traits(
        lower=-1.0,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=True,
        smoothness=2,
        kinks=(0.0,),
        kink_slopes=(1.0,),
        limits=(-1.0, math.inf),
        saturates="left",
        source="Carlile et al., 2017, arXiv:1710.09967",
    )
)
@activation
def isrlu(x: FloatArray, *, alpha: float | jax.Array = 1.0) -> FloatArray:
    """Inverse square root linear unit: x for x ≥ 0, else x / √(1 + α x²).

    Example:
      >>> print(f"{isrlu(jnp.float32(-0.75)):.4f}")
      -0.6000
    """
    check_positive(alpha=alpha)
    root = jnp.sqrt(jnp.asarray(alpha, x.dtype))
    return jnp.where(x >= 0, x, _unit(root * x) / root)


@states(
    Traits(
        slope_lower=0.5,
        slope_upper=1.5,
        monotone=True,
        convex=True,
        limits=(-math.inf, math.inf),
        saturates="none",
        source="Kunc & Kléma, 2024, arXiv:2402.09092",
    )
)
@activation
def bent_identity(x: FloatArray) -> FloatArray:
    """(√(x² + 1) - 1) / 2 + x.

    Example:
      >>> print(f"{bent_identity(jnp.float32(0.75)):.4f}")
      0.8750
    """
    return _bent_identity(x)


@link(lambda x: 1 + 0.5 * _unit(x))
def _bent_identity(x: FloatArray) -> FloatArray:
    # √(x² + 1) - 1 as x² / (√(x² + 1) + 1), which does not cancel near 0.
    y = _within(x)
    bend = y * (y / (jnp.sqrt(1 + y * y) + 1))
    return jnp.where(y == x, x + 0.5 * bend, jnp.where(x > 0, 1.5, 0.5) * x).astype(x.dtype)


@link(lambda x: _inverse_radius(x, 2))
def _arctan(x: FloatArray) -> FloatArray:
    return jnp.arctan(x)


@states(
    Traits(
        lower=-math.pi / 2,
        upper=math.pi / 2,
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-math.pi / 2, math.pi / 2),
        saturates="both",
        source="Kunc & Kléma, 2024, arXiv:2402.09092",
    ),
    aliases=("atan",),
)
@activation
def arctan(x: FloatArray) -> FloatArray:
    """Arctan x.

    Example:
      >>> print(f"{arctan(jnp.float32(1.0)):.4f}")
      0.7854
    """
    return _arctan(x)


@link(lambda x: _inverse_radius(x, 1))
def _asinh(x: FloatArray) -> FloatArray:
    return jnp.arcsinh(x)


@states(
    Traits(
        slope_lower=0.0,
        slope_upper=1.0,
        monotone=True,
        convex=False,
        parity="odd",
        limits=(-math.inf, math.inf),
        saturates="both",
        source="Kunc & Kléma, 2024, arXiv:2402.09092",
    ),
    aliases=("arcsinh",),
)
@activation
def asinh(x: FloatArray) -> FloatArray:
    """The inverse hyperbolic sine, ln(x + √(x² + 1)).

    Example:
      >>> print(f"{asinh(jnp.float32(0.75)):.4f}")
      0.6931
    """
    return _asinh(x)


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
        source="Li, Ding & Li, 2018, arXiv:1802.00212",
    )
)
@activation
def polu(x: FloatArray, *, n: float | jax.Array = 1.0) -> FloatArray:
    """Power linear unit: x for x ≥ 0, else (1 - x)⁻ⁿ - 1.

    Example:
      >>> print(f"{polu(jnp.float32(2.0)):.4f}")
      2.0000
    """
    left = jnp.maximum(-x, 0)
    return jnp.where(x >= 0, x, expm1_link(-n * jnp.log1p(left)))


#: A leaky ReLU of slope 0.01 as the Padé activation unit's authors fit it on [-3, 3].
_NUMERATOR = (0.02996348, 0.61690165, 2.37539147, 3.06608078, 1.52474449, 0.25281987)
_DENOMINATOR = (1.19160814, 4.40811795, 0.91111034, 0.34885983)


@states(
    Traits(
        slope_lower=-0.155790739800761943,
        slope_upper=1.03485803469829804,
        monotone=False,
        convex=False,
        smoothness=0,
        kinks=(-0.28530794753627, 0.0),
        kink_slopes=(-0.10688574131003, 0.58119692332927),
        limits=(-math.inf, math.inf),
        slope_zeros=(
            -2.3628511152566654,
            -1.38398939201554018,
            -0.615759499641879946,
            -0.198162526901424586,
        ),
        saturates="none",
        source="Molina, Schramowski & Kersting, 2019, arXiv:1907.06732",
    ),
    aliases=("pau",),
)
@activation
def rational(
    x: FloatArray,
    *,
    numerator: Sequence[float] | jax.Array = _NUMERATOR,
    denominator: Sequence[float] | jax.Array = _DENOMINATOR,
) -> FloatArray:
    """Padé activation unit, Σ aⱼ xʲ / (1 + |Σ bₖ xᵏ|), j from 0, k from 1.

    Args:
      x: where.
      numerator: a₀, a₁, ..., one more than one more than the denominator's degree.
      denominator: b₁, b₂, ...

    Example:
      >>> print(f"{rational(jnp.float32(2.0)):.4f}")
      2.0002
    """
    a = jnp.asarray(numerator, x.dtype)
    b = jnp.asarray(denominator, x.dtype)
    near = jnp.abs(x) <= 1
    y = jnp.where(near, x, 1)
    inside = _horner(a, y) / (1 + jnp.abs(y * _horner(b, y)))
    # Both polynomials divided by x to the denominator's degree: powers of x would overflow; and
    # farther out the leading terms alone, where the slope of the quotient would.
    degree, excess = b.shape[0], a.shape[0] - 1 - b.shape[0]
    middle = ~near & (jnp.abs(x) <= 1e12)
    far = jnp.where(middle, x, 1)
    z = 1 / far
    ratio = _horner(a[::-1], z) / (jnp.abs(z) ** degree + jnp.abs(_horner(b[::-1], z)))
    outside = ratio * _power(far, excess) * jnp.sign(far) ** degree
    farthest = jnp.where(near | middle, 1, x)
    leading = a[-1] / jnp.abs(b[-1]) * _power(farthest, excess) * jnp.sign(farthest) ** degree
    return jnp.where(near, inside, jnp.where(middle, outside, leading))


def _horner(coefficients: jax.Array, x: FloatArray) -> FloatArray:
    total = jnp.zeros_like(x)
    for c in coefficients[::-1]:
        total = total * x + c
    return total


def _power(x: FloatArray, n: int) -> FloatArray:
    return x**n if n >= 0 else (1 / x) ** -n
