"""The assertion that gradients flow fails where they do not, and says where."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jgrad import testing

pytestmark = pytest.mark.loose_promotion

X = jax.random.normal(jax.random.key(0), (64, 32))


def deep(phi, sigma, depth=12):
    keys = jax.random.split(jax.random.key(1), depth)
    ws = [jax.random.normal(key, (32, 32)) * sigma / 32**0.5 for key in keys]

    def loss(ws, x):
        for w in ws:
            x = phi(x @ w)
        return jnp.mean(x**2)

    return loss, ws


def test_a_healthy_network_passes():
    testing.assert_gradients_flow(*deep(jnp.tanh, 1.1, depth=4), X)


def test_a_vanishing_gradient_fails_unless_allowed():
    args = (*deep(jax.nn.sigmoid, 1.0), X)
    with pytest.raises(AssertionError, match="the gradient does not flow:\\n- vanishing"):
        testing.assert_gradients_flow(*args)
    testing.assert_gradients_flow(*args, allow=("vanishing",))


def test_leaves_without_a_gradient_are_named():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.used = nnx.Linear(32, 32, rngs=rngs)
            self.idle = nnx.Linear(32, 32, rngs=rngs)

        def __call__(self, x):
            return jnp.tanh(self.used(x))

    with pytest.raises(AssertionError, match=r"idle/kernel\S*: its gradient is 0") as told:
        testing.assert_gradients_flow(lambda net, x: jnp.mean(net(x) ** 2), Net(nnx.Rngs(0)), X)
    assert "used" not in str(told.value)


def test_what_is_not_finite_is_counted():
    def loss(w, x):
        return jnp.sum(jnp.tanh(x @ w["a"])) + jnp.sum(jnp.sqrt(w["b"]))

    params = {"a": jnp.eye(32), "b": jnp.zeros(3)}
    with pytest.raises(AssertionError, match="b: 3 of 3 numbers of its gradient are not finite"):
        testing.assert_gradients_flow(loss, params, X)


def test_an_unknown_symptom_is_refused():
    with pytest.raises(ValueError, match=r"unknown symptom 'vanish'.*did you mean 'vanishing'"):
        testing.assert_gradients_flow(*deep(jnp.tanh, 1.0, 2), X, allow=("vanish",))
