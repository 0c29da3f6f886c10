"""Fixed and critical points: by iteration, by finite differences, and where there are none."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import theory


@pytest.mark.parametrize(("phi", "sigma_w", "sigma_b"), [("elu", 1.1, 0.2), ("mish", 1.2, 0.4)])
def test_a_fixed_point_is_where_layers_lead(phi, sigma_w, sigma_b):
    point = theory.fixed_point(phi, sigma_w, sigma_b)
    layer = theory.variance_map(phi, sigma_w, sigma_b)
    q = 1.0
    for _ in range(300):
        q = layer(q)
    assert point.q == pytest.approx(q, rel=1e-9)
    assert point.stable
    step = 1e-4 * q
    slope = (layer(q + step) - layer(q - step)) / (2 * step)
    assert point.chi_q == pytest.approx(slope, rel=1e-6)


def test_the_chaotic_correlation_is_fixed_and_stable():
    point = theory.fixed_point("tanh", 2.5, 0.3)
    step = theory.correlation_map("tanh", 2.5, 0.3, q=point.q)
    assert step(point.c) == pytest.approx(point.c, rel=1e-10)
    slope = (step(point.c + 1e-5) - step(point.c - 1e-5)) / 2e-5
    assert point.chi_c == pytest.approx(slope, rel=1e-7)
    assert point.chi1 > 1 > point.chi_c


@pytest.mark.parametrize("phi", ["gelu", "silu", "mish"])
def test_unstable_points_are_returned_and_marked(phi):
    ((sigma_w, q),) = theory.critical(phi, 0.1)
    point = theory.fixed_point(phi, sigma_w, 0.1, q0=q)
    assert point.q == pytest.approx(q, rel=1e-9)
    assert point.chi1 == pytest.approx(1, rel=1e-9)
    assert point.chi_q > 1
    assert not point.stable
    # From above it layers lead away; it is what there is to return.
    away = theory.fixed_point(phi, sigma_w, 0.1, q0=2 * q)
    assert away.stable is (away.q > 2 * q)


def test_vanishing_variance_is_a_fixed_point():
    point = theory.fixed_point("relu", 1.0)
    assert (point.q, point.chi1, point.stable) == (0.0, pytest.approx(0.5), True)


def test_no_critical_point_says_so():
    for phi, sigma_b in (("softplus", 0.3), ("relu", 0.1), (lambda x: 0.0 * x + 1.0, 0.1)):
        with pytest.raises(ValueError, match=r"no critical point.*The nearest is χ₁ = 0"):
            theory.critical(phi, sigma_b)
    with pytest.raises(ValueError, match="χ₁ is 0 at all of them"):
        theory.critical(lambda x: 0.0 * x, 0.1)


def test_an_activation_whose_averages_overflow_further_out():
    # E exp(√q z)² = exp(2q): χ₁ = 1 at the fixed point q = 1 + σ_b², which is unstable.
    ((sigma_w, q),) = theory.critical("exponential", 0.3)
    assert (sigma_w, q) == pytest.approx((math.exp(-1.09), 1.09), rel=1e-10)
    low = theory.fixed_point("exponential", 0.3, 0.1, q0=0.2)
    assert low.q == pytest.approx(0.09 * math.exp(2 * low.q) + 0.01, rel=1e-10)
    assert low.stable
    assert not theory.fixed_point("exponential", sigma_w, 0.3, q0=q).stable
    with pytest.raises(ValueError, match="variance grows"):
        theory.fixed_point("exponential", 0.5, 0.1)


def test_a_jump_parts_inputs_whatever_the_gradients():
    # E φ(u)φ(v) of sign is 2/π arcsin c; autodiff's slope is 0.
    point = theory.fixed_point(jnp.sign, 1.5, 0.4)
    total = 1.5**2 + 0.4**2
    c = 0.5
    for _ in range(400):
        c = (1.5**2 * 2 / math.pi * math.asin(c) + 0.4**2) / total
    assert point.q == pytest.approx(total, rel=1e-12)
    assert point.c == pytest.approx(c, rel=1e-9)
    slope = 1.5**2 * 2 / math.pi / math.sqrt(1 - c * c) / total
    assert point.chi_c == pytest.approx(slope, rel=1e-6)
    assert point.chi1 == 0


def test_the_largest_critical_correlation_is_still_resolved():
    # Close to the edge 1 - c* is small; it must still be where the exact map crosses.
    ((edge, _),) = theory.critical("elu", 0.2)
    point = theory.fixed_point("elu", edge * 1.0001, 0.2)
    step = theory.correlation_map("elu", edge * 1.0001, 0.2, q=point.q)
    assert 0 < 1 - point.c < 0.01
    assert step(point.c) == pytest.approx(point.c, abs=1e-14)
    # 1 - c itself is known: on either side the map leads back.
    apart = 1 - point.c
    assert step(1 - 1.01 * apart) > 1 - 1.01 * apart
    assert step(1 - 0.99 * apart) < 1 - 0.99 * apart


def test_no_fixed_point_says_so():
    with pytest.raises(ValueError, match="variance grows from layer to layer"):
        theory.fixed_point("relu", 1.6, 0.1)


def test_scales_out_of_range():
    for call in (
        lambda: theory.fixed_point("tanh", -1.0),
        lambda: theory.fixed_point("tanh", 1.0, -0.1),
        lambda: theory.critical("tanh", -0.1),
        lambda: theory.variance_map("tanh", float("inf")),
        lambda: theory.forecast(theory.Plain(phi="tanh", depth=3, sigma_w=-2.0)),
    ):
        with pytest.raises(ValueError, match="σ"):
            call()


def test_homogeneous_activations_have_one_width():
    ((sigma_w, q),) = theory.critical(lambda x: jnp.maximum(x, 0.3 * x))
    assert sigma_w == pytest.approx((2 / 1.09) ** 0.5, rel=1e-12)
    assert q == 1.0


def test_numbers_of_numpy_give_numbers_of_python():
    point = theory.fixed_point("tanh", np.float64(1.3), np.float64(0.3))
    assert type(point.stable) is bool
    assert point == theory.fixed_point("tanh", 1.3, 0.3)
