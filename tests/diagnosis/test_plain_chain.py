"""Theory beside a plain chain: right where it is one, silent where it is none, and a cure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import diagnosis, probes, theory

pytestmark = pytest.mark.loose_promotion

DEPTH, WIDTH = 8, 256


def weights(sigma, depth=DEPTH):
    keys = jax.random.split(jax.random.key(0), depth)
    return jnp.stack([jax.random.normal(k, (WIDTH, WIDTH)) for k in keys]) * sigma / WIDTH**0.5


X = jax.random.normal(jax.random.key(1), (64, WIDTH))
OUT = jax.random.normal(jax.random.key(2), (64, WIDTH))


def deep(phi):
    # The gradient that enters is random, as theory wants it.
    def loss(ws, x):
        for w in ws:
            x = phi(x @ w)
        return jnp.sum(x * OUT)

    return loss


def scanned(ws, x):
    x, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, ws)
    return jnp.sum(x * OUT)


def said_of(loss, ws):
    flow = jax.jit(probes.gradient_flow(loss))(ws, X)
    return diagnosis.chain(loss, (ws, X), flow), flow


@pytest.mark.parametrize("sigma", [0.8, 1.7])
def test_it_is_what_is_measured(sigma):
    said, flow = said_of(deep(jax.nn.elu), list(weights(sigma)))
    np.testing.assert_allclose(said.log_gain, flow.profile("log_gain"), atol=0.03)
    np.testing.assert_allclose(said.linear_log_gain, flow.profile("linear_log_gain"), atol=0.03)
    np.testing.assert_allclose(said.sigma_w, sigma, rtol=0.01)


def test_the_critical_scale_mends_it():
    loss = deep(lambda z: jax.nn.leaky_relu(z, 0.3))
    said, flow = said_of(loss, list(weights(0.7)))
    assert float(flow.total_log_gain) < -4
    np.testing.assert_allclose(said.critical, np.sqrt(2 / (1 + 0.3**2)), rtol=1e-6)
    assert "σ_w = 0.70; critical for leaky_relu(negative_slope=0.3)" in str(said)
    mended, flow = said_of(loss, list(weights(0.7) * said.critical / said.sigma_w))
    linear = np.nansum(flow.profile("linear_log_gain")) + flow.profile("log_gain").sum()
    assert abs(float(linear)) / DEPTH < 0.06
    assert "which is critical" in str(mended)


def test_a_scan_over_depth_is_a_chain_too():
    said, flow = said_of(scanned, weights(1.3))
    np.testing.assert_allclose(said.log_gain, flow.profile("log_gain"), atol=0.03)
    assert said.activation == "tanh"
    assert said.critical == pytest.approx(theory.critical("tanh", 0.0)[0][0])


def residual(ws, x):
    for w in ws:
        x = x + jnp.tanh(x @ w)
    return jnp.sum(jnp.tanh(x @ ws[0]) * OUT)


def normed(ws, x):
    for w in ws:
        h = x @ w
        x = jnp.tanh(h * jax.lax.rsqrt(jnp.mean(h**2, -1, keepdims=True)))
    return jnp.sum(x * OUT)


def recurrent(ws, x):
    h, _ = jax.lax.scan(lambda h, x: (jnp.tanh(h @ ws[0] + x @ ws[1]), None), x, x[:4, None])
    return jnp.sum(h * OUT)


def nameless(ws, x):
    for w in ws:
        x = x @ w
        x = x * jnp.exp(-(x**2)) + 0.1 * x
    return jnp.sum((x @ ws[0]) * OUT)


@pytest.mark.parametrize("loss", [residual, normed, recurrent, nameless])
def test_of_anything_else_nothing_is_said(loss):
    said, _ = said_of(loss, list(weights(1.0, 3)))
    assert said is None


def test_a_learnt_slope_is_not_taken_for_the_usual_one():
    def loss(params, x):
        w, slope = params
        x = x @ w
        return jnp.sum(jnp.where(x > 0, x, slope * x) * OUT)

    said, _ = said_of(loss, (weights(1.0, 1)[0], jnp.float32(0.25)))
    assert said is None


def test_the_narrowest_place():
    def loss(ws, x):
        x = jnp.tanh(jnp.tanh(3 * x @ ws[0]) @ ws[1])
        return jnp.sum(x * OUT)

    _, flow = said_of(loss, list(weights(1.0, 2)))
    first = next(iter(flow))
    share = np.exp(float(flow[first].log_gain))
    assert diagnosis.narrowest(flow) == (
        f"{first} (tanh) passes on the least of the gradient, {share:.2f} of its norm; "
        f"its rms slope is {float(jnp.sqrt(flow[first].slope_second)):.2g}."
    )
