"""Everything in float64: the dtype, and numbers that float32 could not give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians

GENERATOR = np.random.default_rng(0)
W = GENERATOR.normal(size=(7, 7)) / 2
X = GENERATOR.normal(size=(3, 7))
V = GENERATOR.normal(size=(3, 7))


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def f(x):
    w = jnp.asarray(W, x.dtype)
    return jnp.tanh(w @ jnp.sin(w @ x))


def by_hand(x):
    """∂f/∂x in NumPy."""
    z = W @ x
    slopes = 1 - np.tanh(W @ np.sin(z)) ** 2
    return slopes[:, None] * W @ (np.cos(z)[:, None] * W)


J = np.stack([by_hand(x) for x in X])
SIGMA = np.linalg.svd(J, compute_uv=False)
SQUARES = W @ W.T
CURVATURES = np.linalg.eigvalsh(SQUARES)[::-1]


def bowl(w):
    """Half a quadratic form: its Hessian is SQUARES."""
    return 0.5 * w @ (jnp.asarray(SQUARES, w.dtype) @ w)


def largest(x):
    return jacobians.singular_values(lambda v: jnp.tile(f(v), 2), 2, steps=7)(x)


#: A function of the batch, and what NumPy gives.
CALLS = {
    "derivative": (jacobians.derivative(jnp.tanh, 2), -2 * np.tanh(X) / np.cosh(X) ** 2),
    "jacobian": (jacobians.jacobian(f), J),
    "jacobian by twos": (jacobians.jacobian(f, batch_size=2), J),
    "jvp": (lambda x: jacobians.jvp(f)(x, jnp.asarray(V)), np.einsum("bij,bj->bi", J, V)),
    "vjp": (lambda x: jacobians.vjp(f)(x, jnp.asarray(V)), np.einsum("bij,bi->bj", J, V)),
    "singular_values": (jacobians.singular_values(f), SIGMA),
    "largest": (largest, 2**0.5 * SIGMA[:, :2]),
    "smallest": (jacobians.singular_values(f, 2, smallest=True), SIGMA[:, -2:]),
    "isometry": (lambda x: jacobians.isometry(f)(x).variance, np.var(SIGMA**2, axis=1)),
    "trace": (
        lambda x: jacobians.trace(jnp.sin, 2)(x).value,
        np.cos(X).sum(axis=1),
    ),
    "frobenius_norm": (
        lambda x: jacobians.frobenius_norm(jnp.sin, 2)(x).value,
        np.sqrt((np.cos(X) ** 2).sum(axis=1)),
    ),
    "log_determinant": (
        lambda x: jacobians.log_determinant(lambda v: 3.0 * v, 2)(x).value,
        np.full(3, 7 * np.log(3)),
    ),
    "log_singular_values": (jacobians.log_singular_values([f]), np.log(SIGMA)),
    "sharpness": (lambda x: jacobians.sharpness(bowl)(x[0]), CURVATURES[0]),
    "sharpness by Lanczos": (
        lambda x: jacobians.sharpness(lambda w: bowl(w[:7]) + bowl(w[7:]) / 9, steps=12)(
            jnp.concatenate([x[0], x[1]])
        ),
        CURVATURES[0],
    ),
    "max_stable_learning_rate": (
        lambda x: jacobians.max_stable_learning_rate(bowl)(x[0]),
        2 / CURVATURES[0],
    ),
    "lyapunov_exponents": (
        lambda x: (
            jacobians.lyapunov_exponents(
                lambda h, u: jnp.array([[0.9, 5.0], [0.0, 0.3]]) @ h + u, discard=100
            )(x[:, :2], jnp.zeros((3, 200, 2))).value
        ),
        np.tile(np.log([0.9, 0.3]), (3, 1)),
    ),
}


QUICK = {"jacobian", "singular_values", "log_singular_values", "sharpness"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CALLS]
)
def test_to_the_last_digits(name):
    call, want = CALLS[name]
    found = jax.jit(call)(jnp.asarray(X))
    assert found.dtype == jnp.float64
    tolerance = 1e-9 if name == "sharpness by Lanczos" else 1e-12
    np.testing.assert_allclose(found, want, rtol=0, atol=tolerance * np.abs(want).max())


def test_condition_number():
    found = jax.jit(jacobians.condition_number(f))(jnp.asarray(X))
    want = SIGMA[:, 0] / SIGMA[:, -1]
    assert found.dtype == jnp.float64
    assert (np.abs(found - want) <= 20 * np.finfo(float).eps * want**2).all()


@pytest.mark.parametrize(
    "name", [n for n in CALLS if n not in {"jvp", "vjp", "lyapunov_exponents"}]
)
def test_float32_stays_float32(name):
    x = jax.ShapeDtypeStruct(X.shape, jnp.float32)
    assert jax.eval_shape(CALLS[name][0], x).dtype == jnp.float32
