"""Singular values of Jacobians: all of them, or the largest or smallest few without the matrix."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._batches import keys_for, over_batch
from ._inputs import as_arrays, batch_axis, count, one_example, output_of, whole, wide_dtype
from ._jacobian import jacobian
from ._krylov import (
    STRIDE,
    Bidiagonal,
    Estimate,
    golub_kahan,
    magnitude,
    settled,
    whole_strides,
)
from ._operators import Linear, linear


def singular_values(
    f: Callable[[PyTree], PyTree],
    k: int | None = None,
    *,
    smallest: bool = False,
    steps: int | None = None,
    batch_size: int | None = None,
) -> Callable[..., Float[Array, "batch k"]]:
    """Singular values of ∂f/∂x at every example, largest first: (x, key=None) -> [batch, k].

    The values of `singular_values_and_errors`, where arguments and errors are described.

    Example:
      >>> singular_values(lambda x: x * jnp.array([2.0, -3.0]))(jnp.ones((1, 2)))
      Array([[3., 2.]], dtype=float32)
    """
    both = singular_values_and_errors(f, k, smallest=smallest, steps=steps, batch_size=batch_size)
    return lambda x, key=None: both(x, key).value


def singular_values_and_errors(
    f: Callable[[PyTree], PyTree],
    k: int | None = None,
    *,
    smallest: bool = False,
    steps: int | None = None,
    batch_size: int | None = None,
) -> Callable[..., Estimate]:
    """Singular values of ∂f/∂x with bounds: (x, key=None) -> Estimate of [batch, k] each.

    Within `error` of each value lies a singular value of the Jacobian. Where the dense SVD gives
    the values, that is its rounding bound. Else it is the residual ‖Jᵀu - σv‖ of the Golub-Kahan
    process, run until the values stand still, within eps^(2/3) of the largest over four steps, or
    for `steps` steps; the values themselves are closer, by about the residual squared over the gap
    to the next. Of several equal singular values the process may see fewer than there are.

    Both are in float32 or better. With inputs of half precision the products still carry f's own
    rounding, which the bounds leave out.

    Args:
      f: a function of one example.
      k: how many; None for all min(m, n), by the dense SVD.
      smallest: the k smallest instead (still largest first). A Krylov process finds them last, with
        a basis as large as the matrix, so they too come from the dense SVD.
      steps: steps at most, in fours, each one product with J and one with Jᵀ; default max(128,
        8 k). Where so many would fill the space, the dense SVD is cheaper, and is taken.
      batch_size: examples worked on at a time; None for all. By one, each stops when its own
        values have converged.

    Raises:
      ValueError: k or steps is out of range, x is no batch, or f fails on one example of it.
      TypeError: x or f's output is not of real floats.
    """

    def of(x: PyTree, key: jax.Array | None = None) -> Estimate:
        x = as_arrays(x)
        batch_axis(x)
        example = one_example(x)
        rank = min(count(example), count(output_of(f, example)))
        wanted = rank if k is None else whole("k", k)
        if not (1 <= wanted <= rank or k is None):
            msg = f"k is {k}; wanted 1 ... {rank}, as many as the Jacobian has singular values"
            raise ValueError(msg)
        if steps is not None and not max(wanted, 1) <= whole("steps", steps) <= rank:
            msg = f"steps is {steps}; wanted k = {wanted} ... {rank}"
            raise ValueError(msg)
        most = whole_strides(max(128, 8 * wanted) if steps is None else steps)
        if smallest or most > rank:
            part = slice(rank - wanted, None) if smallest else slice(wanted)
            return over_batch(lambda x: _dense_values(f, x, part), batch_size)(x)
        one = functools.partial(_largest, f, k=wanted, most=most)
        return over_batch(one, batch_size)(x, keys_for(key, x))

    return of


def condition_number(
    f: Callable[[PyTree], PyTree], *, batch_size: int | None = None
) -> Callable[[PyTree], Float[Array, " batch"]]:
    """Largest over smallest singular value of ∂f/∂x at every example, by the dense SVD, ≥ 1.

    Infinite where the smallest is zero. The smallest is right to about eps times the largest, so
    the relative error is about eps times the condition number itself, on one device and between
    two programs; what exceeds 1 / eps says no more than that it does. In float32 or better.

    Raises:
      ValueError, TypeError: as `singular_values`.
    """
    values = singular_values(f, batch_size=batch_size)

    def of(x: PyTree) -> Float[Array, " batch"]:
        sigma = values(x)
        _not_empty(sigma.shape[1])
        # A Jacobian of zeros too, where the quotient is NaN.
        return jnp.where(sigma[:, -1] == 0, jnp.inf, sigma[:, 0] / sigma[:, -1])

    return of


class Isometry(NamedTuple):
    """Moments of the squared singular values λ = σ² of a Jacobian.

    Attributes:
      mean: E λ; one where gradients keep their mean square.
      variance: E λ² - (E λ)²; zero where they keep it in every direction (dynamical isometry).
    """

    mean: Float[Array, " batch"]
    variance: Float[Array, " batch"]


def isometry(
    f: Callable[[PyTree], PyTree], *, batch_size: int | None = None
) -> Callable[[PyTree], Isometry]:
    """Mean and variance of the min(m, n) squared singular values of ∂f/∂x at every example.

    From the Gram matrix, without an SVD, in float32 or better; what λ² takes out of range comes out
    as zero or infinity. Pennington, Schoenholz & Ganguli,
    "Resurrecting the sigmoid in deep learning through dynamical isometry", 2017, arXiv:1711.04735,
    has what they say of training.

    Raises:
      ValueError, TypeError: as `singular_values`.

    Example:
      >>> isometry(lambda x: x * jnp.array([1.0, 3.0]))(jnp.ones((1, 2)))
      Isometry(mean=Array([5.], dtype=float32), variance=Array([16.], dtype=float32))
    """

    def one(x: PyTree) -> Isometry:
        matrix = _dense(f, x)
        size = magnitude(matrix)
        matrix = matrix / size
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        mean = jnp.mean(jnp.diag(gram))
        # Around the mean: the difference of two squares would cancel near an isometry.
        centred = gram - mean * jnp.eye(gram.shape[0], dtype=gram.dtype)
        # One factor at a time: the square of the size may be infinite where the variance is zero.
        return Isometry(
            mean * size * size, jnp.mean(jnp.sum(centred**2, 1)) * size * size * size * size
        )

    def of(x: PyTree) -> Isometry:
        x = as_arrays(x)
        batch_axis(x)
        example = one_example(x)
        _not_empty(min(count(example), count(output_of(f, example))))
        return over_batch(one, batch_size)(x)

    return of


def _not_empty(rank: int) -> None:
    if not rank:
        msg = "the Jacobian has no rows or no columns, and so no singular values"
        raise ValueError(msg)


def _dense(f: Callable[[PyTree], PyTree], x: PyTree) -> Float[Array, "m n"]:
    """The Jacobian at one example as one matrix, of float32 or better."""
    wide = wide_dtype(x)
    blocks = jacobian(f, batched=False)(x)
    outs = jax.tree.leaves(jax.eval_shape(f, x))
    rows = jax.tree.structure(jax.eval_shape(f, x)).flatten_up_to(blocks)
    return jnp.concatenate(
        [
            jnp.concatenate(
                [
                    b.reshape(out.size, b.size // max(out.size, 1)).astype(wide)
                    for b in jax.tree.leaves(row)
                ],
                axis=1,
            )
            for out, row in zip(outs, rows, strict=True)
        ]
    )


def _dense_values(f: Callable[[PyTree], PyTree], x: PyTree, part: slice) -> Estimate:
    matrix = _dense(f, x)
    values = jnp.linalg.svd(matrix, compute_uv=False)
    bound = max(matrix.shape) * float(jnp.finfo(values.dtype).eps) * values[:1]
    return Estimate(values[part], jnp.broadcast_to(bound, values.shape)[part])


def _largest(
    f: Callable[[PyTree], PyTree], x: PyTree, key: jax.Array, *, k: int, most: int
) -> Estimate:
    operator = linear(f, x)
    if operator.m < operator.n:
        operator = Linear(operator.m, operator.n, operator.pull, operator.push)
    dtype = wide_dtype(x)
    start, spare = jax.random.normal(key, (2, operator.m), dtype)
    eps = float(jnp.finfo(dtype).eps)

    def ritz(b: Bidiagonal) -> Estimate:
        left, values, _ = jnp.linalg.svd(b.matrix)
        residuals = b.rest * jnp.abs(left[jnp.maximum(b.steps - 1, 0)])
        # Rounding in the products and in the basis comes on top.
        return Estimate(values[:k], residuals[:k] + 8 * eps * values[0])

    def done(b: Bidiagonal) -> jax.Array:
        # BᵀB, which has the squares for its eigenvalues; of B scaled, whose squares are in range.
        size = magnitude(b.alpha, b.beta)
        alpha, beta = b.alpha / size, b.beta[:-1] / size
        squares = alpha**2 + jnp.pad(beta, (1, 0)) ** 2
        return settled(squares, alpha[:-1] * beta, b.steps, k)

    return ritz(
        golub_kahan(operator, start[: operator.n], spare, most=most, stride=STRIDE, done=done)
    )
