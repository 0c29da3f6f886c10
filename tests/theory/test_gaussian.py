"""Gaussian averages against mpmath, closed forms, other precisions and places to be called from."""

import threading

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jgrad import theory


def test_against_mpmath_at_a_kink_that_is_not_told():
    # max(z - 0.37, 0)^1.5 with a cusp in its slope, at a generic variance.
    q = 2.3

    def phi(x):
        return jnp.where(x > 0.37, x - 0.37, 0.0) * jnp.tanh(x)

    with mpmath.workdps(30):

        def exact(z):
            x = mpmath.sqrt(q) * z
            value = (x - mpmath.mpf("0.37")) * mpmath.tanh(x)
            return value**2 * mpmath.npdf(z)

        corner = mpmath.mpf("0.37") / mpmath.sqrt(q)
        expected = float(mpmath.quad(exact, [corner, 1, 2, 4, 8, 16]))
    (got,) = theory.average(phi, q, lambda at: at.value**2)
    assert got == pytest.approx(expected, rel=1e-12)
    (told,) = theory.average(phi, q, lambda at: at.value**2, kinks=(0.37,))
    assert told == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("corner", [0.0, 1e-3, 1 / 3, 2.7])
def test_slopes_that_jump_anywhere(corner):
    # E φ'² of relu(x - k) is a normal tail.
    m = theory.moments(lambda x: jnp.maximum(x - corner, 0.0))
    assert m.slope_second == pytest.approx(float(mpmath.ncdf(-corner)), rel=1e-11)


@pytest.mark.parametrize("q", [1e-30, 1e-4, 7.0, 300.0, 1e12])
def test_the_same_at_every_scale(q):
    # relu is homogeneous; sin has a closed form.
    (second,) = theory.average("relu", q, lambda at: at.value**2)
    assert second == pytest.approx(q / 2, rel=1e-12)
    if q < 1e3:
        (second,) = theory.average(jnp.sin, q, lambda at: at.value**2)
        assert second == pytest.approx(-np.expm1(-2 * q) / 2, rel=1e-11)


def test_a_mean_that_lies_far_out():
    # E exp(√q z)² = exp(2q) has its mass at z = 2√q.
    (second,) = theory.average(jnp.exp, 30.0, lambda at: at.value**2)
    assert second == pytest.approx(np.exp(60.0), rel=1e-10)


def test_float64_inside_a_trace_and_in_threads():
    expected = theory.moments("gelu").second

    def fresh(x):
        return jax.nn.gelu(x, approximate=False)

    @jax.jit
    def traced(y):
        return y * jnp.float32(theory.moments(fresh).second)

    assert not jax.config.jax_enable_x64
    assert float(traced(jnp.float32(1.0))) == pytest.approx(expected, rel=1e-6)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(theory.moments(jnp.tanh).second))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx([theory.moments("tanh").second] * 3, rel=1e-13)


def test_hermite_series_sums_to_the_dual():
    a = theory.hermite("gelu", 120, q=1.7)
    assert float(a @ a) == pytest.approx(theory.dual("gelu")(1.7, 1.7, 1.7)[0], rel=1e-10)
    c = -0.6
    k, _ = theory.dual("gelu")(1.7, 1.7, c * 1.7)
    assert float((a**2 * c ** np.arange(120)).sum()) == pytest.approx(k, rel=1e-11)


def test_a_jump_and_several_kinks_and_a_steep_slope():
    """User's functions as they come, against mpmath split where they bend."""
    cases = {
        "jump": (
            lambda x: jnp.where(x > 0.3, 1.0, -0.5) + 0.2 * x,
            lambda x: (1 if x > 0.3 else -0.5) + x / 5,
            [0.3],
        ),
        "several": (
            lambda x: jnp.clip(x, -0.7, 1.1) + 0.3 * jnp.abs(x - 2),
            lambda x: min(max(x, mpmath.mpf(-0.7)), mpmath.mpf(1.1)) + 0.3 * abs(x - 2),
            [-0.7, 1.1, 2],
        ),
        "steep": (
            lambda x: jax.nn.sigmoid(50 * (x - 0.6)),
            lambda x: 1 / (1 + mpmath.exp(-50 * (x - 0.6))),
            [0.2, 0.5, 0.6, 0.7, 1.0],
        ),
    }
    for name, (phi, exact, corners) in cases.items():
        for q in (0.37, 2.9):
            root = mpmath.sqrt(q)
            places = sorted([-12, *(k / root for k in corners), 0, 12])
            with mpmath.workdps(20):
                expected = mpmath.quad(lambda z: exact(root * z) ** 2 * mpmath.npdf(z), places)  # noqa: B023
            (got,) = theory.average(phi, q, lambda at: at.value**2)
            assert got == pytest.approx(float(expected), rel=1e-11), (name, q)


USERS = {
    "bent aside": (lambda x: jnp.where(x > 0.37, x, 0.1 * x), (0.37,)),
    "clipped": (lambda x: jnp.clip(x, -0.7, 1.3), (-0.7, 1.3)),
    "shifted": (lambda x: jnp.abs(x - 1), (1.0,)),
    "stairs": (lambda x: jnp.floor(2 * x) / 2 + 0.1 * x, tuple(np.arange(-60, 61) / 2)),
    "clipped cube": (lambda x: jnp.clip(x**3, -2.0, 1.0), (-(2 ** (1 / 3)), 1.0)),
    "soft threshold": (lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0), (-0.5, 0.5)),
    "cusp": (lambda x: jnp.abs(x - 0.4) ** 1.5, (0.4,)),
}


@pytest.mark.parametrize("name", USERS)
def test_kinks_that_are_not_told(name):
    """Moments, duals and Hermite coefficients, beside a fine quadrature split at the kinks."""
    phi, corners = USERS[name]
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.unique([*np.linspace(-12, 12, 289), *(k for k in corners if abs(k) < 12)])
    # Towards a cusp, ever smaller panels.
    for k in corners if name == "cusp" else ():
        edges = np.unique([*edges, *(k + s * 0.5**n for n in range(4, 50) for s in (-1, 1))])
    half = np.diff(edges)[:, None] / 2
    x = (edges[:-1, None] + half * (1 + nodes)).ravel()
    weight = (half * weights).ravel() / np.sqrt(2 * np.pi)
    with jax.enable_x64(True):
        value, slope = map(np.asarray, jax.jvp(phi, (jnp.asarray(x),), (jnp.ones_like(x),)))
    normal = weight * np.exp(-0.5 * x * x)

    m = theory.moments(phi)
    wanted = [normal @ f for f in (value, value**2, slope, slope**2, slope**4)]
    got = [m.mean, m.second, m.slope_mean, m.slope_second, m.slope_fourth]
    assert got == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert theory.hermite(phi, 4) == pytest.approx(
        [normal @ (value * h) for h in (1, x, (x * x - 1) / 2**0.5, (x**3 - 3 * x) / 6**0.5)],
        rel=1e-10,
        abs=1e-11,
    )

    if name == "cusp":  # the dual takes minutes: a thousand panels about it, in both directions
        return
    c = 0.4
    given = np.exp(-0.5 * (x - c * x[:, None]) ** 2 / (1 - c * c)) / np.sqrt(1 - c * c)
    wanted = [normal @ (f * (given @ (weight * f))) for f in (value, slope)]
    assert theory.dual(phi)(1.0, 1.0, c) == pytest.approx(wanted, rel=1e-10)


def test_each_call_of_a_factory_is_its_own_function():
    # Lambdas that share code and differ in a closed-over number.
    for a in (0.1, 0.4):
        m = theory.moments(lambda x, a=a: jnp.where(x > 0, x, a * x))
        assert m.second == pytest.approx((1 + a * a) / 2, rel=1e-12)


def test_a_constant_has_no_ratios():
    m = theory.moments(lambda x: 0.0 * x + 0.7)
    assert (m.variance, m.gain_backward) == (0.0, np.inf)
    assert np.isnan([m.nlc, m.linear_fraction, m.batch_norm_rate]).all()


