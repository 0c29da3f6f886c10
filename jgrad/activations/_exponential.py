"""e^x and its near relations, each accurate to an ulp or two of float32 and float64.

XLA's own float32 `expm1`, `log1p`, `tanh` and `erfc` err by 5 to 65 ulp on CPU, its `exp` by one,
so all else is built on that: where a difference with 1 would cancel, a polynomial takes over. The
polynomials are Chebyshev interpolants of degree enough for float32; float64 takes XLA's forms,
which are good there.
"""

import math

import jax.numpy as jnp

from jgrad._types import FloatArray

#: Beyond this |x| an exponential is taken of a shifted argument: see `decay`.
_FAR = 32.0
_SHIFT = 16.0


def polynomial(coefficients: tuple[float, ...], x: FloatArray) -> FloatArray:
    """Σ c_k x^k, lowest order first."""
    total = jnp.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def decay(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    """e^-a for a ≥ 0 as a product (E, scale), so that c · e^-a is (c · scale) · E.

    e^-a underflows in float32 from a = 87.3, where a · e^-a or 4 e^-a is still a normal number. Far
    out E is e^(16 - a), whose argument is exact, and the scale is e^-16.
    """
    far = a > _FAR
    return jnp.exp(jnp.where(far, _SHIFT, 0.0).astype(a.dtype) - a), jnp.where(
        far, math.exp(-_SHIFT), 1.0
    ).astype(a.dtype)


_EXPM1 = (
    0.49999999997824924,
    0.16666666361933734,
    0.04166659675276534,
    0.008332729527517196,
    0.0013863921737275877,
    0.0001930560310201264,
    1.8955693462561030e-05,
)  # (e^x - 1 - x) / x² on [-0.7, 0]


def expm1(x: FloatArray) -> FloatArray:
    """e^x - 1 for x ≤ 0."""
    if x.dtype == jnp.float64:
        return jnp.expm1(x)
    return jnp.where(x > -0.7, x + x * x * polynomial(_EXPM1, x), jnp.exp(x) - 1)


_ATANH = (
    0.3333333332,
    0.2000000538,
    0.1428515286,
    0.111323556,
    0.08732351233,
    0.1039380843,
)  # (atanh(s)/s - 1) / s² in powers of s², on [0, 1/3]


def log1p(e: FloatArray) -> FloatArray:
    """ln(1 + e) for 0 ≤ e ≤ 1, as 2 atanh(e / (2 + e))."""
    if e.dtype == jnp.float64:
        return jnp.log1p(e)
    # Twice atanh's argument, so that nothing underflows before e does.
    s = 2 * e / (2 + e)
    square = 0.25 * (s * s)
    return s + s * (square * polynomial(_ATANH, square))


_TANH = (
    -0.3333333332,
    0.133333296,
    -0.05396649878,
    0.02183908027,
    -0.008621821062,
    0.00267974257,
)  # (tanh(a)/a - 1) / a² in powers of a², on [0, 1/2]


def tanh_of(x: FloatArray) -> FloatArray:
    """Hyperbolic tangent."""
    a = jnp.abs(x)
    if x.dtype == jnp.float64:
        m = -jnp.expm1(-2 * a)
        far = m / (2 - m)
        return jnp.where(x < 0, -far, far)
    square = x * x
    near = x + x * (square * polynomial(_TANH, square))
    far = 1 - 2 / (1 + jnp.exp(2 * a))
    return jnp.where(a < 0.5, near, jnp.where(x < 0, -far, far))
