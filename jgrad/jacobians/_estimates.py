"""Norm, trace and determinant of a Jacobian from random products, with standard errors.

All are of float32, or float64 if an input is, and so are the random vectors and the sums. f runs in
the dtype it is written in: with inputs of bfloat16 or float16 each product carries that rounding,
which the standard errors leave out.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._batches import keys_for
from ._inputs import as_arrays, batch_axis, count, one_example, output_of, whole, wide_dtype
from ._krylov import Estimate, golub_kahan, magnitude
from ._operators import Linear, linear, square_size


def frobenius_norm(f: Callable[[PyTree], PyTree], samples: int = 32) -> Callable[..., Estimate]:
    """‖J‖_F at every example: (x, key=None) -> Estimate of [batch], with standard errors.

    Of float32 or better, whatever half precision goes in.

    ‖J‖_F² = E ‖J v‖² over signs v (Hutchinson, "A stochastic estimator of the trace of the
    influence matrix", 1990); the norm's standard error is the square's over twice the norm.

    Raises:
      ValueError: fewer than 2 samples, x is no batch, or f fails on one example of it.
      TypeError: x or f's output is not of real floats.
    """

    def one(operator: Linear, signs: Float[Array, "samples n"]) -> Estimate:
        images = jax.vmap(operator.push)(signs)
        # Scaled, so that the squares, and their squares in the error, are in range.
        size = magnitude(images)
        square = _mean(jnp.sum((images / size) ** 2, axis=1))
        root = jnp.sqrt(square.value)
        return Estimate(size * root, size * square.error / jnp.where(root == 0, 1, 2 * root))

    return _sampled(f, samples, one, lambda example: output_of(f, example))


def trace(f: Callable[[PyTree], PyTree], samples: int = 32) -> Callable[..., Estimate]:
    """Tr J at every example: (x, key=None) -> Estimate of [batch], with standard errors.

    Of float32 or better, whatever half precision goes in.

    tr J = E v·Jv over signs v (Hutchinson, 1990). Exact where J is diagonal. This is the
    divergence of f as a vector field.

    Raises:
      ValueError: fewer than 2 samples, x is no batch, f fails on one example of it, or J is not
        square.
      TypeError: x or f's output is not of real floats.
    """

    def one(operator: Linear, signs: Float[Array, "samples n"]) -> Estimate:
        return _mean(jnp.sum(signs * jax.vmap(operator.push)(signs), axis=1))

    return _sampled(f, samples, one, lambda example: square_size(f, example, "a trace"))


def log_determinant(
    f: Callable[[PyTree], PyTree], samples: int = 32, steps: int | None = None
) -> Callable[..., Estimate]:
    """Ln |det J| at every example: (x, key=None) -> Estimate of [batch], with standard errors.

    Of float32 or better, whatever half precision goes in.

    ln |det J| = tr ln (JᵀJ)^½ by stochastic Lanczos quadrature (Ubaru, Chen & Saad, "Fast
    estimation of tr(f(A)) via stochastic Lanczos quadrature", SIAM Journal on Matrix Analysis and
    Applications 38, 2017), with the Golub-Kahan process in place of Lanczos on JᵀJ, which would
    square the condition number. The error is that of the sampling alone; the quadrature's falls
    with the steps, slowly where J is ill-conditioned. A singular J gives a large negative number
    or -inf.

    Args:
      f: a function of one example, with as many outputs as inputs.
      samples: random start vectors.
      steps: of each process; default min(n, 64).

    Raises:
      ValueError: samples or steps out of range, x is no batch, f fails on one example of it, or J
        is not square.
      TypeError: x or f's output is not of real floats.
    """

    def check(example: PyTree) -> None:
        n = square_size(f, example, "a determinant")
        if not n:
            msg = "the Jacobian has no rows and no columns; wanted one of 1 by 1 or more"
            raise ValueError(msg)
        if steps is not None and not 1 <= whole("steps", steps) <= n:
            msg = f"steps is {steps}; wanted 1 ... {n}, the size of the Jacobian"
            raise ValueError(msg)

    def one(operator: Linear, signs: Float[Array, "samples n"]) -> Estimate:
        most = min(operator.n, 64) if steps is None else steps

        def quadrature(sign: Float[Array, " n"]) -> Float[Array, ""]:
            spare = sign * jnp.sin(jnp.arange(1, operator.n + 1, dtype=sign.dtype))
            b = golub_kahan(operator, sign, spare, most=most, stride=most, done=lambda _: True)
            _, sigma, right = jnp.linalg.svd(b.matrix)
            weights = right[:, 0] ** 2
            # A direction that the start does not hold has no say, whatever its value.
            return operator.n * jnp.sum(jnp.where(weights == 0, 0, weights * jnp.log(sigma)))

        return _mean(jax.vmap(quadrature)(signs))

    return _sampled(f, samples, one, check)


def _mean(values: Float[Array, " samples"]) -> Estimate:
    """Mean and standard error."""
    size = magnitude(values)
    size = jnp.where(jnp.isfinite(size), size, 1)
    scaled = values / size
    mean, error = size * jnp.mean(scaled), size * jnp.std(scaled, ddof=1) / values.size**0.5
    return Estimate(mean, jnp.where(jnp.isinf(mean), jnp.inf, error))


def _sampled(
    f: Callable[[PyTree], PyTree],
    samples: int,
    one: Callable[[Linear, Float[Array, "samples n"]], Estimate],
    check: Callable[[PyTree], object],
) -> Callable[..., Estimate]:
    if whole("samples", samples) < 2:
        msg = f"samples is {samples}; wanted 2 or more, to tell a standard error"
        raise ValueError(msg)

    def of(x: PyTree, key: jax.Array | None = None) -> Estimate:
        x = as_arrays(x)
        batch_axis(x)
        example = one_example(x)
        check(example)
        dtype = wide_dtype(example)

        def at(x: PyTree, key: jax.Array) -> Estimate:
            signs = jax.random.rademacher(key, (samples, count(example)), dtype)
            return one(linear(f, x), signs)

        return jax.vmap(at)(x, keys_for(key, x))

    return of
