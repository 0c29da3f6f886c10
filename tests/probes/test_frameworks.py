"""Flax NNX and Linen, Haiku, Equinox: names as their users know them, gradients as their own."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jgrad import probes

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

X = jax.random.normal(jax.random.key(0), (5, 3))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.up = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return nnx.gelu(self.up(x))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.blocks = nnx.List([Block(rngs), Block(rngs)])
        self.drop = nnx.Dropout(0.3, rngs=rngs)

    def __call__(self, x):
        x = self.drop(nnx.relu(self.norm(self.first(x))))
        for block in self.blocks:
            x = x + block(x)
        return x


def mean_square(model, x):
    return jnp.mean(model(x) ** 2)


def values_of(module):
    leaves = jax.tree.leaves(nnx.state(module))
    return [
        jax.random.key_data(v) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v
        for v in leaves
    ]


def test_an_nnx_module_is_treated_as_nnx_does():
    mine, theirs = Net(nnx.Rngs(0)), Net(nnx.Rngs(0))
    value, grads, flow = nnx.jit(probes.value_grad_and_flow(mean_square))(mine, X)
    plain_value, plain_grads = nnx.jit(nnx.value_and_grad(mean_square))(theirs, X)
    assert isinstance(grads, nnx.State)
    assert jax.tree.structure(grads) == jax.tree.structure(plain_grads)
    np.testing.assert_allclose(value, plain_value, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(plain_grads), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    # Batch statistics and random streams went on alike.
    for a, b in zip(values_of(mine), values_of(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert [(s.key, s.activation) for s in flow.sites] == [
        ("Net", "relu"),
        ("Net/blocks/0", "gelu_tanh"),
        ("Net/blocks/1", "gelu_tanh"),
    ]


class Head(nnx.Module):
    def __init__(self, rngs):
        dense = nnx.Linear(3, 4, rngs=rngs)
        self.dense = nnx.SpectralNorm(dense, rngs=rngs)  # which writes to dense's kernel

    def __call__(self, x):
        return jnp.tanh(self.dense(x, update_stats=True))


def test_whatever_has_variables_is_treated_as_nnx_does():
    def loss(nets, rngs, average, x):
        out = nets["head"](x) * jax.random.bernoulli(rngs(), 0.5, (4,)) * nets["scale"]
        value = jnp.mean(nets["again"](out) ** 2) + jnp.mean(nets["tail"](out))
        average.update(values=value)
        return value

    def after(value_and_grad):
        tail = nnx.Linear(4, 2, rngs=nnx.Rngs(1))
        nets = {"head": Head(nnx.Rngs(0)), "tail": tail, "again": tail, "scale": jnp.full(4, 0.5)}
        rngs, average = nnx.Rngs(2), nnx.metrics.Average()
        value, grads, *_ = value_and_grad(loss)(nets, rngs, average, X)
        return value, grads, nnx.state((nets, rngs, average))

    mine, theirs = after(probes.value_grad_and_flow), after(nnx.value_and_grad)
    assert jax.tree.structure(mine) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_an_nnx_module_without_jit():
    mine, theirs = Net(nnx.Rngs(1)), Net(nnx.Rngs(1))
    _, _, flow = probes.value_grad_and_flow(mean_square)(mine, X)
    nnx.value_and_grad(mean_square)(theirs, X)
    for a, b in zip(values_of(mine), values_of(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert len(flow) == 3


def test_calls_of_nnx_classes_are_put_back():
    before = Net.__call__, nnx.BatchNorm.__call__
    probes.sites(mean_square)(Net(nnx.Rngs(0)), X)
    assert (Net.__call__, nnx.BatchNorm.__call__) == before


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(4, name="up")(x))
        return nn.Sequential([nn.Dense(4), nn.silu])(x)


def test_linen_paths():
    model = Linen()
    params = model.init(jax.random.key(0), X)
    found = probes.sites(lambda p, x: jnp.mean(model.apply(p, x) ** 3))(params, X)
    assert [s.activation for s in found] == ["relu", "silu"]
    assert [s.path for s in found] == ["Linen", "Linen/Sequential_0"]


def test_haiku_paths():
    def forward(x):
        mlp = hk.nets.MLP([4, 4, 2], activation=jnp.tanh, name="body")
        return jnp.mean(mlp(x) ** 3)

    model = hk.without_apply_rng(hk.transform(forward))
    params = model.init(jax.random.key(0), X)
    found = probes.sites(model.apply)(params, X)
    assert [s.activation for s in found] == ["tanh", "tanh"]
    assert all("body" in s.path for s in found)


class Layer(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return jax.nn.silu(self.weight @ x)


class Stack(eqx.Module):
    layers: list

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_equinox_class_names():
    net = Stack([Layer(jax.random.normal(jax.random.key(k), (3, 3))) for k in range(2)])

    def loss(m, x):
        return jnp.sum(jax.vmap(m)(x))

    value, grads, flow = jax.jit(probes.value_grad_and_flow(loss))(net, X)
    plain = jax.jit(jax.value_and_grad(loss))(net, X)
    assert [s.path for s in flow.sites] == ["Stack/Layer", "Stack/Layer"]
    np.testing.assert_allclose(value, plain[0], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(plain[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
