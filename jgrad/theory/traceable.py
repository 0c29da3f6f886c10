"""Theory to jit, vmap and differentiate: the same averages at the caller's precision and device.

Here the quadrature is fixed, so that the result is a smooth program of (q, σ_w, σ_b):
Gauss-Legendre panels in z, split at the kinks. These are the catalogue's, or found on the host
before anything is traced, or what the caller states (who must, where φ itself depends on a traced
number). In float64 it agrees with the host's adaptive quadrature to about 1e-9 for q ≤ 10 and
slopes of order one; for very steep activations or larger q raise `panels`.

`DUALS` holds the dual activations that have a closed form, by name.
"""

import math
from collections.abc import Callable
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jgrad import activations
from jgrad._types import Elementwise, FloatArray

from ._sampling import sample_between

#: (q11, q22, q12) -> (E φ(u)φ(v), E φ'(u)φ'(v)), elementwise over arrays that broadcast.
TracedDual = Callable[[ArrayLike, ArrayLike, ArrayLike], tuple[FloatArray, FloatArray]]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_WINDOW = 9.0


def variance_map(
    phi: Elementwise | str, *, kinks: tuple[float, ...] | None = None, panels: int = 18
) -> Callable[[ArrayLike, ArrayLike, ArrayLike], FloatArray]:
    """The function (q, σ_w, σ_b) -> σ_w² E φ(√q z)² + σ_b², scalar; see `theory.variance_map`.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      kinks: where φ or a derivative jumps; found by itself where not given.
      panels: how many panels of 20 nodes cover |z| ≤ 9.

    Example:
      >>> import jax
      >>> f"{jax.grad(variance_map('relu'))(3.0, 1.5, 0.1):.4f}"
      '1.1250'
    """
    second = _average(_function(phi), _corners(phi, kinks), panels)
    return lambda q, sigma_w, sigma_b: second(q) * jnp.square(sigma_w) + jnp.square(sigma_b)


def chi(
    phi: Elementwise | str, *, kinks: tuple[float, ...] | None = None, panels: int = 18
) -> Callable[[ArrayLike, ArrayLike], FloatArray]:
    """The function (q, σ_w) -> χ₁ = σ_w² E φ'(√q z)², scalar; Poole et al., 2016, arXiv:1606.05340.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> jax.vmap(chi("tanh"), (None, 0))(0.5, jnp.array([1.0, 1.3])).round(4)
      Array([0.5924, 1.0012], dtype=float32)
    """
    slope = activations.slope(_function(phi))
    second = _average(slope, _corners(phi, kinks), panels)
    return lambda q, sigma_w: second(q) * jnp.square(sigma_w)


def fixed_variance(
    phi: Elementwise | str,
    *,
    kinks: tuple[float, ...] | None = None,
    panels: int = 18,
    steps: int = 200,
) -> Callable[..., FloatArray]:
    """The function (σ_w, σ_b, q0=1) -> q*, where `steps` layers lead from q0.

    Its derivatives of every order are those of the fixed point, by the implicit function theorem:
    ∂q*/∂σ = ∂F/∂σ / (1 - ∂F/∂q). Where the layers have not converged, neither are they.

    Example:
      >>> f"{fixed_variance('tanh')(1.3, 0.3):.4f}"
      '0.6070'
    """
    layer = variance_map(phi, kinks=kinks, panels=panels)

    def fixed(sigma_w: ArrayLike, sigma_b: ArrayLike, q0: ArrayLike = 1.0) -> FloatArray:
        def settle(_: object, start: FloatArray) -> FloatArray:
            def step(q: FloatArray, _: None) -> tuple[FloatArray, None]:
                return layer(q, sigma_w, sigma_b), None

            return jax.lax.scan(step, start, length=steps)[0]

        return jax.lax.custom_root(
            lambda q: layer(q, sigma_w, sigma_b) - q,
            jnp.asarray(q0, jnp.result_type(float)),
            settle,
            lambda linear, y: y / linear(jnp.ones_like(y)),
        )

    return fixed