def test_what_is_not_elementwise():
    for phi in (jnp.cumsum, jnp.sort, lambda x: x[::-1], lambda x: x - x.mean()):
        with pytest.raises(ValueError, match="not elementwise: its value at one entry changes"):
            theory.moments(phi)
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="or with its place"):
        theory.moments(lambda x: x * jax.random.bernoulli(key, 0.5, x.shape).astype(x.dtype))
    with pytest.raises(TypeError, match=r"no JAX function of one array: .*missing 1 required"):
        theory.moments(lambda x, y: x + y)
    with pytest.raises(TypeError, match=r"jax\.numpy"):
        theory.moments(np.tanh)
    with pytest.raises(ValueError, match="not elementwise"):
        theory.moments(lambda x: jax.nn.softmax(x))
    with pytest.raises(TypeError, match=r"wanted float64\[2000\]"):
        theory.moments(lambda x: x.sum())
    with pytest.raises(TypeError, match="not elementwise"):
        theory.moments(lambda x: x.astype(jnp.float32))
    with pytest.raises(TypeError, match=r"jax\.numpy"):
        theory.moments(lambda x: np.tanh(np.asarray(x)))


def test_what_is_not_defined_everywhere():
    with pytest.raises(ValueError, match="log or its slope is not finite at z = -"):
        theory.moments(jnp.log)


def test_what_is_computed_in_float32_inside():
    with pytest.raises(ValueError, match="as what is computed in float32 inside"):
        theory.moments(lambda x: jnp.tanh(x.astype(jnp.float32)).astype(x.dtype))


def test_what_diverges():
    with pytest.raises(ValueError, match="diverges"):
        theory.moments(lambda x: jnp.exp(x * x / 3))
    with pytest.raises(ValueError, match="diverges"):
        theory.dual(lambda x: jnp.exp(x * x / 3))(1.0, 1.0, 0.9)
    # Just below: E exp(z²/4.5) is finite.
    m = theory.moments(lambda x: jnp.exp(x * x / 9))
    assert m.second == pytest.approx((1 - 4 / 9) ** -0.5, rel=1e-9)


def test_what_cannot_be_resolved():
    with pytest.raises(ValueError, match="oscillates too fast"):
        theory.moments(lambda x: jnp.sin(1e7 * x))


def test_names_and_variances():
    with pytest.raises(ValueError, match=r"did you mean .*'relu'"):
        theory.moments("rleu")
    for q in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive and finite"):
            theory.average("relu", q, lambda at: at.value)


def test_counts_and_choices_out_of_range():
    for call, text in (
        (lambda: theory.hermite("relu", -1), "count: wanted a whole number ≥ 0"),
        (lambda: theory.hermite("relu", 3, q=-1.0), "q, a variance: wanted"),
        (lambda: theory.fuss_catalan(0, 2), "depth: wanted a whole number ≥ 1"),
        (lambda: theory.largest_eigenvalue("relu", 0), "depth: wanted"),
        (lambda: theory.ginibre_exponents(0), "width: wanted a whole number ≥ 1"),
        (lambda: theory.log_norm_law("relu", 0), "width: wanted"),
        (lambda: theory.dks("tanh", 0), "depth: wanted"),
        (lambda: theory.dks("tanh", 50, zeta=0.9), "zeta: wanted a finite number > 1, got 0.9"),
        (lambda: theory.dks("identity", 50), "infeasible for identity"),
        (lambda: theory.dks("relu", 50), "infeasible for relu"),
        (lambda: theory.tat("relu", 50), "For the ReLU family see trelu_slope"),
        (lambda: theory.trelu_slope(10), "infeasible: the ReLU itself maps"),
        (lambda: theory.trelu_slope(50, eta=1.2), "0 < eta < 1, got 1.2"),
        (lambda: theory.fixup_scale(0), "Fixup's blocks: wanted"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
