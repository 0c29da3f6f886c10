"""A rewritten function is the model edited by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import activations, probes

pytestmark = pytest.mark.loose_promotion

X = jax.random.normal(jax.random.key(0), (5, 4))
WS = jax.random.normal(jax.random.key(1), (3, 4, 4))


def model(phi, ws, x):
    x, _ = jax.lax.scan(lambda h, w: (phi(h @ w), None), x, ws)
    return jnp.sum(jax.nn.sigmoid(x @ ws[0]) * X)


def relu_net(ws, x):
    return model(jax.nn.relu, ws, x)


def same_as(rewritten, phi):
    wanted = jax.jit(jax.value_and_grad(lambda ws: model(phi, ws, X)))(WS)
    got = jax.jit(jax.value_and_grad(lambda ws: rewritten(ws, X)))(WS)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_by_name():
    same_as(probes.rewrite(relu_net, {"relu": "gelu"}), activations.get("gelu"))


def test_by_function():
    same_as(probes.rewrite(relu_net, {"relu": jnp.sin}), jnp.sin)


def test_by_rule():
    def rule(site):
        return "tanh" if site.steps else None

    same_as(probes.rewrite(relu_net, rule), jnp.tanh)


def test_by_glob():
    key = probes.sites(relu_net)(WS, X)[0].key
    same_as(probes.rewrite(relu_net, {key[:-2] + "*": jnp.tanh, "sigmoid": "sigmoid"}), jnp.tanh)


def test_a_skip_around_it():
    same_as(
        probes.rewrite(relu_net, {"relu": probes.skip(0.5)}), lambda z: z + 0.5 * jax.nn.relu(z)
    )


def test_a_normalisation_before_it():
    def normalised(z):
        z = (z - z.mean(-1, keepdims=True)) / jnp.sqrt(z.var(-1, keepdims=True) + 1e-5)
        return jax.nn.relu(z)

    same_as(probes.rewrite(relu_net, {"relu": probes.normalise()}), normalised)


def test_the_identity_rule_changes_no_bit():
    plain = jax.jit(jax.value_and_grad(relu_net))(WS, X)
    rewritten = jax.jit(jax.value_and_grad(probes.rewrite(relu_net, lambda site: None)))(WS, X)
    for a, b in zip(plain, rewritten, strict=True):
        assert (np.asarray(a) == np.asarray(b)).all()


def test_forward_mode_goes_through():
    rewritten = probes.rewrite(relu_net, {"relu": jnp.tanh})
    tangent = jax.jit(lambda ws: jax.jvp(lambda ws: rewritten(ws, X), (ws,), (ws,)))(WS)
    wanted = jax.jit(lambda ws: jax.jvp(lambda ws: model(jnp.tanh, ws, X), (ws,), (ws,)))(WS)
    np.testing.assert_allclose(tangent[1], wanted[1], rtol=1e-5)


def test_a_rewritten_function_is_probed():
    found = probes.sites(probes.rewrite(relu_net, {"relu": "elu"}))(WS, X)
    assert [site.activation for site in found] == ["elu", "sigmoid"]


def test_wrong_rules_are_refused():
    with pytest.raises(ValueError, match=r"matches no site.*'gelu'.*did you mean 'relu'"):
        probes.rewrite(relu_net, {"gelu": "relu"})(WS, X)
    with pytest.raises(ValueError, match="unknown activation 'rleu'"):
        probes.rewrite(relu_net, {"relu": "rleu"})(WS, X)
    with pytest.raises(ValueError, match="shape and dtype must stay"):
        probes.rewrite(relu_net, {"relu": lambda z: z.sum()})(WS, X)


def test_watch_reads_norms_of_any_size():
    params = {"a": jnp.array([3e-30, 4e-30]), "b": jnp.array([[1.0], [2.0]])}
    updates = {"a": jnp.array([0.0, 5e-31]), "b": jnp.zeros((2, 1))}
    scalars = jax.jit(lambda p, u: probes.watch(params=p, updates=u))(params, updates)
    np.testing.assert_allclose(scalars["a/param_norm"], 5e-30, rtol=1e-5)
    np.testing.assert_allclose(scalars["a/update_ratio"], 0.1, rtol=1e-5)
    np.testing.assert_allclose(scalars["total/param_norm"], np.sqrt(5), rtol=1e-6)
    assert float(scalars["b/update_ratio"]) == 0
    clipped = probes.watch(grads=params, clipped=jax.tree.map(lambda g: g / 4, params))
    np.testing.assert_allclose(clipped["total/clipped_share"], 0.75, rtol=1e-6)
    with pytest.raises(ValueError, match="the trees differ"):
        probes.watch(params=params, updates={"a": params["a"]})
