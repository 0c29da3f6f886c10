"""The prime activations against mpmath: every order, dtype and mode within its stated error."""

import functools
import json

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from float64_reference import REFERENCE
from hypothesis import strategies
from prime_truth import DATA, GRID, KINKED, TRUTH, away, ulps

from jgrad import activations
from jgrad._numerics import at_least_float32
from jgrad.activations import slope

#: Largest error in ulps of f, f', f'' where float32 computes, away from zeros.
LIMITS = {
    "sigmoid": (3, 5, 7),
    "tanh": (3, 5, 7),
    "softplus": (3, 5, 7),
    "log_sigmoid": (3, 5, 7),
    "elu": (3, 5, 7),
    "selu": (3, 5, 7),
    "celu_half": (3, 5, 7),
    "silu": (4, 10, 17),
    "gelu": (7, 10, 17),
    "gelu_tanh": (7, 10, 17),
    "mish": (4, 16, 24),
    "squareplus": (4, 5, 7),
    "soft_sign": (4, 5, 7),
    "erf": (4, 5, 7),
}


def activation(name):
    if name == "celu_half":
        return functools.partial(activations.celu, alpha=0.5)
    return activations.CATALOG[name]


def within_limit(name, order, y):
    """The error in ulps, away from zeros, once it is seen to be within the limit everywhere."""
    true, apart = TRUTH[name][order], away(name, order, GRID)
    error = ulps(y, true, np.float32) * apart
    worst = error.argmax()
    assert error[worst] <= LIMITS[name][order], (GRID[worst], y[worst], true[worst])
    beside = np.abs(y - true)[~apart & (GRID != 0)]
    assert beside.max(initial=0.0) <= 2 * 2.0**-23 * np.abs(true[~apart]).max(initial=1.0)
    return error[worst]


def third_is_right(name, y):
    true = TRUTH[name][3]
    assert np.isfinite(y).all()
    # Well above the underflow: the product of large factors may be there before its truth.
    counts = away(name, 3, GRID) & (np.abs(true) > 1e-33)
    error = np.where(counts, np.abs(y - true) / np.maximum(np.abs(true), 1e-300), 0)
    worst = error.argmax()
    assert error[worst] <= 1e-5, (GRID[worst], y[worst], true[worst])


def recorded():
    return json.loads((DATA / "prime_errors.json").read_text())


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("name", LIMITS)
def test_float32_compiled(name, order):
    """Within its limit; an XLA that moves an error by over a quarter is to be looked at too."""
    y = np.asarray(jax.jit(slope(activation(name), order))(jnp.asarray(GRID)))
    if order == 3:
        third_is_right(name, y)
        return
    error, before = within_limit(name, order, y), recorded()[name][order]
    assert error <= 1.25 * before, f"{name}, order {order}: {error:.3g} ulp, was {before:.3g}"


class TestFloat32NotCompiled(chex.TestCase):
    @chex.variants(without_jit=True)
    @parameterized.product(name=tuple(LIMITS), order=(0, 1))
    def test_value_and_slope(self, name, order):
        f = self.variant(slope(activation(name), order))
        within_limit(name, order, np.asarray(f(jnp.asarray(GRID))))


@pytest.mark.slow
class TestHigherOrdersNotCompiled(chex.TestCase):
    @chex.variants(without_jit=True)
    @parameterized.product(name=tuple(LIMITS))
    def test_second_and_third(self, name):
        second, third = (self.variant(slope(activation(name), order)) for order in (2, 3))
        within_limit(name, 2, np.asarray(second(jnp.asarray(GRID))))
        third_is_right(name, np.asarray(third(jnp.asarray(GRID))))


@pytest.mark.parametrize("name", LIMITS)
def test_float64_is_alike(name):
    """The same limits, in ulps of float64."""
    with jax.enable_x64(True):
        ours = all_orders(activation(name), jnp.asarray(GRID, jnp.float64), 3)
    for order, y in enumerate(ours):
        true = TRUTH[name][order]
        error = ulps(y, true, np.float64) * away(name, order, GRID)
        worst = error.argmax()
        assert error[worst] <= LIMITS[name][order], (order, GRID[worst], y[worst], true[worst])


@pytest.mark.parametrize("name", LIMITS)
def test_float64_reference_is_right(name):
    """What the sweeps below compare with, against mpmath."""
    x = GRID.astype(np.float64)
    with np.errstate(all="ignore"):
        for order in (0, 1, 2):
            y, true = REFERENCE[name][order](x), TRUTH[name][order]
            counts = (np.abs(true) > 1e-38) & ~((x == 0) & (name in KINKED) & (order == 2))
            gap = np.abs(y - true)[counts] / (np.abs(true) + ~away(name, order, x))[counts]
            assert gap.max() < 1e-13, (order, x[counts][gap.argmax()])


