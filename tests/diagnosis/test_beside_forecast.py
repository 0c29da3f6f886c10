"""Measured against predicted."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_by_hand import hand

from jgrad import diagnosis, inits, probes, theory


def constant(depth, activation, linear):
    return SimpleNamespace(
        log_gain=np.full(depth, activation), linear_log_gain=np.full(depth, linear)
    )


def test_differences_in_standard_errors_by_hand():
    flow = hand("relu", depth=6, gain=1.3, seeds=5)
    compared = diagnosis.compare(constant(6, -0.3, 0.25), flow)
    gains = flow.values["log_gain"]
    for i in range(6):
        mean = sum(gains[:, i]) / 5
        deviation = math.sqrt(sum((g - mean) ** 2 for g in gains[:, i]) / 4)
        assert compared.difference[i] == pytest.approx(mean + 0.3)
        assert compared.z[i] == pytest.approx((mean + 0.3) / (deviation / math.sqrt(5)))
    assert np.isnan(compared.linear_difference[0])
    assert compared.linear_difference[3] == pytest.approx(
        flow.values["linear_log_gain"][:, 3].mean() - 0.25
    )
    assert compared.measured_rate == pytest.approx(
        (flow.values["log_dz"][:, 0] - flow.values["log_da"][:, -1]).mean() / 6
    )
    assert compared.predicted_rate == pytest.approx((6 * -0.3 + 5 * 0.25) / 6)


def test_the_right_theory_is_within_its_errors_and_a_wrong_one_is_not():
    """ReLU at σ_w: φ' keeps half of the squared norm, the weights multiply it by σ_w²."""
    depth, gain = 12, 1.5
    flow = hand("relu", depth=depth, gain=gain, width=200, seeds=8)
    right = diagnosis.compare(constant(depth, -0.5 * math.log(2), math.log(gain)), flow)
    # The median over positions of |z|, for a standard normal, is 0.67.
    assert np.median(np.abs(right.linear_z[1:])) < 2.0
    wrong = diagnosis.compare(constant(depth, -0.5 * math.log(2), math.log(gain) + 0.3), flow)
    assert np.median(np.abs(wrong.linear_z[1:])) > 5.0
    assert "± 0.0" in str(right)


def test_a_single_run_has_no_standard_error():
    compared = diagnosis.compare(constant(3, 0.0, 0.0), hand("tanh", depth=3))
    assert np.isnan(compared.z).all()
    assert "±" not in str(compared)


def test_a_forecast_of_another_depth_is_refused():
    with pytest.raises(ValueError, match="forecast is of 4 layers, the flow's main path has 3"):
        diagnosis.compare(constant(4, 0.0, 0.0), hand("tanh", depth=3))


def test_theory_beside_the_probe_on_real_networks():
    """Forecast and flow of orthogonal tanh nets: most layers within their standard errors."""
    depth, width, sigma_w = 8, 160, 1.5

    def loss(x, key):
        for k in jax.random.split(key, depth):
            x = jnp.tanh(inits.orthogonal(sigma_w)(k, (width, width), jnp.float32) @ x)
        return jnp.sum(x * jax.random.normal(key, (width,)))

    def of_seed(key):
        inner, outer = jax.random.split(key)
        return probes.gradient_flow(loss)(jax.random.normal(outer, (width,)), inner)

    flow = jax.jit(jax.vmap(of_seed))(jax.random.split(jax.random.key(4), 24))
    given = {"phi": "tanh", "depth": depth, "weights": "orthogonal"}
    compared = diagnosis.compare(theory.forecast(theory.Plain(**given, sigma_w=sigma_w)), flow)
    assert compared.names == tuple(flow.profile_names())
    assert np.abs(compared.difference).max() < 0.02
    assert np.median(np.abs(compared.z)) < 2.0
    assert np.abs(compared.linear_difference[1:]).max() < 0.02
    wrong = diagnosis.compare(theory.forecast(theory.Plain(**given, sigma_w=1.7)), flow)
    assert np.median(np.abs(wrong.linear_z[1:])) > 5.0
    assert abs(compared.measured_rate - compared.predicted_rate) < 3 * compared.rate_standard_error
