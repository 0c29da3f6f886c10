"""Singular values of Jacobians: all of them, or the largest or smallest few without the matrix."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._batches import keys_for, over_batch
from ._inputs import as_arrays, batch_axis, count, one_example, output_of
from ._jacobian import jacobian
from ._krylov import Bidiagonal, Estimate, golub_kahan
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

    Within `error` of each value lies a singular value of the Jacobian. For k=None that is a
    rounding bound of the dense SVD. Else it is the residual ‖Jᵀu - σv‖ of the Golub-Kahan process,
    run until it falls below eps^(2/3) of the largest value, or for `steps` steps; the values
    themselves are closer, by about the residual squared over the gap to the next. Of several
    equal singular values the process may see fewer than there are, unless it runs to the end.

    Args:
      f: a function of one example.
      k: how many; None for all min(m, n), by the dense SVD.
      smallest: the k smallest instead (still largest first). They converge last: by default the
        process then runs to its end, at min(m, n) steps.
      steps: steps at most; default for the largest min(m, n, max(128, 8 k)).
      batch_size: examples worked on at a time; None for all.

    Raises:
      ValueError: k or steps is out of range, x is no batch, or f fails on one example of it.
      TypeError: x or f's output is not of real floats.
    """

    def of(x: PyTree, key: jax.Array | None = None) -> Estimate:
        x = as_arrays(x)
        batch = batch_axis(x)
        example = one_example(x)
        rank = min(count(example), count(output_of(f, example)))
        if k is None:
            return over_batch(lambda x: _all(f, x), batch_size)(x)
        if not 1 <= k <= rank:
            msg = f"k is {k}; wanted 1 ... {rank}, as many as the Jacobian has singular values"
            raise ValueError(msg)
        most = (rank if smallest else min(rank, max(128, 8 * k))) if steps is None else steps
        if not k <= most <= rank:
            msg = f"steps is {steps}; wanted k = {k} ... {rank}"
            raise ValueError(msg)

        one = functools.partial(_some, f, k=k, most=most, smallest=smallest)
        return over_batch(one, batch_size)(x, keys_for(key, batch))

    return of


def condition_number(
    f: Callable[[PyTree], PyTree], *, batch_size: int | None = None
) -> Callable[[PyTree], Float[Array, " batch"]]:
    """Largest over smallest singular value of ∂f/∂x at every example, by the dense SVD, ≥ 1.

    Infinite where the smallest is zero; what exceeds 1 / eps says no more than that it does.

    Raises:
      ValueError, TypeError: as `singular_values`.
    """
    values = singular_values(f, batch_size=batch_size)

    def of(x: PyTree) -> Float[Array, " batch"]:
        sigma = values(x)
        return sigma[:, 0] / sigma[:, -1]

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

    From the Gram matrix, without an SVD. Pennington, Schoenholz & Ganguli, "Resurrecting the
    sigmoid in deep learning through dynamical isometry", 2017, arXiv:1711.04735, whose σ²_JJᵀ is
    variance / mean².

    Raises:
      ValueError, TypeError: as `singular_values`.

    Example:
      >>> isometry(lambda x: x * jnp.array([1.0, 3.0]))(jnp.ones((1, 2)))
      Isometry(mean=Array([5.], dtype=float32), variance=Array([16.], dtype=float32))
    """

    def one(x: PyTree) -> Isometry:
        matrix = _dense(f, x)
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        mean = jnp.mean(jnp.diag(gram))
        # Around the mean: the difference of two squares would cancel near an isometry.
        return Isometry(
            mean,
            jnp.mean(jnp.sum((gram - mean * jnp.eye(gram.shape[0], dtype=gram.dtype)) ** 2, 1)),
        )

    def of(x: PyTree) -> Isometry:
        x = as_arrays(x)
        batch_axis(x)
        output_of(f, one_example(x))
        return over_batch(one, batch_size)(x)

    return of


def _dense(f: Callable[[PyTree], PyTree], x: PyTree) -> Float[Array, "m n"]:
    """The Jacobian at one example as one matrix."""
    blocks = jacobian(f, batched=False)(x)
    outs = jax.tree.leaves(jax.eval_shape(f, x))
    rows = jax.tree.structure(jax.eval_shape(f, x)).flatten_up_to(blocks)
    return jnp.concatenate(
        [
            jnp.concatenate([b.reshape(out.size, -1) for b in jax.tree.leaves(row)], axis=1)
            for out, row in zip(outs, rows, strict=True)
        ]
    )


def _all(f: Callable[[PyTree], PyTree], x: PyTree) -> Estimate:
    matrix = _dense(f, x)
    values = jnp.linalg.svd(matrix, compute_uv=False)
    bound = max(matrix.shape) * float(jnp.finfo(values.dtype).eps) * values[0]
    return Estimate(values, jnp.full_like(values, bound))


def _some(
    f: Callable[[PyTree], PyTree], x: PyTree, key: jax.Array, *, k: int, most: int, smallest: bool
) -> Estimate:
    operator = linear(f, x)
    if operator.m < operator.n:
        operator = Linear(operator.m, operator.n, operator.pull, operator.push)
    leaf = jax.tree.leaves(x)[0]
    start, spare = jax.random.normal(key, (2, operator.m), leaf.dtype)
    eps = float(jnp.finfo(leaf.dtype).eps)

    def ritz(b: Bidiagonal) -> Estimate:
        left, values, _ = jnp.linalg.svd(b.matrix)
        last = jnp.maximum(b.steps - 1, 0)
        residuals = b.rest * jnp.abs(left[last])
        wanted = slice(-k, None) if smallest else slice(None, k)
        # Rounding in the products and in the basis comes on top.
        return Estimate(values[wanted], residuals[wanted] + 8 * eps * values[0])

    def done(b: Bidiagonal) -> jax.Array:
        return jnp.all(ritz(b).error <= eps ** (2 / 3) * b.matrix.max()) & (b.steps >= k)

    stride = most if smallest else max(16, k)
    return ritz(
        golub_kahan(operator, start[: operator.n], spare, most=most, stride=stride, done=done)
    )
