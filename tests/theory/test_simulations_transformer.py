"""Random Transformers as the forecast describes them, simulated and probed."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theory_reference import GROUPS, check

from jgrad import diagnosis, inits, probes, theory

WIDTH, TOKENS, SEEDS = 256, 16, 24


def normed(x):
    x = x - x.mean(-1, keepdims=True)
    return x / x.std(-1, keepdims=True)


def attended(weights, x):
    """Attention with W_Q = 0: the softmax of zeros."""
    scores = (x @ jnp.zeros_like(weights)) @ x.T
    return jax.nn.softmax(scores, -1) @ (x @ weights)


def encoder(norm, depth, key):
    """The function (last W₂, x) -> (loss, second moment of the stream), and its last W₂ and x."""
    keys = jax.random.split(key, 5)
    draw = functools.partial(inits.get("lecun_normal"), shape=(WIDTH, WIDTH), dtype=jnp.float32)
    value, up, down = (jax.vmap(draw)(jax.random.split(k, depth)) for k in keys[:3])
    x, towards = (jax.random.normal(k, (TOKENS, WIDTH)) for k in keys[3:])

    def fed(x, up, down):
        return jax.nn.relu(x @ up) @ down

    def pre(x, of):
        value, up, down = of
        x = x + attended(value, normed(x))
        x = x + fed(normed(x), up, down)
        return x, x

    def post(x, of):
        value, up, down = of
        x = normed(x + attended(value, x))
        out = x + fed(x, up, down)
        return normed(out), out

    def loss(last, x):
        through = {"pre": pre, "post": post}[norm]
        x, _ = jax.lax.scan(through, x, (value[:-1], up[:-1], down[:-1]))
        x, out = through(x, (value[-1], up[-1], last))
        return jnp.sum(normed(x) * towards), jnp.mean(out**2)

    return loss, down[-1], normed(x)


@functools.cache
def measured(norm, depth):
    """Over seeds: mean second moment, ln ‖∂L/∂W₂‖ of the last block, and the flow."""

    def one(key):
        loss, last, x = encoder(norm, depth, key)
        probed = probes.value_grad_and_flow(loss, argnums=(0, 1), has_aux=True)
        (_, q), (of_last, _), flow = probed(last, x)
        return q, jnp.log(jnp.linalg.norm(of_last)), flow

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(depth), SEEDS))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_second_moments_and_last_gradients(norm):
    for case in GROUPS["preln_postln"]["cases"]:
        p = case["params"]
        if p["kind"] != norm:
            continue
        q, log_last, _ = measured(norm, p["L"])
        if "ratio" in p["stat"]:
            check(case, math.exp(np.mean(measured(norm, 6)[1]) - np.mean(log_last)))
        else:
            check(case, float(np.mean(q)))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("depth", [6, 24])
def test_gradients_through_the_blocks(norm, depth):
    flow = measured(norm, depth)[2]
    forecast = theory.forecast(theory.Transformer(depth=depth, tokens=TOKENS, norm=norm))
    compared = diagnosis.compare(forecast, flow)
    for off, error in (
        (compared.difference, compared.standard_error),
        (compared.linear_difference[1:], compared.linear_standard_error[1:]),
    ):
        assert (np.abs(off) < 4 * error + 0.02).all()
    assert abs(compared.measured_rate - compared.predicted_rate) < 0.02
