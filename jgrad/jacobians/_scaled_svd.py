"""Singular values of a matrix whose columns differ by more than floating point can hold."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

#: Sweeps over all pairs at most; graded matrices take three to eight.
_SWEEPS = 30


def log_singular_values_of_scaled(
    matrix: Float[Array, "m n"], log_scale: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Ln of the singular values of `matrix @ diag(exp(log_scale))`, largest first.

    One-sided Jacobi, with each column kept as a unit vector and the logarithm of its length: it
    gives small singular values of such a matrix as accurately as large ones (Demmel & Veselić,
    "Jacobi's method is more accurate than QR"), and here nothing under- or overflows.

    Args:
      matrix: the columns.
      log_scale: the logarithm of what each is multiplied by; -inf for a zero column.

    Example:
      >>> log_singular_values_of_scaled(jnp.eye(2), jnp.array([-4000.0, 3000.0]))
      Array([ 3000., -4000.], dtype=float32)
    """
    n = matrix.shape[1]
    if n == 1:
        return _normalised(matrix, log_scale)[1]
    # The circle method pairs an even number; a zero column stands in for a missing one.
    columns = jnp.pad(matrix, ((0, 0), (0, n % 2)))
    logs = jnp.pad(log_scale, (0, n % 2), constant_values=-jnp.inf)
    rounds = jnp.asarray(_rounds(n + n % 2))
    enough = matrix.shape[0] ** 0.5 * float(jnp.finfo(matrix.dtype).eps)

    def sweep(state):
        columns, logs, _, count = state
        (columns, logs), cosines = lax.scan(_rotate_pairs, (columns, logs), rounds)
        return columns, logs, jnp.max(cosines), count + 1

    def going(state):
        return (state[2] > enough) & (state[3] < _SWEEPS)

    columns, logs = _normalised(columns, logs)
    first = (columns, logs, jnp.ones((), matrix.dtype), jnp.zeros((), jnp.int32))
    _, logs, _, _ = lax.while_loop(going, sweep, first)
    return -jnp.sort(-logs)[:n]


def _rotate_pairs(
    state: tuple[Float[Array, "m n"], Float[Array, " n"]], pairs: Int[Array, "2 half"]
) -> tuple[tuple[Float[Array, "m n"], Float[Array, " n"]], Float[Array, ""]]:
    """One rotation of every pair of columns, which makes it orthogonal; the largest |cosine|."""
    columns, logs = state
    first, second = logs[pairs[0]], logs[pairs[1]]
    p = jnp.where(first >= second, pairs[0], pairs[1])
    q = jnp.where(first >= second, pairs[1], pairs[0])
    x, y = columns[:, p], columns[:, q]
    # y is the shorter: r = |y| / |x| ≤ 1, and of two zero columns neither moves.
    r = jnp.where(jnp.isneginf(logs[q]), 0, jnp.exp(logs[q] - logs[p]))
    c = jnp.sum(x * y, axis=0)
    # τ = t / r solves r²c τ² - (1 - r²) τ - c = 0, t the rotation's tangent: finite for r → 0.
    gap = (1 - r) * (1 + r)
    root = gap + jnp.hypot(gap, 2 * r * c)
    tau = jnp.where(root == 0, 0, -2 * c / jnp.where(root == 0, 1, root))
    cosine = lax.rsqrt(1 + (tau * r) ** 2)
    new = jnp.concatenate([x - (tau * r**2)[None] * y, y + tau[None] * x], axis=1)
    new = new * jnp.tile(cosine, 2)[None]
    both = jnp.concatenate([p, q])
    new, grown = _normalised(new, logs[both])
    seen = jnp.where(jnp.isneginf(logs[q]), 0, jnp.abs(c))
    return (columns.at[:, both].set(new), logs.at[both].set(grown)), jnp.max(seen)


def _normalised(
    columns: Float[Array, "m n"], logs: Float[Array, " n"]
) -> tuple[Float[Array, "m n"], Float[Array, " n"]]:
    """Unit columns, their lengths moved into the logarithms."""
    norms = jnp.linalg.norm(columns, axis=0)
    return columns / jnp.where(norms == 0, 1, norms)[None], logs + jnp.log(norms)


def _rounds(n: int) -> np.ndarray:
    """[n - 1, 2, n / 2]: rounds of disjoint pairs in which every pair of n occurs once."""
    circle = list(range(n))
    rounds = []
    for _ in range(n - 1):
        rounds.append((circle[: n // 2], circle[: n // 2 - 1 : -1]))
        circle = [circle[0], circle[-1], *circle[1:-1]]
    return np.array(rounds, np.int32)
