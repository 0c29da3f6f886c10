"""Layer Jacobians are the chain rule's factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import probes

pytestmark = pytest.mark.loose_promotion


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


A, B, C, X = normal(0, 4, 3), normal(1, 5, 4), normal(2, 2, 5), normal(3, 3)


def net(a, b, c, x):
    return jnp.sum(jax.nn.elu(c @ jnp.tanh(b @ jnp.tanh(a @ x))) * jnp.array([1.0, -2.0]))


def test_they_are_weights_times_slopes():
    first, second = probes.layer_jacobians(net)(A, B, C, X)
    z1 = A @ X
    z2 = B @ jnp.tanh(z1)
    want = np.asarray(B) * (1 - np.tanh(np.asarray(z1)) ** 2)
    np.testing.assert_allclose(first.dense(), want, rtol=1e-5, atol=1e-6)
    want = np.asarray(C) * (1 - np.tanh(np.asarray(z2)) ** 2)
    np.testing.assert_allclose(second.dense(), want, rtol=1e-5, atol=1e-6)
    u, v = normal(4, 2), normal(5, 5)
    np.testing.assert_allclose(second.jvp(v), want @ v, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.vjp(u), want.T @ u, rtol=1e-4, atol=1e-5)
    assert second.source == first.target


def test_a_skip_is_part_of_the_map():
    def residual(a, x):
        x = x + jnp.tanh(a @ x)
        return jnp.sum(jax.nn.sigmoid(2 * x) ** 3)

    a = normal(6, 3, 3)
    (jacobian,) = probes.layer_jacobians(residual)(a, X)
    # x is held; only what goes through the first site's input moves.
    want = 2 * np.diag(1 - np.tanh(np.asarray(a @ X)) ** 2)
    np.testing.assert_allclose(jacobian.dense(), want, rtol=1e-5, atol=1e-6)


def test_inside_a_scan_it_says_what_to_do():
    def scanned(ws, x):
        x, _ = jax.lax.scan(lambda h, w: (jnp.tanh(w @ h), None), x, ws)
        return jnp.sum(jax.nn.sigmoid(x))

    with pytest.raises(ValueError, match="write the loop out"):
        probes.layer_jacobians(scanned)(normal(7, 4, 3, 3), X)
