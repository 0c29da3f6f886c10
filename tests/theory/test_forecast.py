"""Forecasts against their own definitions, exact maps, and finite random networks."""

import math

import jax
import numpy as np
import pytest

from jgrad import theory


@pytest.mark.parametrize("phi", ["elu", jax.nn.hard_tanh])
def test_correlations_against_the_exact_map(phi):
    f = theory.forecast(theory.Plain(phi=phi, depth=12, sigma_w=1.3, sigma_b=0.2, q0=2.0, c0=0.1))
    c, q = 0.1, 2.0
    for layer in range(12):
        assert f.q[layer] == pytest.approx(q, rel=1e-10)
        assert f.apart[layer] == pytest.approx(1 - c, rel=1e-4)
        c = theory.correlation_map(phi, 1.3, 0.2, q=q)(c)
        q = theory.variance_map(phi, 1.3, 0.2)(q)


def test_gains_add_up():
    f = theory.forecast(theory.Plain(phi="silu", depth=9, sigma_w=1.4, sigma_b=0.3))
    assert math.isnan(f.linear_log_gain[0])
    assert f.linear_log_gain[1:] == pytest.approx(math.log(1.4), rel=1e-12)
    assert f.total_log_gain == pytest.approx(f.gradient_log_norm[0] + f.log_gain[-1], rel=1e-12)


def test_beyond_float64_the_logarithms_go_on():
    f = theory.forecast(theory.Plain(phi="relu", depth=1000, sigma_w=0.5, q0=1.0))
    assert f.q[-1] == 0
    assert f.log_q[-1] == pytest.approx(999 * math.log(0.125), rel=1e-12)
    assert f.total_log_gain == pytest.approx(1000 * 0.5 * math.log(0.5) + 999 * math.log(0.5))


def test_layer_norm_does_not_subtract_the_mean_but_batch_norm_does():
    m = theory.moments("relu")
    layer = theory.forecast(theory.LayerNorm(phi="relu", depth=2, sigma_w=0.3))
    batch = theory.forecast(theory.BatchNorm(phi="relu", depth=2))
    assert 2 * layer.layer_log_gain[0] == pytest.approx(
        math.log(m.correlation_slope_at_one), abs=1e-12
    )
    assert 2 * batch.layer_log_gain[0] == pytest.approx(math.log(m.batch_norm_rate), rel=1e-12)


def test_batch_norm_at_small_batch_against_sampling():
    rng = np.random.default_rng(0)
    B = 6
    h = rng.normal(size=(200_000, B))
    h -= h.mean(1, keepdims=True)
    y = h * math.sqrt(B) / np.linalg.norm(h, axis=1, keepdims=True)
    d, f, G = 1 - np.tanh(y) ** 2, np.tanh(y), np.eye(B) - 1 / B
    apart = (f**2).mean() - ((f.sum(1) ** 2 - (f**2).sum(1)) / (B * (B - 1))).mean()
    P = G - y[:, :, None] * y[:, None, :] / B
    trace = np.einsum("nij,nj,ji,ni->n", P, d, G, d).mean()
    expected = B / ((B - 3) * apart) * trace / (B - 1)
    assert theory.batch_norm_rate("tanh", B) == pytest.approx(expected, rel=5e-3)


def test_finite_width_and_residual_blocks_against_a_random_network():
    rng = np.random.default_rng(1)
    n, depth, nets = 300, 6, 30
    network = theory.Residual(phi="tanh", depth=depth, sigma_w=1.5, scale=0.7, q0=1.0)
    f = theory.forecast(network)
    found = []
    for _ in range(nets):
        x, slopes, weights = rng.normal(size=n), [], []
        for _ in range(depth):
            w = 1.5 * rng.normal(size=(n, n)) / math.sqrt(n)
            slopes.append(1 - np.tanh(x) ** 2)
            weights.append(w)
            x = x + 0.7 * w @ np.tanh(x)
        g = rng.normal(size=n)
        top = np.linalg.norm(g)
        for w, d in zip(weights[::-1], slopes[::-1], strict=True):
            g = g + 0.7 * d * (w.T @ g)
        found.append(math.log(np.linalg.norm(g) / top))
    error = np.std(found) / math.sqrt(nets)
    assert abs(np.mean(found) - f.layer_log_gain.sum()) < 4 * error + 0.02
    assert np.mean(x**2) == pytest.approx(f.q[-1] + 0.49 * 2.25 * 0.5, rel=0.4)


def test_recurrent_exponent_is_half_the_log_of_chi():
    f = theory.forecast(theory.Recurrent(phi="tanh", steps=200, sigma_w=1.6, sigma_u=0.3))
    point = theory.fixed_point("tanh", 1.6, 0.3)
    assert f.lyapunov_exponent == pytest.approx(0.5 * math.log(point.chi1), rel=1e-9)


def test_orthogonal_weights_spread_less():
    given = {"phi": "tanh", "depth": 20, "sigma_w": 1.05, "sigma_b": 0.0045, "width": 400.0}
    loose = theory.forecast(theory.Plain(**given))
    tight = theory.forecast(theory.Plain(**given, weights="orthogonal"))
    assert loose.jacobian_variance - tight.jacobian_variance == pytest.approx(20)
    assert tight.log_largest_singular_value < loose.log_largest_singular_value
    assert tight.gradient_log_spread[0] < loose.gradient_log_spread[0]


def test_what_is_no_network():
    with pytest.raises(TypeError, match="Plain, Residual"):
        theory.forecast("tanh")
    with pytest.raises(ValueError, match="keep"):
        theory.forecast(theory.Plain(phi="relu", depth=3, keep=0.0))
    with pytest.raises(ValueError, match="depth"):
        theory.forecast(theory.Plain(phi="relu", depth=0))
    with pytest.raises(ValueError, match="batch 4"):
        theory.batch_norm_rate("relu", 3)
