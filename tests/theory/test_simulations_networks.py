"""Every kind of network that `forecast` knows but Transformers, drawn, probed, beside it."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import activations, diagnosis, inits, probes, theory

pytestmark = pytest.mark.slow

WIDTH, DEPTH, NETS = 256, 8, 24


def weights(key, shape=(WIDTH, WIDTH)):
    return inits.get("lecun_normal")(key, shape, jnp.float32)


def centred(z, axis):
    z = z - z.mean(axis, keepdims=True)
    return z / jnp.sqrt((z * z).mean(axis, keepdims=True))


def chain(phi, layer):
    """z of the first layer is given; `layer` (key, φ(z)) -> z of the next."""

    def network(key, z):
        phi_ = activations.get(phi)
        for k in jax.random.split(key, DEPTH)[1:]:
            z = layer(k, phi_(z))
        return phi_(z)

    return network


def dense(scale, bias, keep=1.0):
    def layer(key, a):
        of_w, of_b, of_mask = jax.random.split(key, 3)
        if keep < 1:
            a = jnp.where(jax.random.bernoulli(of_mask, keep, a.shape), a / keep, 0.0)
        return scale * a @ weights(of_w) + bias * jax.random.normal(of_b, (1, WIDTH))

    return layer


def convolution(scale, bias):
    """Over a ring of positions, 3 wide; as a real network would, by lax's convolution."""

    def layer(key, a):
        of_w, of_b = jax.random.split(key)
        around = jnp.concatenate([a[:, -1:], a, a[:, :1]], axis=1)
        z = jax.lax.conv_general_dilated(
            around,
            scale * weights(of_w, (3, WIDTH, WIDTH)),
            (1,),
            "VALID",
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return z + bias * jax.random.normal(of_b, (1, 1, WIDTH))

    return layer


def residual(branch, scale, sigma_w, sigma_v):
    def network(key, x):
        for k in jax.random.split(key, DEPTH):
            of_w, of_v = jax.random.split(k)
            if branch == "one":
                x = x + scale * sigma_w * jnp.tanh(x) @ weights(of_w)
            else:
                h = jnp.tanh(sigma_w * x @ weights(of_w))
                x = x + scale * sigma_v * h @ weights(of_v)
        return x

    return network


def recurrent(sigma_w, sigma_u):
    """One W for all steps, and inputs that vary."""

    def network(key, z):
        of_w, of_u = jax.random.split(key)
        w = sigma_w * weights(of_w)
        for k in jax.random.split(of_u, DEPTH)[1:]:
            z = jnp.tanh(z) @ w + sigma_u * jax.random.normal(k, z.shape)
        return jnp.tanh(z)

    return network


def batch(size):
    return lambda key: centred(jax.random.normal(key, (size, WIDTH)), 0)


def inputs(*shape, q=1.0):
    return lambda key: math.sqrt(q) * jax.random.normal(key, (*shape, WIDTH))


def layer_norm(key, a):
    return centred(dense(1.3, 0.4)(key, a), -1)


def batch_norm(key, a):
    return centred(dense(1.0, 0.0)(key, a), 0)


PLAIN = functools.partial(theory.Plain, depth=DEPTH, width=float(WIDTH))
CASES = {
    "dense": (
        PLAIN(phi="elu", sigma_w=1.2, sigma_b=0.3, q0=1.5),
        chain("elu", dense(1.2, 0.3)),
        inputs(4, q=1.5),
    ),
    "dropout": (
        PLAIN(phi="tanh", sigma_w=1.4, sigma_b=0.2, keep=0.7, q0=1.0),
        chain("tanh", dense(1.4, 0.2, 0.7)),
        inputs(4),
    ),
    "convolution": (
        PLAIN(phi="silu", sigma_w=1.7, sigma_b=0.2, q0=1.0),
        chain("silu", convolution(1.7, 0.2)),
        inputs(2, 12),
    ),
    "recurrent": (
        theory.Recurrent(phi="tanh", steps=DEPTH, sigma_w=1.6, sigma_u=0.5, q0=1.0),
        recurrent(1.6, 0.5),
        inputs(4),
    ),
    "residual, one": (
        theory.Residual(phi="tanh", depth=DEPTH, sigma_w=1.5, scale=0.5),
        residual("one", 0.5, 1.5, 1.0),
        inputs(4),
    ),
    "residual, two": (
        theory.Residual(phi="tanh", depth=DEPTH, sigma_w=1.3, sigma_v=0.8, scale=0.9, branch="two"),
        residual("two", 0.9, 1.3, 0.8),
        inputs(4),
    ),
    "layer norm": (
        theory.LayerNorm(phi="relu", depth=DEPTH, sigma_w=1.3, sigma_b=0.4),
        chain("relu", layer_norm),
        inputs(4),
    ),
    "batch norm": (
        theory.BatchNorm(phi="relu", depth=DEPTH, batch=32),
        chain("relu", batch_norm),
        batch(32),
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_drawn_network_beside_its_forecast(kind):
    described, network, start = CASES[kind]

    def loss(z, key, towards):
        return jnp.sum(network(key, z) * towards)

    def one(key):
        of_net, of_start, of_end = jax.random.split(key, 3)
        z = start(of_start)
        return probes.gradient_flow(loss)(z, of_net, jax.random.normal(of_end, z.shape))

    flow = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(11), NETS))
    compared = diagnosis.compare(theory.forecast(described), flow)
    q = np.asarray(flow.profile("z_second"), np.float64).mean(0)
    assert q == pytest.approx(theory.forecast(described).q, rel=0.06)
    # A norm of a batch is at its fixed point only after some layers.
    settled = slice(3 if kind == "batch norm" else 1, None)
    for off, error in (
        (compared.difference, compared.standard_error),
        (compared.linear_difference, compared.linear_standard_error),
    ):
        assert (np.abs(off) < 4 * error + 0.015)[settled].all(), (kind, off, error)
