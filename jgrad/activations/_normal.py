"""e^(-x²/2) and the normal tail, with the bits that rounding x² would lose.

x² has twice the bits of x, and e^(-x²/2) turns the rounding of x² into a relative error of x²/2
ulps: 65 ulp in XLA's float32 `erfc`. So x is split in two halves, whose products are exact.
"""

import math

import jax.numpy as jnp
from jax import lax

from jgrad._types import Elementwise, FloatArray

from ._exponential import decay, polynomial
from ._link import link


def upper_half(x: FloatArray) -> FloatArray:
    """`x` rounded to half its bits, so that a product of two such is exact; |x| below overflow.

    By a mask on the bits, since XLA rewrites (c + x) - c into x, and at half the cost of
    `lax.reduce_precision`.
    """
    info = jnp.finfo(x.dtype)
    integer = jnp.dtype(f"uint{info.bits}")
    dropped = info.nmant - (info.nmant - 1) // 2
    half = jnp.asarray(1 << (dropped - 1), integer)
    mask = jnp.asarray((1 << info.bits) - (1 << dropped), integer)
    return lax.bitcast_convert_type((lax.bitcast_convert_type(x, integer) + half) & mask, x.dtype)


def near_one(y: FloatArray) -> FloatArray:
    """e^y for |y| ≤ 0.05."""
    # Not exp: XLA would merge it with the exponential it is multiplied by, undoing the split.
    return polynomial((1.0, 1.0, 1 / 2, 1 / 6, 1 / 24), y)


def within(x: FloatArray) -> FloatArray:
    """`x` within ±60, where e^(-x²/2) is long 0 in any dtype."""
    return jnp.clip(x, -60, 60)


def bell(x: FloatArray, rate: int) -> tuple[FloatArray, FloatArray]:
    """e^(-rate x²/2) as a product (E, rest), so that c times it is (c · rest) · E; |x| ≤ 60."""
    half = 0.5 * rate
    high = upper_half(x)
    e, scale = decay(half * (high * high))
    return e, scale * near_one(-half * (x - high) * (x + high))


def bell_times(p: tuple[float, ...], rate: int) -> Elementwise:
    """The map x ↦ p(x) e^(-rate x²/2), for a polynomial p: coefficients, lowest order first.

    Its derivative is of the same form with p' - rate · x p, so every order is evaluated alike.
    """
    derived = [0.0, *(-rate * c for c in p)]
    for k, c in enumerate(p[1:]):
        derived[k] += (k + 1) * c

    @link(lambda x: bell_times(tuple(derived), rate)(x))
    def product(x: FloatArray) -> FloatArray:
        x = within(x)
        e, rest = bell(x, rate)
        return e * (polynomial(p, x) * rest)

    return product


# (1 + √2 z) e^(z²/2) Φ(-z) in powers of (z - 4) / (z + 4), z from 0 to 14 or to 40.
_TAIL_SINGLE = (
    0.62847787875,
    -0.066178305282,
    -0.03172111313,
    0.070148605648,
    -0.058319049327,
    0.028889150856,
    -0.0072843014656,
    -0.00069445474793,
    0.0010502932138,
    -6.8186278435e-5,
    -0.00010689970378,
)
_TAIL_DOUBLE = (
    0.6284778787483127344,
    -0.0661783219009674762,
    -0.0317211011438372575,
    0.07014920337524324385,
    -0.05831923883071472372,
    0.02888301343342209969,
    -0.007284670742689190346,
    -0.0006685374195073576418,
    0.001060267171640522189,
    -0.0001146750960090858312,
    -0.0001361096898009412462,
    2.813368300227975943e-5,
    2.105386946459940929e-5,
    -4.510413672196807813e-6,
    -3.969157319098603698e-6,
    4.869433065411702144e-7,
    8.195925777851831943e-7,
    2.357554724345994924e-8,
    -1.608505061949119688e-7,
    -3.27311549634253285e-8,
    2.492494866729085177e-8,
    9.478314030823240236e-9,
    -2.116899348792419457e-9,
    -1.152346811035235984e-9,
)


def tail(z: FloatArray) -> FloatArray:
    """e^(z²/2) Φ(-z) for z ≥ 0: 1/2 at 0, falling like 1 / (√(2π) z)."""
    coefficients = _TAIL_DOUBLE if z.dtype == jnp.float64 else _TAIL_SINGLE
    # polynomial((z - 4) / (z + 4)) / (1 + √2 z) with one division for both.
    above, below = z + 4, 1 + math.sqrt(2) * z
    inverse = 1 / (above * below)
    return polynomial(coefficients, (z - 4) * (below * inverse)) * (above * inverse)
