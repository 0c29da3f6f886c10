import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians

W = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32) / 2
X = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32))
V = jnp.asarray(np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32))
U = jnp.asarray(np.random.default_rng(3).normal(size=(3, 6)).astype(np.float32))


def f(x):
    """[4] -> [6]."""
    return jnp.tanh(x @ jnp.asarray(W, x.dtype)) ** 2


def matrices():
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(jax.jacrev(f))(jnp.asarray(np.asarray(X, float))))


@pytest.mark.parametrize(
    ("operator", "vector", "einsum"),
    [
        ("jvp", V, "bij,bj->bi"),
        ("vjp", U, "bij,bi->bj"),
        ("jtj", V, "bij,bik,bk->bj"),
        ("jjt", U, "bij,bkj,bk->bi"),
    ],
)
def test_products(operator, vector, einsum):
    got = jax.jit(getattr(jacobians, operator)(f))(X, vector)
    j = matrices()
    want = np.einsum(einsum, *[j] * (einsum.count(",")), np.asarray(vector, float))
    np.testing.assert_allclose(got, want, atol=3e-6)


def test_products_on_pytrees():
    def g(p):
        return {"out": p["a"] * jnp.sum(p["b"])}

    x = {"a": X, "b": V}
    got = jacobians.jvp(g)(x, {"a": V, "b": X})
    want = V * V.sum(1, keepdims=True) + X * X.sum(1, keepdims=True)
    np.testing.assert_allclose(got["out"], want, rtol=1e-5)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"v has the shapes \(3, 6\); wanted those of x: \(3, 4\)"):
        jacobians.jvp(f)(X, U)
    with pytest.raises(ValueError, match=r"wanted those of f\(x\): \(3, 6\)"):
        jacobians.vjp(f)(X, V)
    with pytest.raises(TypeError, match=r"v is int32\[3, 4\]"):
        jacobians.jtj(f)(X, V.astype(int))
    with pytest.raises(TypeError, match=r"v is of bfloat16; wanted the dtypes of x: float32"):
        jacobians.jvp(f)(X, V.astype(jnp.bfloat16))
    with pytest.raises(TypeError, match=r"u is of float16; wanted the dtypes of f\(x\): float32"):
        jacobians.jjt(f)(X, U.astype(jnp.float16))


# --- Estimates: within four standard errors, and the errors themselves of the right size --------

N = 24
A = np.random.default_rng(4).normal(size=(N, N)) / 8 + np.eye(N)
PLACE = jnp.asarray(np.random.default_rng(5).normal(size=(2, N)).astype(np.float32)) / 4


def square(x):
    return jnp.sin(jnp.asarray(A, x.dtype) @ x)


def dense():
    with jax.enable_x64(True):
        return np.asarray(jax.vmap(jax.jacfwd(square))(jnp.asarray(np.asarray(PLACE, float))))


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("frobenius_norm", lambda j: np.linalg.norm(j, axis=(1, 2))),
        ("trace", lambda j: np.trace(j, axis1=1, axis2=2)),
        ("log_determinant", lambda j: np.linalg.slogdet(j)[1]),
    ],
)
def test_estimates(name, exact):
    estimate = jax.jit(getattr(jacobians, name)(square, 64))
    want = exact(dense())
    found = [estimate(PLACE, jax.random.key(k)) for k in range(12)]
    values, errors = np.stack([e.value for e in found]), np.stack([e.error for e in found])
    scores = (values - want) / errors
    assert np.abs(scores).max() < 4.5
    assert 0.5 < np.sqrt(np.mean(scores**2)) < 1.6
    fewer = jax.jit(getattr(jacobians, name)(square, 16))(PLACE, jax.random.key(0))
    np.testing.assert_allclose(fewer.error / errors.mean(0), 2, rtol=0.6)


def test_exact_estimates():
    def diagonal(x):
        return x * jnp.arange(1.0, 5.0)

    x = jnp.ones((1, 4))
    for name, want in [("trace", 10.0), ("frobenius_norm", 30**0.5)]:
        found = getattr(jacobians, name)(diagonal, 4)(x)
        np.testing.assert_allclose(found.value, [want], rtol=1e-6)
        np.testing.assert_allclose(found.error, [0], atol=1e-6)
    found = jacobians.log_determinant(diagonal, 4)(x)
    np.testing.assert_allclose(found.value, [np.log(24)], rtol=1e-5)


def test_a_singular_jacobian_has_no_determinant():
    found = jacobians.log_determinant(lambda x: 0 * x, 4)(jnp.ones((1, 5)))
    assert jnp.isneginf(found.value).all()
    assert jnp.isposinf(found.error).all()
    assert jnp.isposinf(jacobians.condition_number(lambda x: 0 * x)(jnp.ones((1, 5)))).all()


def test_wrong_estimates():
    with pytest.raises(ValueError, match="samples is 1"):
        jacobians.trace(square, 1)
    with pytest.raises(ValueError, match="its Jacobian is 6 by 4; a trace wants a square one"):
        jacobians.trace(f)(X)
    with pytest.raises(ValueError, match=r"steps is 99; wanted 1 \.\.\. 24"):
        jacobians.log_determinant(square, 4, steps=99)(PLACE)