def every(dtype):
    """All finite numbers of a 16-bit dtype."""
    x = jnp.arange(1 << 16, dtype=jnp.uint16).view(dtype)
    return x[jnp.isfinite(x)]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        pytest.param(name, order, marks=[] if order == 1 else pytest.mark.slow)
        for name in LIMITS
        for order in (0, 1, 2)
    ],
)
def test_every_16_bit_input_is_rounded_once(name, order):
    inputs = [every(dtype) for dtype in (jnp.bfloat16, jnp.float16)]
    f = slope(activation(name), order)
    outputs = jax.jit(lambda xs: [f(x) for x in xs])(inputs)
    for given, found in zip(inputs, outputs, strict=True):
        chex.assert_type(found, given.dtype)
        x, y = (np.asarray(at_least_float32(a), np.float64) for a in (given, found))
        with np.errstate(all="ignore"):
            true = REFERENCE[name][order](x)
        info, apart = jnp.finfo(given.dtype), away(name, order, x)
        # XLA on CPU reads bfloat16's subnormal inputs as 0.
        error = np.where(np.abs(x) < float(info.tiny), 0, ulps(y, true, given.dtype))
        worst = (error * apart).argmax()
        assert error[worst] * apart[worst] <= 0.51, (given.dtype, x[worst], y[worst], true[worst])
        assert error[~apart & (x != 0)].max(initial=0) <= 1
        assert np.isfinite(y[np.abs(true) <= float(info.max)]).all()


def all_orders(phi, x, count=4):
    """φ, φ', ... of x, in float64 and compiled once."""
    orders = jax.jit(lambda x: [at_least_float32(slope(phi, k)(x)) for k in range(count)])
    return [np.asarray(y, np.float64) for y in orders(x)]


@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [n for n in LIMITS if n != "celu_half"])
def test_infinities_give_limits_and_nan_gives_nan(name, dtype):
    phi, facts = activation(name), activations.traits(name)
    values, slopes, *higher = all_orders(phi, jnp.array([-jnp.inf, jnp.inf, jnp.nan], dtype))
    limits = np.asarray(at_least_float32(jnp.array(facts.limits, dtype)), np.float64)
    np.testing.assert_array_equal(values[:2], limits)
    assert (slopes[0] == 0) == (facts.saturates in ("left", "both"))
    assert (slopes[1] == 0) == (facts.saturates in ("right", "both"))
    for derivative in higher:
        np.testing.assert_array_equal(derivative[:2], 0)
    for y in (values, slopes, *higher):
        assert np.isnan(y[2])


FORMS = {
    "sigmoid": lambda torch, x: torch.sigmoid(x),
    "tanh": lambda torch, x: torch.tanh(x),
    "softplus": lambda torch, x: torch.nn.functional.softplus(x, threshold=700),
    "log_sigmoid": lambda torch, x: torch.nn.functional.logsigmoid(x),
    "elu": lambda torch, x: torch.nn.functional.elu(x, alpha=1.3),
    "celu": lambda torch, x: torch.nn.functional.celu(x, alpha=2.0),
    "selu": lambda torch, x: torch.nn.functional.selu(x),
    "leaky_relu": lambda torch, x: torch.nn.functional.leaky_relu(x, 0.23),
    "relu": lambda torch, x: torch.nn.functional.relu(x),
    "silu": lambda torch, x: torch.nn.functional.silu(x),
    "gelu": lambda torch, x: torch.nn.functional.gelu(x),
    "gelu_tanh": lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh"),
    "mish": lambda torch, x: torch.nn.functional.mish(x),
    "soft_sign": lambda torch, x: torch.nn.functional.softsign(x),
    "erf": lambda torch, x: torch.erf(x),
}
# PyTorch's celu rounds 1/α to float32 in its gradient, so α is a power of two.
PARAMETERS = {"elu": {"alpha": 1.3}, "celu": {"alpha": 2.0}, "leaky_relu": {"negative_slope": 0.23}}


