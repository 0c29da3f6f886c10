"""Golub-Kahan and Lanczos processes with full reorthogonalisation.

Every few steps they look whether the wanted values still move. Each new vector is orthogonalised
twice against all before it, which is enough (Giraud, Langou, Rozložník & van den Eshof, "Rounding
error analysis of the classical Gram-Schmidt orthogonalization process", Numerische Mathematik 101,
2005), so that no value appears more often than it should. Where the process breaks down, as it does
at once for a multiple of an orthogonal matrix, it goes on from a random direction orthogonal to all
seen.

matfree (0.6) has both processes, for a fixed number of products. What decides the time of a few
singular values is when to stop, and whether the basis is still a basis after a breakdown, so the
steps stand here.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import eigh_tridiagonal
from jaxtyping import Array, Float, Int

from ._operators import Linear


class Estimate(NamedTuple):
    """Numbers and how far they may be off; each function says in which sense."""

    value: Float[Array, "*shape"]
    error: Float[Array, "*shape"]


#: Steps between two looks at whether the wanted values still move.
STRIDE = 4


def whole_strides(steps: int) -> int:
    """The next multiple of the stride."""
    return -(-steps // STRIDE) * STRIDE


class Bidiagonal(NamedTuple):
    """J ≈ U B Vᵀ after `steps` steps: B upper bidiagonal with diagonal α and superdiagonal β.

    Attributes:
      left: rows of U, [most, m].
      right: rows of V, [most + 1, n].
      alpha: the diagonal.
      beta: the superdiagonal, and last what is left over.
      steps: steps taken; all beyond is zero.
    """

    left: Float[Array, "most m"]
    right: Float[Array, "longer n"]
    alpha: Float[Array, " most"]
    beta: Float[Array, " most"]
    steps: Int[Array, ""]

    @property
    def matrix(self) -> Float[Array, "most most"]:
        """B."""
        return jnp.diag(self.alpha) + jnp.diag(_inner(self.beta, self.steps), 1)

    @property
    def rest(self) -> Float[Array, ""]:
        """The last β: how far the process has still to go."""
        return self.beta[jnp.maximum(self.steps - 1, 0)]


def golub_kahan(
    linear: Linear,
    start: Float[Array, " n"],
    spare: Float[Array, " m"],
    *,
    most: int,
    stride: int,
    done: Callable[[Bidiagonal], Any],
) -> Bidiagonal:
    """The Golub-Kahan process from a start vector.

    As a method for large matrices: Paige, "Bidiagonalization of matrices and solution of linear
    equations", SIAM Journal on Numerical Analysis 11, 1974.

    Args:
      linear: the Jacobian, m ≥ n.
      start: any nonzero vector.
      spare: a random vector, for directions after a breakdown.
      most: steps at most, a multiple of the stride, ≤ min(m, n).
      stride: steps between two looks at `done`.
      done: whether to stop.
    """
    dtype = start.dtype
    first = Bidiagonal(
        jnp.zeros((most, linear.m), dtype),
        jnp.zeros((most + 1, linear.n), dtype).at[0].set(start / norm(start)),
        jnp.zeros(most, dtype),
        jnp.zeros(most, dtype),
        jnp.zeros((), jnp.int32),
    )

    def step(k: Any, b: Bidiagonal) -> Bidiagonal:
        scale = jnp.maximum(jnp.max(b.alpha), jnp.max(b.beta))
        u, alpha = _next(linear.push(b.right[k]), b.left, scale, jnp.roll(spare, k))
        scale = jnp.maximum(scale, alpha)
        v, beta = _next(linear.pull(u), b.right, scale, jnp.roll(spare, k)[: linear.n])
        return Bidiagonal(
            b.left.at[k].set(u),
            b.right.at[k + 1].set(v),
            b.alpha.at[k].set(alpha),
            b.beta.at[k].set(beta),
            k + 1,
        )

    return _run(step, first, most, stride, done, lambda b: b.alpha)


class Tridiagonal(NamedTuple):
    """H ≈ V T Vᵀ after `steps` steps: T symmetric, diagonal α, off-diagonals β.

    Attributes:
      basis: rows of V, [most + 1, n].
      alpha: the diagonal.
      beta: the off-diagonals, and last what is left over.
      steps: steps taken; all beyond is zero.
    """

    basis: Float[Array, "longer n"]
    alpha: Float[Array, " most"]
    beta: Float[Array, " most"]
    steps: Int[Array, ""]

    @property
    def matrix(self) -> Float[Array, "most most"]:
        """T."""
        off = jnp.diag(_inner(self.beta, self.steps), 1)
        return jnp.diag(self.alpha) + off + off.T

    @property
    def rest(self) -> Float[Array, ""]:
        """The last β: how far the process has still to go."""
        return self.beta[jnp.maximum(self.steps - 1, 0)]


def lanczos(
    product: Callable[[Float[Array, " n"]], Float[Array, " n"]],
    start: Float[Array, " n"],
    spare: Float[Array, " n"],
    *,
    most: int,
    stride: int,
    done: Callable[[Tridiagonal], Any],
) -> Tridiagonal:
    """The Lanczos process of a symmetric matrix given by its product, from a start vector.

    Args:
      product: v -> H v.
      start: any nonzero vector.
      spare: a random vector, for directions after a breakdown.
      most: steps at most, a multiple of the stride, ≤ n.
      stride: steps between two looks at `done`.
      done: whether to stop.
    """
    dtype = start.dtype
    first = Tridiagonal(
        jnp.zeros((most + 1, start.size), dtype).at[0].set(start / norm(start)),
        jnp.zeros(most, dtype),
        jnp.zeros(most, dtype),
        jnp.zeros((), jnp.int32),
    )

    def step(k: Any, t: Tridiagonal) -> Tridiagonal:
        image = product(t.basis[k])
        alpha = jnp.vdot(t.basis[k], image)
        scale = jnp.maximum(jnp.max(jnp.abs(t.alpha)), jnp.max(t.beta))
        scale = jnp.maximum(scale, jnp.abs(alpha))
        v, beta = _next(image, t.basis, scale, jnp.roll(spare, k))
        return Tridiagonal(
            t.basis.at[k + 1].set(v), t.alpha.at[k].set(alpha), t.beta.at[k].set(beta), k + 1
        )

    return _run(step, first, most, stride, done, lambda t: t.alpha)


def _inner(beta: Float[Array, " most"], steps: Int[Array, ""]) -> Float[Array, " shorter"]:
    """The β that stand in the matrix: all but the last of the steps taken."""
    return jnp.where(jnp.arange(beta.size - 1, dtype=steps.dtype) < steps - 1, beta[:-1], 0)


def settled(
    diagonal: Float[Array, " most"], beside: Float[Array, " shorter"], steps: jax.Array, k: int
) -> jax.Array:
    """Whether the k largest eigenvalues moved by less than eps^(2/3) over the last stride.

    Args:
      diagonal: of the tridiagonal matrix of so many steps.
      beside: its off-diagonal.
      steps: how many rows of it count.
      k: how many eigenvalues.
    """
    # By bisection, and residuals only at the end: on the CPU a call of LAPACK in the loop leaves
    # its threads spinning, which costs the next products more than the call itself.
    rows = jnp.arange(diagonal.size, dtype=steps.dtype)
    # It squares what stands beside the diagonal.
    size = magnitude(diagonal, beside)
    diagonal, beside, low = diagonal / size, beside / size, -4

    def largest(count: jax.Array) -> Float[Array, " k"]:
        return eigh_tridiagonal(
            jnp.where(rows < count, diagonal, low),
            jnp.where(rows[1:] < count, beside, 0),
            eigvals_only=True,
            select="i",
            select_range=(diagonal.size - k, diagonal.size - 1),
        )

    now, before = largest(steps), largest(steps - STRIDE)
    small = float(jnp.finfo(diagonal.dtype).eps) ** (2 / 3) * jnp.max(jnp.abs(now))
    return (steps >= k + STRIDE) & jnp.all(jnp.abs(now - before) <= small)


def _run(
    step: Callable[[Any, Any], Any],
    first: Any,
    most: int,
    stride: int,
    done: Callable[[Any], Any],
    alpha: Callable[[Any], jax.Array],
) -> Any:
    """Steps until done, exhausted, or met by a number that is not finite."""

    def going(state: Any) -> jax.Array:
        fine = jnp.all(jnp.isfinite(alpha(state)))
        return (state.steps == 0) | ((state.steps < most) & fine & jnp.logical_not(done(state)))

    def some(state: Any) -> Any:
        return lax.fori_loop(0, stride, lambda _, s: step(s.steps, s), state)

    return lax.while_loop(going, some, first)


def _next(
    vector: jax.Array, basis: jax.Array, scale: jax.Array, spare: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The next basis vector and its coefficient, zero where the process breaks down."""
    rest = _orthogonal(vector, basis)
    length = norm(rest)
    broken = length <= 8 * jnp.finfo(vector.dtype).eps * jnp.maximum(scale, norm(vector))

    def fresh() -> jax.Array:
        new = _orthogonal(spare, basis)
        return new / norm(new)

    # Not rest / 0 in the branch that is not taken: under vmap both are.
    unit = lax.cond(broken, fresh, lambda: rest / jnp.where(broken, 1, length))
    return unit, jnp.where(broken, 0, length)


def norm(vector: Float[Array, " n"]) -> Float[Array, ""]:
    """‖v‖, right also where the squares under- or overflow."""
    size = magnitude(vector)
    return size * jnp.linalg.norm(vector / size)


def magnitude(*arrays: Float[Array, "..."]) -> Float[Array, ""]:
    """The largest absolute value, or one where all are zero: to divide by before squaring."""
    size = functools.reduce(jnp.maximum, [jnp.max(jnp.abs(a), initial=0) for a in arrays])
    return jnp.where(size == 0, 1, size)


def _orthogonal(vector: jax.Array, basis: jax.Array) -> jax.Array:
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector
