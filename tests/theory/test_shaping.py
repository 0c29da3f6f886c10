"""Shaped activations have the properties asked for; infeasible wishes are refused."""

import jax.numpy as jnp
import pytest

from jgrad import activations, theory


def test_dks_conditions_hold():
    depth, zeta = 30, 1.8
    m = theory.moments(theory.dks("elu", depth, zeta))
    assert m.second == pytest.approx(1, rel=1e-8)
    assert m.mean == pytest.approx(0, abs=1e-8)
    assert m.slope_second == pytest.approx(zeta ** (1 / depth), rel=1e-8)
    shaped = theory.dks("elu", depth, zeta)
    layer = theory.variance_map(shaped, 1.0)
    assert (layer(1 + 1e-4) - layer(1 - 1e-4)) / 2e-4 == pytest.approx(1, rel=1e-6)


def test_tat_conditions_hold():
    depth, tau = 40, 0.25
    shaped = theory.tat("silu", depth, tau)
    m = theory.moments(shaped)
    assert (m.second, m.slope_second) == pytest.approx((1, 1), rel=1e-8)
    bend = theory.moments(activations.slope(shaped)).slope_second
    assert bend == pytest.approx(tau / depth, rel=1e-7)
    x = jnp.array([0.3, -2.0], jnp.bfloat16)
    assert shaped(x).dtype == x.dtype


def test_infeasible():
    with pytest.raises(ValueError, match="infeasible for identity"):
        theory.dks("identity", 50)
    with pytest.raises(ValueError, match="trelu_slope"):
        theory.tat("relu", 50)
    with pytest.raises(ValueError, match=r"infeasible: the ReLU itself .* 0\.8715"):
        theory.trelu_slope(10)
    for call in (lambda: theory.dks("tanh", 0), lambda: theory.dks("tanh", 5, 1.0)):
        with pytest.raises(ValueError, match=r"depth|zeta"):
            call()
    with pytest.raises(ValueError, match="Fixup"):
        theory.fixup_scale(4, 1)