@pytest.mark.parametrize("name", FORMS)
def test_against_pytorch_in_float64(name):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).uniform(-6, 6, (5, 7))
    theirs = torch.tensor(x, requires_grad=True)
    value = FORMS[name](torch, theirs)
    (gradient,) = torch.autograd.grad(value.sum(), theirs, create_graph=True)
    with jax.enable_x64(True):
        phi = functools.partial(activations.CATALOG[name], **PARAMETERS.get(name, {}))
        ours = all_orders(phi, jnp.asarray(x), 3)
    np.testing.assert_allclose(ours[0], value.detach().numpy(), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(ours[1], gradient.detach().numpy(), rtol=1e-9, atol=1e-11)
    if gradient.requires_grad:
        (second,) = torch.autograd.grad(gradient.sum(), theirs)
        np.testing.assert_allclose(ours[2], second.numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", ["silu", pytest.param("elu", marks=pytest.mark.slow)])
def test_transformations(name):
    phi = activations.CATALOG[name]
    x = jax.random.normal(jax.random.key(2), (3, 5)) * 4

    @jax.jit
    def every_way(x):
        ones = jnp.ones_like(x)
        return {
            "slope": slope(phi)(x),
            "grad": jax.vmap(jax.vmap(jax.grad(phi)))(x),
            "vjp": jax.vjp(phi, x)[1](ones)[0],
            "linearize": jax.linearize(phi, x)[1](ones),
            "remat": jax.grad(lambda x: jax.checkpoint(phi)(x).sum())(x),
            "scan": jax.grad(lambda x: jax.lax.scan(lambda c, r: (c + phi(r).sum(), 0), 0.0, x)[0])(
                x
            ),
        }, jax.hessian(lambda v: phi(v).sum())(x[0])

    slopes, hessian = every_way(x)
    for way, y in slopes.items():
        np.testing.assert_allclose(y, slopes["slope"], rtol=4e-7, err_msg=way)
    np.testing.assert_allclose(hessian, np.diag(slope(phi, 2)(x[0])), rtol=1e-6, atol=1e-7)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    name=strategies.sampled_from(sorted(activations.CATALOG)),
    shape=strategies.lists(strategies.integers(0, 5), max_size=4).map(tuple),
    dtype=strategies.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16]),
    order=strategies.integers(0, 3),
)
def test_shape_and_dtype_are_kept(name, shape, dtype, order):
    x = jax.ShapeDtypeStruct(shape, dtype)
    y = jax.eval_shape(slope(activations.CATALOG[name], order), x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.complex64])
def test_other_dtypes_are_refused_by_name(dtype):
    with pytest.raises(TypeError, match=f"gelu .*{jnp.dtype(dtype).name}"):
        activations.gelu(jnp.zeros(3, dtype))


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        ("leaky_relu", "negative_slope", 0.3),
        ("elu", "alpha", 1.7),
        ("celu", "alpha", 0.6),
        ("squareplus", "b", 2.5),
    ],
)
def test_a_parameter_may_be_an_array_and_is_differentiable(name, parameter, value):
    phi = activations.CATALOG[name]
    x = jnp.array([[-3.1, -0.4, 0.2], [1.7, -12.0, 0.9]])
    with jax.enable_x64(True):
        x = x.astype(jnp.float64)

        step = 1e-6

        @jax.jit
        def ways(at, per_channel):
            def of(p):
                return phi(x, **{parameter: p})

            derivative = jax.jvp(of, (at,), (jnp.ones_like(at),))[1]
            differences = (of(at + step) - of(at - step)) / (2 * step)
            return of(at), of(value), of(per_channel), derivative, differences

        array, number, per_channel, derivative, differences = ways(
            jnp.float64(value), jnp.array([[0.5, value, 2.0]])
        )
        np.testing.assert_allclose(array, number, rtol=1e-14)
        np.testing.assert_allclose(derivative, differences, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(per_channel[:, 1:2], array[:, 1:2], rtol=1e-14)


@pytest.mark.parametrize(
    "name",
    [
        *("tanh", "silu", "gelu"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("sigmoid", "gelu_tanh", "erf")),
    ],
)
def test_the_fast_form_is_the_same_function(name):
    fast = functools.partial(activations.CATALOG[name], accuracy="fast")
    x = jnp.linspace(-2.3, 2.9, 41)
    values_and_slopes = (all_orders(phi, x, 2) for phi in (fast, activations.CATALOG[name]))
    np.testing.assert_allclose(*values_and_slopes, rtol=2e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"'fsat'.*'fast'"):
        activations.CATALOG[name](x, accuracy="fsat")


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [
        ("relu", 0.0, 0.0),
        ("leaky_relu", 0.0, 1.0),
        ("elu", 0.0, 1.0),
        ("celu", 0.0, 1.0),
        ("soft_sign", 0.0, 1.0),
    ],
)
def test_slope_at_the_kink_is_that_of_jax(name, point, value):
    assert slope(activations.CATALOG[name])(jnp.float32(point)) == value
    assert jax.grad(getattr(jax.nn, name))(point) == value
