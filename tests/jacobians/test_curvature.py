import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jgrad import jacobians


def loss(p, a):
    return jnp.sum(jnp.tanh(p["w"] @ a + p["b"]) ** 2)


@pytest.fixture(name="at")
def _at():
    generator = np.random.default_rng(0)
    p = {
        "w": jnp.asarray(generator.normal(size=(7, 5)).astype(np.float32)),
        "b": jnp.ones(7),
    }
    return p, jnp.linspace(-1.0, 1.0, 5)


def eigenvalues(p, a):
    with jax.enable_x64(True):
        p = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float)), p)
        flat, unravel = ravel_pytree(p)
        a = jnp.asarray(np.asarray(a, float))
        return np.linalg.eigvalsh(jax.hessian(lambda v: loss(unravel(v), a))(flat))[::-1]


@pytest.mark.parametrize("smallest", [False, True])
def test_against_numpy_and_within_the_bound(at, smallest):
    found = jax.jit(jacobians.hessian_eigenvalues(loss, 3, smallest=smallest))(*at)
    want = eigenvalues(*at)[-3:] if smallest else eigenvalues(*at)[:3]
    assert (np.abs(found.value - want) <= found.error).all()
    np.testing.assert_allclose(found.value, want, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("smallest", [False, True])
def test_more_parameters_than_steps(smallest):
    generator = np.random.default_rng(3)
    p = {"w": jnp.asarray(generator.normal(size=(25, 5)).astype(np.float32)), "b": jnp.ones(25)}
    a = jnp.linspace(-1.0, 1.0, 5)
    found = jax.jit(jacobians.hessian_eigenvalues(loss, 2, smallest=smallest))(p, a)
    want = eigenvalues(p, a)[-2:] if smallest else eigenvalues(p, a)[:2]
    assert (np.abs(found.value - want) <= found.error).all()
    np.testing.assert_allclose(found.value, want, rtol=1e-5)


def test_sharpness_bounds_the_learning_rate():
    """Gradient descent on a quadratic: 2/λ is where it turns from shrinking to growing."""
    h = np.diag([4.0, 1.5, 0.3]).astype(np.float32)

    def quadratic(w):
        return 0.5 * w @ jnp.asarray(h) @ w

    w = jnp.array([1.0, -2.0, 0.5])
    bound = float(jacobians.max_stable_learning_rate(quadratic)(w))
    assert bound == pytest.approx(0.5, rel=1e-5)
    for rate, shrinks in [(0.99 * bound, True), (1.01 * bound, False)]:
        v = np.array(w, float)
        for _ in range(2000):
            v = v - rate * (h @ v)
        assert (np.abs(v).max() < 1e-3) == shrinks


def test_nowhere_convex_and_nan():
    rate = jacobians.max_stable_learning_rate
    assert jnp.isinf(rate(lambda w: -jnp.sum(w**2))(jnp.ones(3)))
    assert jnp.isnan(rate(lambda w: jnp.sum(jnp.sin(w)))(jnp.array([1.0, jnp.nan])))


def test_under_vmap(at):
    p, a = at
    some = jnp.stack([a, 2 * a])
    got = jax.jit(jax.vmap(jacobians.sharpness(loss), (None, 0)))(p, some)
    np.testing.assert_allclose(got, [eigenvalues(p, a)[0], eigenvalues(p, 2 * a)[0]], rtol=1e-5)


def test_wrong_input(at):
    p, a = at
    with pytest.raises(ValueError, match=r"the loss is \(7,\); wanted a scalar"):
        jacobians.sharpness(lambda p, a: p["b"])(p, a)
    with pytest.raises(ValueError, match="number of parameters"):
        jacobians.hessian_eigenvalues(loss, 43)(p, a)
    with pytest.raises(TypeError, match=r"params\[b\] is int32\[7\]"):
        jacobians.sharpness(loss)({**p, "b": jnp.ones(7, int)}, a)
