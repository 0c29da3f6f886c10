"""Every stated trait of every activation, against formulas of the tests' own in float64."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from formulas import FORMULAS, MPMATH, NUMPY

from jgrad.activations import ALIASES, CATALOG, get, slope, table, traits

NAMES = list(CATALOG)
H = 1e-5


def _phi(name):
    def formula(x):
        with np.errstate(all="ignore"):
            return np.asarray(FORMULAS[name](NUMPY, np.asarray(x, np.float64)), np.float64)

    return formula


def _slope(name):
    phi = _phi(name)
    return lambda x: (phi(x + H) - phi(x - H)) / (2 * H)


def _grid(name, reach=40.0, count=16001):
    """Points over [-reach, reach], none within 2 h of a kink."""
    x = np.linspace(-reach, reach, count) + 1.234e-3
    for kink in traits(name).kinks:
        x = x[np.abs(x - kink) > 2 * H]
    return x


def test_the_tests_own_catalogue_is_complete():
    assert set(FORMULAS) == set(CATALOG)


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_formulas(name):
    x = _grid(name, 12.0, 512)[:500].astype(np.float32)
    wanted = _phi(name)(x)
    found = np.asarray(CATALOG[name](jnp.asarray(x)))
    assert found.dtype == np.float32
    scale = np.abs(wanted) + np.abs(x * _slope(name)(x)) + 1e-3
    # The Padé unit's numerator cancels on [-1, 0].
    allowed = 5e-6 if name == "rational" else 1e-6
    np.testing.assert_array_less(np.abs(found - wanted) / scale, allowed)


@pytest.mark.parametrize("name", NAMES)
def test_range(name):
    facts, phi = traits(name), _phi(name)
    far = np.geomspace(40, 1e8, 200)
    with np.errstate(over="ignore"):
        y = phi(np.concatenate([-far, _grid(name, 12.0, 48001), far]))
    for bound, reached in ((facts.lower, y.min()), (facts.upper, y.max())):
        if math.isinf(bound):
            # asinh has reached 19 there; others are far beyond.
            assert np.sign(reached) == np.sign(bound)
            assert abs(reached) > 15
        else:
            assert reached == pytest.approx(bound, abs=2e-7)


@pytest.mark.parametrize("name", NAMES)
def test_slope_range_and_lipschitz(name):
    facts = traits(name)
    far = np.geomspace(40, 1e6, 50)
    x = np.concatenate([-far, _grid(name), _grid(name, 4.0, 8001), far])
    # A step that grows with x: differences of large numbers lose digits.
    h = H * np.maximum(1, np.abs(x))
    with np.errstate(over="ignore", invalid="ignore"):
        s = (_phi(name)(x + h) - _phi(name)(x - h)) / (2 * h)
    s = s[np.isfinite(s)]
    for bound, reached in ((facts.slope_lower, s.min()), (facts.slope_upper, s.max())):
        if math.isinf(bound):
            assert np.sign(reached) == np.sign(bound)
            assert abs(reached) > 15
        else:
            assert reached == pytest.approx(bound, abs=2e-5 if facts.kinks == () else 2e-3)
    if facts.smoothness >= 0:
        assert facts.lipschitz == max(abs(facts.slope_lower), abs(facts.slope_upper))
    else:
        assert facts.lipschitz == math.inf


@pytest.mark.parametrize("name", NAMES)
def test_monotone_and_convex(name):
    facts = traits(name)
    x = _grid(name)
    y, s = _phi(name)(x), _slope(name)(x)
    falls = np.diff(y) < -1e-9 * (1 + np.abs(y[1:]))
    bends = np.diff(s) < -1e-6 * (1 + np.abs(s[1:]))
    jumps = facts.smoothness < 0
    assert facts.monotone == (not falls.any())
    assert facts.convex == (not bends.any() and not jumps)


@pytest.mark.parametrize("name", NAMES)
def test_parity(name):
    x = _grid(name, 9.0, 400)
    y, mirrored = _phi(name)(x), _phi(name)(-x)
    odd = np.allclose(mirrored, -y, atol=1e-12)
    even = np.allclose(mirrored, y, atol=1e-12)
    assert traits(name).parity == ("odd" if odd else "even" if even else None)


def _one_sided(name, kink, order):
    """φ^(order) just left and just right of a stated kink, by mpmath."""
    apart = mp.mpf(10) ** -13
    phi = functools.partial(FORMULAS[name], MPMATH)
    with mp.workdps(100):
        return [
            mp.diff(phi, mp.mpf(kink) + side * apart, order, direction=side) for side in (-1, 1)
        ]


@pytest.mark.parametrize("name", [name for name in NAMES if traits(name).kinks])
def test_kinks_and_smoothness(name):
    """At each kink the derivative after the last continuous one jumps, within 10⁻¹³ of it."""
    facts = traits(name)
    assert list(facts.kinks) == sorted(facts.kinks)
    assert len(facts.kink_slopes) == len(facts.kinks)
    for kink in facts.kinks:
        for order in range(int(facts.smoothness) + 1):
            left, right = _one_sided(name, kink, order)
            assert abs(left - right) < 1e-11
        left, right = _one_sided(name, kink, int(facts.smoothness) + 1)
        assert abs(left - right) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_no_kink_is_left_out(name):
    # At every point of a fine grid the slopes to either side agree to the order of its step.
    x = np.linspace(-8, 8, 80001)
    for kink in traits(name).kinks:
        x = x[np.abs(x - kink) > 2.5e-3]
    phi, h = _phi(name), 1e-4
    left, right = (phi(x) - phi(x - h)) / h, (phi(x + h) - phi(x)) / h
    assert (traits(name).smoothness == math.inf) == (traits(name).kinks == ())
    curvature = np.abs(phi(x + 2e-3) - 2 * phi(x) + phi(x - 2e-3)) / 4e-6
    assert np.all(np.abs(left - right) <= 2 * h * (curvature + 1) * (1 + np.abs(x)))


@pytest.mark.parametrize("name", NAMES)
def test_limits(name):
    for end, stated in zip((-1e9, 1e9), traits(name).limits, strict=True):
        reached = float(_phi(name)(end))
        if math.isnan(stated):
            x = end * (1 + np.linspace(0, 1e-7, 1000))
            assert np.ptp(_phi(name)(x)) > 1.9
        elif math.isinf(stated):
            assert np.sign(reached) == np.sign(stated)
            assert abs(reached) > 15
        else:
            assert reached == pytest.approx(stated, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_slope_zeros(name):
    facts, s = traits(name), _slope(name)
    for zero in facts.slope_zeros:
        assert abs(float(s(zero))) < 1e-9 + 1e-8 * abs(zero)
    # No others in [-10, 10], as far as a change of sign shows them.
    x = _grid(name, 10.0, 8001)
    flat = 1e-9
    signs = np.where(np.abs(s(x)) < flat, 0, np.sign(s(x)))
    changes = x[:-1][signs[:-1] * signs[1:] < 0]
    for change in changes:
        near_zero = any(abs(change - zero) < 0.01 for zero in facts.slope_zeros)
        near_kink = any(abs(change - kink) < 0.01 for kink in facts.kinks)
        assert near_zero or near_kink, change


@pytest.mark.parametrize("name", NAMES)
def test_saturates(name):
    phi = _phi(name)
    far, h = 1e6, 1e3
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = [(phi(x + h) - phi(x)) / h for x in (-far, far)]
    left, right = (bool(abs(s) < 1e-5) for s in slopes)
    if any(math.isnan(limit) for limit in traits(name).limits):
        left = right = False
    wanted = {(True, True): "both", (True, False): "left", (False, True): "right"}
    assert traits(name).saturates == wanted.get((left, right), "none")


@pytest.mark.parametrize("name", NAMES)
def test_keeps_dtype_and_shape(name):
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        x = jax.ShapeDtypeStruct((2, 3), dtype)
        y = jax.eval_shape(CATALOG[name], x)
        assert (y.dtype, y.shape) == (x.dtype, x.shape)


@pytest.mark.parametrize("name", NAMES)
def test_is_one_custom_jvp_call_of_its_name(name):
    jaxpr = jax.make_jaxpr(CATALOG[name])(jnp.ones(3))
    assert len(jaxpr.eqns) == 1
    assert jaxpr.eqns[0].primitive.name == "custom_jvp_call"


#: Canonical name → its other names, as papers and frameworks have them.
OTHER_NAMES = {
    "identity": "linear",
    "sigmoid": "logistic",
    "soft_sign": "softsign",
    "log_sigmoid": "logsigmoid",
    "leaky_relu": "prelu rrelu",
    "silu": "swish",
    "gelu": "gelu_exact gelu_erf",
    "gelu_tanh": "gelu_approximate",
    "quick_gelu": "gelu_sigmoid",
    "tanh_exp": "telu",
    "hard_tanh": "hardtanh",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hard_swish hardswish",
    "sparse_plus": "smelu",
    "softshrink": "soft_shrink",
    "hardshrink": "hard_shrink",
    "tanhshrink": "tanh_shrink",
    "threshold": "thresholded_relu",
    "squared_relu": "relu_squared relu2",
    "lecun_tanh": "stanh",
    "dyt": "dynamic_tanh",
    "shifted_softplus": "ssp",
    "log_log": "cloglog",
    "soft_root_sign": "srs",
    "exponential": "exp",
    "sin": "sine siren",
    "arctan": "atan",
    "asinh": "arcsinh",
    "rational": "pau",
}


def test_aliases_are_other_names():
    assert not ALIASES.keys() & CATALOG.keys()
    wanted = {alias: name for name, aliases in OTHER_NAMES.items() for alias in aliases.split()}
    assert wanted == ALIASES
    assert all(get(alias) is CATALOG[name] for alias, name in wanted.items())


def test_the_table_says_what_the_traits_say():
    rows = {row["name"]: row for row in table()}
    assert list(rows) == NAMES
    assert rows["leaky_relu"]["params"] == {"negative_slope": 0.01}
    assert rows["hard_silu"]["kinks"] == {-3.0: 0.0, 3.0: 1.0}
    assert "swish" in rows["silu"]["aliases"]
    assert rows["gelu"]["lipschitz"] == traits("gelu").lipschitz


@pytest.mark.parametrize("name", ["hardshrink", "rational", "xielu"])
def test_slopes_agree_at_generic_points(name):
    x = np.linspace(-4, 4, 40) + 0.0123
    found = np.asarray(slope(CATALOG[name])(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(found, _slope(name)(x), rtol=1e-4, atol=1e-5)