def dual(
    phi: Elementwise | str, *, kinks: tuple[float, ...] | None = None, panels: int = 18
) -> TracedDual:
    """The dual activation (q11, q22, q12) -> (E φ(u)φ(v), E φ'(u)φ'(v)), scalars.

    A closed form of `DUALS` for the catalogue entries that have one, else nested quadrature, which
    wants |q12| < √(q11 q22) and loses digits near there for a kinked φ, whose inner average bends
    sharply.

    Example:
      >>> import jax
      >>> k, k_slope = jax.jit(dual("tanh"))(1.0, 1.0, 0.5)
      >>> f"{k:.5f} {k_slope:.5f}"
      '0.18632 0.38475'
    """
    name = closed_name(phi)
    if name is not None:
        return DUALS[name]
    f, corners = _function(phi), _corners(phi, kinks)
    slope = activations.slope(f)

    def both(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
        tilt = q12 / jnp.sqrt(q11)
        s = jnp.sqrt(q22 - jnp.square(tilt))
        z, weight = _nodes(jnp.sqrt(q11), 0.0, corners, panels)
        u = jnp.sqrt(q11) * z

        def given(z: FloatArray) -> tuple[FloatArray, FloatArray]:
            y, inner = _nodes(s, tilt * z, corners, panels)
            v = tilt * z + s * y
            return (inner * f(v)).sum(), (inner * slope(v)).sum()

        value, value_slope = jax.vmap(given)(z)
        return (weight * f(u) * value).sum(), (weight * slope(u) * value_slope).sum()

    return both


def _function(phi: Elementwise | str) -> Elementwise:
    return activations.get(phi) if isinstance(phi, str) else phi


def _corners(phi: Elementwise | str, kinks: tuple[float, ...] | None) -> tuple[float, ...]:
    if kinks is not None:
        return kinks
    f = _function(phi)
    if f in activations.CATALOG.values():
        return activations.traits(f).kinks
    try:
        return sample_between(f, np.array([-30.0, -9.7, 11.3, 30.0])).kinks
    except (TypeError, ValueError):
        # φ depends on a traced parameter, or is no function for the host.
        return ()


def _average(
    f: Elementwise, corners: tuple[float, ...], panels: int
) -> Callable[[ArrayLike], FloatArray]:
    def second(q: ArrayLike) -> FloatArray:
        z, weight = _nodes(jnp.sqrt(q), 0.0, corners, panels)
        return (weight * jnp.square(f(jnp.sqrt(q) * z))).sum()

    return second


def _nodes(
    scale: ArrayLike, shift: ArrayLike, corners: tuple[float, ...], panels: int
) -> tuple[FloatArray, FloatArray]:
    """Nodes z and weights of a standard Gaussian, split where shift + scale·z meets a corner."""
    dtype = jnp.result_type(float)
    fixed = jnp.linspace(-_WINDOW, _WINDOW, panels + 1, dtype=dtype)
    own = jnp.clip((jnp.asarray(corners, dtype) - shift) / scale, -_WINDOW, _WINDOW)
    edges = jnp.sort(jnp.concatenate([fixed, own]))
    half = (jnp.diff(edges) / 2)[:, None]
    middle = ((edges[1:] + edges[:-1]) / 2)[:, None]
    z = middle + half * jnp.asarray(_NODES, dtype)[None]
    weight = half * jnp.asarray(_WEIGHTS, dtype)[None] * jnp.exp(-jnp.square(z) / 2)
    return z.ravel(), weight.ravel() / math.sqrt(2 * math.pi)


def closed_name(phi: Elementwise | str) -> str | None:
    """The name under which φ has a closed-form dual, if it is a catalogue entry that has one."""
    f = _function(phi)
    return next((n for n, g in activations.CATALOG.items() if g is f and n in DUALS), None)


# The closed forms. Angles come from arctan2: arccos loses half the digits near c = 1.


def dual_identity(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = z: K = q12."""
    del q11, q22
    k = jnp.asarray(q12, jnp.result_type(float))
    return k, jnp.ones_like(k)


def dual_leaky_relu(
    q11: ArrayLike, q22: ArrayLike, q12: ArrayLike, *, negative_slope: ArrayLike = 0.01
) -> tuple[FloatArray, FloatArray]:
    """φ(z) = max(z, az) with a = negative_slope: the arc-cosine kernels of degree 1 and 0.

    φ = ((1 - a)|z| + (1 + a) z)/2; Cho & Saul, 2009, Kernel Methods for Deep Learning. a = 0 is
    relu, a = -1 the absolute value.
    """
    rest, angle = _triangle(q11, q22, q12)
    c, a = jnp.asarray(q12, rest.dtype), jnp.asarray(negative_slope, rest.dtype)
    bent, straight = jnp.square(1 - a) / 4, jnp.square(1 + a) / 4
    k = 2 / math.pi * (rest + c * (math.pi / 2 - angle))
    k_slope = 1 - 2 / math.pi * angle
    return bent * k + straight * c, bent * k_slope + straight


def dual_relu(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = max(z, 0); Cho & Saul, 2009."""
    return dual_leaky_relu(q11, q22, q12, negative_slope=0.0)


def dual_abs(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = |z|."""
    return dual_leaky_relu(q11, q22, q12, negative_slope=-1.0)


def dual_step(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = 1 for z > 0, else 0: K = (π - θ)/2π. K' = 0, the slope beside the jump."""
    _, angle = _triangle(q11, q22, q12)
    return 0.5 - angle / (2 * math.pi), jnp.zeros_like(angle)


def dual_sign(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = sign z: K = 1 - 2θ/π. K' = 0, the slope beside the jump."""
    _, angle = _triangle(q11, q22, q12)
    return 1 - 2 / math.pi * angle, jnp.zeros_like(angle)


def dual_erf(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = erf z; Williams, 1997, Computing with infinite networks."""
    a, b, c = 1 + 2 * jnp.asarray(q11), 1 + 2 * jnp.asarray(q22), 2 * jnp.asarray(q12)
    rest = jnp.sqrt(a * b - c * c)
    return 2 / math.pi * jnp.arctan2(c, rest), 4 / math.pi / rest


def dual_sin(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = sin z, by the characteristic function of u ± v."""
    half = (jnp.asarray(q11) + q22) / 2
    c = jnp.asarray(q12)
    minus, plus = jnp.exp(c - half), jnp.exp(-c - half)
    return (minus - plus) / 2, (minus + plus) / 2


def dual_cos(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = cos z, by the characteristic function of u ± v."""
    k_slope, k = dual_sin(q11, q22, q12)
    return k, k_slope


def dual_exp(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = exp z: the mean of a log-normal."""
    k = jnp.exp((jnp.asarray(q11) + q22) / 2 + q12)
    return k, k


def dual_gaussian(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = exp(-z²): K = 1/√det(I + 2Σ)."""
    c = 2 * jnp.asarray(q12)
    det = (1 + 2 * jnp.asarray(q11)) * (1 + 2 * jnp.asarray(q22)) - c * c
    return det**-0.5, 2 * c * det**-1.5


def dual_square(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = z²: K = q11 q22 + 2 q12² (Isserlis)."""
    q11, q22, c = (jnp.asarray(q, jnp.result_type(float)) for q in (q11, q22, q12))
    return q11 * q22 + 2 * c * c, 4 * c


def dual_gelu(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """φ(z) = z Φ(z), Φ the normal CDF; Tsuchida et al., 2021, arXiv:2002.08517.

    By Stein's lemma, twice, from P = E Φ(u)Φ(v) and p = ∂P/∂q12 = 1/(2π √det(I + Σ)).
    """
    q11, q22, c = (jnp.asarray(q, jnp.result_type(float)) for q in (q11, q22, q12))
    det = (1 + q11) * (1 + q22) - c * c
    p = 1 / (2 * math.pi * jnp.sqrt(det))
    both = 0.25 + jnp.arctan2(c, jnp.sqrt(det)) / (2 * math.pi)
    bend = 1 / (1 + q11) + 1 / (1 + q22) - 1
    inner = q11 * q22 + bend * c * c
    return c * both + p * inner, both + p * c * (1 + 2 * bend + inner / det)


def _triangle(q11: ArrayLike, q22: ArrayLike, q12: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """(√(q11 q22) sin θ, θ), θ the angle between u and v."""
    # Not √(q11 q22 - q12²) at once: at equal variances the factors keep θ's digits near c = ±1.
    length = jnp.sqrt(jnp.asarray(q11, jnp.result_type(float)) * q22)
    rest = jnp.sqrt(jnp.maximum((length - q12) * (length + q12), 0))
    return rest, jnp.arctan2(rest, jnp.asarray(q12, rest.dtype))


DUALS: MappingProxyType[str, TracedDual] = MappingProxyType(
    {
        "identity": dual_identity,
        "relu": dual_relu,
        "leaky_relu": dual_leaky_relu,
        "abs": dual_abs,
        "step": dual_step,
        "sign": dual_sign,
        "erf": dual_erf,
        "sin": dual_sin,
        "cos": dual_cos,
        "exponential": dual_exp,
        "gaussian": dual_gaussian,
        "square": dual_square,
        "gelu": dual_gelu,
    }
)
