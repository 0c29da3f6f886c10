"""Parts of activations whose derivatives do not cancel."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jgrad._types import FloatArray

from ._exponential import decay, expm1, log1p
from ._link import link


@link(jnp.exp)
def expm1_link(x: FloatArray) -> FloatArray:
    """e^x - 1 for x ≤ 0; its slope is e^x and not e^x - 1 + 1, which is 0 from x = -17 on."""
    return expm1(x)


@link(lambda e: 1 / (1 + e))
def log1p_link(e: FloatArray) -> FloatArray:
    """ln(1 + e) for 0 ≤ e ≤ 1."""
    return log1p(e)


#: e^x beyond which both Gompertz's curve and its complement have long reached 0 or 1.
_STEEP = 40.0


def _loglog_curve(x: FloatArray) -> FloatArray:
    return -jnp.expm1(jnp.minimum(x, _STEEP)) * _loglog_slope(x)


@link(_loglog_curve)
def _loglog_slope(x: FloatArray) -> FloatArray:
    return jnp.exp(x - jnp.exp(x))


@link(_loglog_slope)
def loglog_link(x: FloatArray) -> FloatArray:
    """1 - e^(-e^x), the complement of Gompertz's curve at -x."""
    return -expm1(-jnp.exp(x))


@link(lambda x: _loglog_slope(-x))
def gompertz_link(x: FloatArray) -> FloatArray:
    """e^(-e^-x)."""
    return jnp.exp(-jnp.exp(-x))


def _left_of(x: FloatArray) -> FloatArray:
    """No less than -1e9, where every exponential of it has long been 0."""
    return jnp.maximum(x, -1e9)


@link(lambda x: (1 + _left_of(x)) * jnp.exp(x))
def xexp_link(x: FloatArray) -> FloatArray:
    """The product x e^x for x ≤ 0."""
    x = _left_of(x)
    e, scale = decay(-x)
    return (x * scale) * e


def left_half(x: FloatArray) -> FloatArray:
    """min(x, 0) with slope 1 at 0: the left half of an activation keeps its own slope there."""
    return jnp.where(x > 0, 0.0, x).astype(x.dtype)


def with_asymptote(
    f: Callable[[FloatArray], FloatArray], x: FloatArray, slope: float | jax.Array = 1.0
) -> FloatArray:
    """f(x), or max(slope · x, 0) where |x| > 1e9: a gate that has closed is no longer multiplied.

    Without it the square, the exponential or the multiple of x inside f may overflow, and
    0 · inf is NaN. A NaN goes through f, whose slope there is NaN.
    """
    far = jnp.abs(x) > 1e9
    return jnp.where(far, jnp.maximum(slope * x, 0), f(jnp.where(far, 0.0, x).astype(x.dtype)))
