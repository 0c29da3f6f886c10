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


WS = normal(7, 4, 3, 3) / 2


def by_hand(ws, x):
    """The inputs of the layers, and each one's derivative by the one before."""
    inputs = [ws[0] @ x]
    factors = []
    for w in ws[1:]:
        factors.append(np.asarray(w) * (1 - np.tanh(np.asarray(inputs[-1])) ** 2))
        inputs.append(w @ jnp.tanh(inputs[-1]))
    return inputs, factors


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.checkpoint], ids=["plain", "remat"])
def test_steps_of_a_scan_are_layers(reverse, wrap):
    def scanned(ws, x):
        layer = wrap(lambda h, w: jnp.tanh(w @ h))
        x, _ = jax.lax.scan(lambda h, w: (layer(h, w), None), x, ws, reverse=reverse)
        return jnp.sum(jax.nn.sigmoid(2 * x))

    found = probes.layer_jacobians(scanned)(WS, X)
    order = [3, 2, 1, 0] if reverse else [0, 1, 2, 3]
    inputs, factors = by_hand([WS[k] for k in order], X)
    assert [j.source_step for j in found] == [(k,) for k in order]
    assert [j.target_step for j in found] == [*((k,) for k in order[1:]), ()]
    for jacobian, want, at in zip(found[:-1], factors, inputs, strict=False):
        np.testing.assert_allclose(jacobian.at, at, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(jacobian.dense(), want, rtol=1e-5, atol=1e-6)
    last = 2 * np.diag(1 - np.tanh(np.asarray(inputs[-1])) ** 2)
    np.testing.assert_allclose(found[-1].dense(), last, rtol=1e-5, atol=1e-6)


def test_scans_in_scans_under_jit():
    ws = normal(8, 6, 3, 3) / 2

    def nested(ws, x):
        def outer(h, pair):
            return jax.lax.scan(lambda h, w: (jnp.tanh(w @ h), None), h, pair)[0], None

        return jnp.sum(jax.lax.scan(outer, x, ws.reshape(3, 2, 3, 3))[0])

    @jax.jit
    def dense(ws, x):
        return [j.dense() for j in probes.layer_jacobians(nested)(ws, x)]

    for got, want in zip(dense(ws, X), by_hand(ws, X)[1], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_recurrent_network_through_time():
    """∂z_t/∂z_{t-1} of h_t = tanh(w h_{t-1} + x_t): the same weight at every step."""
    w, xs = normal(9, 3, 3) / 2, normal(10, 5, 3)

    def recurrent(w, xs):
        h, hs = jax.lax.scan(lambda h, x: (jnp.tanh(w @ h + x), h), jnp.zeros(3), xs)
        return jnp.sum(h**3) + jnp.sum(hs)

    found = probes.layer_jacobians(recurrent)(w, xs)
    assert len(found) == 4
    z = xs[0]
    for jacobian, x in zip(found, xs[1:], strict=True):
        want = np.asarray(w) * (1 - np.tanh(np.asarray(z)) ** 2)
        np.testing.assert_allclose(jacobian.dense(), want, rtol=1e-5, atol=1e-6)
        z = w @ jnp.tanh(z) + x


def test_a_branch_must_be_known():
    def branching(a, x):
        z = jax.lax.cond(x[0] > 9, jnp.sin, lambda x: jnp.tanh(a @ x), x)
        return jnp.sum(jax.nn.sigmoid(z))

    a = normal(11, 3, 3)
    (jacobian,) = probes.layer_jacobians(branching)(a, X)
    want = np.diag(1 - np.tanh(np.asarray(a @ X)) ** 2)
    np.testing.assert_allclose(jacobian.dense(), want, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="outside jit, where the branch is known"):
        jax.jit(lambda *args: probes.layer_jacobians(branching)(*args)[0].dense())(a, X)
