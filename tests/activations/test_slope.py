"""slope and log_slope, against mpmath and against each other."""

import functools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from prime_truth import GRID, TRUTH, away

from jgrad import activations
from jgrad.activations import log_slope, slope

SMOOTH = [name for name in TRUTH if name != "celu_half"]


@pytest.mark.parametrize("name", SMOOTH)
def test_log_slope_is_the_logarithm_of_the_true_slope(name):
    """Where φ' is a normal float64, so far past float32's and float16's underflow."""
    true = TRUTH[name][1]
    counts = (np.abs(true) > 1e-300) & away(name, 1, GRID)
    measured = np.asarray(jax.jit(log_slope(activations.CATALOG[name]))(jnp.asarray(GRID)))
    measured = np.where(counts, measured, 0)
    expected = np.log(np.abs(np.where(counts, true, 1.0)))
    error = np.abs(np.where(counts, measured - expected, 0)) / np.maximum(np.abs(expected), 0.3)
    worst = error.argmax()
    assert error[worst] < 2e-6, (GRID[worst], measured[worst], expected[worst])


# ln|φ'| at points where φ' is far below any float64: by hand from the leading exponential.
@pytest.mark.parametrize(
    ("name", "x", "form"),
    [
        ("tanh", 60.0, lambda x: mpmath.log(4) - 2 * x),
        ("tanh", -5000.0, lambda x: mpmath.log(4) + 2 * x),
        ("sigmoid", 2000.0, lambda x: -x),
        ("softplus", -3000.0, lambda x: x),
        ("log_sigmoid", 3000.0, lambda x: -x),
        ("elu", -1500.0, lambda x: x),
        ("silu", -1500.0, lambda x: x + mpmath.log(-1 - x)),
        ("mish", -1500.0, lambda x: x + mpmath.log(-1 - x)),
        ("gelu", -75.0, lambda x: mpmath.log(-mpmath.ncdf(x) - x * mpmath.npdf(x))),
        ("erf", 45.0, lambda x: mpmath.log(2 / mpmath.sqrt(mpmath.pi)) - x * x),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_log_slope_outlives_the_slope(name, x, form, dtype):
    given = jnp.asarray(x, dtype)
    y = log_slope(activations.CATALOG[name])(given)
    assert y.dtype == jnp.float32
    with mpmath.workdps(40):
        expected = float(form(mpmath.mpf(float(given))))
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize("name", SMOOTH)
def test_log_slope_at_the_ends(name):
    phi = activations.CATALOG[name]
    both = jax.jit(lambda x: (slope(phi)(x), log_slope(phi)(x)))
    slopes, found = map(np.asarray, both(jnp.array([-jnp.inf, jnp.inf, jnp.nan])))
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found, np.log(np.abs(slopes)), atol=1e-7)
    assert np.isnan(found[2])


def test_log_slope_takes_the_parameters_of_a_partial():
    elu = functools.partial(activations.elu, alpha=0.37)
    np.testing.assert_allclose(log_slope(elu)(jnp.float32(-500.0)), -500 + np.log(0.37), rtol=1e-6)
    twice = functools.partial(functools.partial(activations.celu, alpha=9.0), alpha=2.0)
    np.testing.assert_allclose(log_slope(twice)(jnp.float32(-600.0)), -300, rtol=1e-6)
    leaky = functools.partial(activations.leaky_relu, negative_slope=-0.2)
    np.testing.assert_allclose(
        log_slope(leaky)(jnp.array([-3.0, 3.0])), [np.log(0.2), 0], rtol=1e-6
    )
    fast = functools.partial(activations.tanh, accuracy="fast")
    np.testing.assert_allclose(log_slope(fast)(jnp.float32(60.0)), np.log(4) - 120, rtol=1e-6)


def test_log_slope_of_a_function_of_the_users():
    x = jnp.array([-1.3, 0.4, 2.2], jnp.bfloat16)
    y = log_slope(lambda x: x * x * x)(x)
    assert y.dtype == jnp.float32
    wide = np.asarray(x.astype(jnp.float32))
    np.testing.assert_allclose(y, np.log(3 * wide**2), rtol=1e-6)


def test_order_zero_is_the_function_and_a_negative_one_is_refused():
    x = jnp.array([-0.3, 1.4])
    np.testing.assert_array_equal(slope(activations.mish, 0)(x), activations.mish(x))
    with pytest.raises(ValueError, match="-2"):
        slope(activations.mish, -2)


@pytest.mark.parametrize(
    "name",
    [
        "tanh",
        "squareplus",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("sigmoid", "gelu", "soft_sign")),
    ],
)
def test_fourth_and_fifth_derivatives_against_differences(name):
    """The links go on: each further order is the derivative of the one before."""
    phi = activations.CATALOG[name]
    step = 1e-5
    with jax.enable_x64(True):
        x = jnp.array([-2.7, -0.9, 0.35, 1.6, 3.1])

        @jax.jit
        def both(x):
            return [
                (slope(phi, k + 1)(x), (slope(phi, k)(x + step) - slope(phi, k)(x - step)))
                for k in (3, 4)
            ]

        for derivative, difference in both(x):
            np.testing.assert_allclose(derivative, difference / (2 * step), rtol=2e-7, atol=2e-8)
