"""Functions written by hand, named by what they compute, and near misses kept apart."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad.activations import (
    CATALOG,
    IDENTIFY_GRID,
    Identity,
    identify,
    identify_samples,
)
from jgrad.activations._families import FAMILIES
from jgrad.activations._identify import SAMPLES, sample

pytestmark = pytest.mark.loose_promotion


@functools.cache
def _samples(name):
    return sample(CATALOG[name])


@pytest.mark.parametrize("name", [name for name in CATALOG if name != "exponential"])
def test_every_entry_is_named_as_itself(name):
    # celu and elu are equal at α = 1, and elu is the first in the catalogue.
    wanted = {"celu": "elu"}.get(name, name)
    assert identify_samples(*_samples(name)) == Identity(wanted)


def test_the_stored_samples_are_the_catalogues():
    # When this fails, run scripts/activation_samples.
    with np.load(SAMPLES) as stored:
        assert set(stored) == {"grid", *CATALOG}
        np.testing.assert_array_equal(stored["grid"], IDENTIFY_GRID)
        for name in CATALOG:
            np.testing.assert_allclose(stored[name], _samples(name), rtol=1e-5, atol=1e-6)


def test_no_two_entries_look_alike_but_equals():
    stored = {name: _samples(name) for name in CATALOG}
    alike = {
        frozenset((a, b))
        for a in stored
        for b in stored
        if a < b and np.allclose(stored[a][0], stored[b][0], rtol=1e-4, atol=1e-4)
    }
    assert alike == {frozenset(("celu", "elu"))}


HAND_WRITTEN = {
    "relu": [
        lambda x: jnp.maximum(x, 0),
        lambda x: x * (x > 0),
        lambda x: (x + jnp.abs(x)) / 2,
        lambda x: np.maximum(x, 0),
        lambda x: max(float(x), 0.0),
    ],
    "identity": [lambda x: x, lambda x: 3 * x - 2 * x],
    "gelu": [lambda x: 0.5 * x * (1 + jax.lax.erf(x / math.sqrt(2)))],
    "gelu_tanh": [
        lambda x: 0.5 * x * (1 + jnp.tanh(0.7978845608 * (x + 0.044715 * x**3))),
        functools.partial(jax.nn.gelu, approximate=True),
    ],
    "quick_gelu": [lambda x: x / (1 + jnp.exp(-1.702 * x))],
    "silu": [lambda x: x / (1 + jnp.exp(-x)), jax.nn.swish],
    "mish": [lambda x: x * jnp.tanh(jnp.log(1 + jnp.exp(x)))],
    "tanh": [math.tanh, np.tanh, lambda x: 2 / (1 + jnp.exp(-2 * x)) - 1],
    "sigmoid": [lambda x: 0.5 * (1 + jnp.tanh(x / 2))],
    "softplus": [lambda x: jnp.log(1 + jnp.exp(x)), jax.nn.softplus],
    "log_sigmoid": [lambda x: jnp.log(jax.nn.sigmoid(x))],
    "elu": [lambda x: jnp.where(x > 0, x, jnp.exp(x) - 1), jax.nn.celu],
    "selu": [jax.nn.selu],
    "hard_tanh": [lambda x: jnp.clip(x, -1, 1)],
    "relu6": [lambda x: jnp.clip(x, 0, 6)],
    "soft_sign": [lambda x: x / (1 + jnp.abs(x))],
    "squareplus": [lambda x: (x + jnp.sqrt(x * x + 4)) / 2],
    "squared_relu": [lambda x: jnp.square(jax.nn.relu(x))],
    "tanh_exp": [lambda x: x * jnp.tanh(jnp.exp(x))],
    "golu": [lambda x: x * jnp.exp(-jnp.exp(-x))],
    "hardshrink": [lambda x: jnp.where(jnp.abs(x) > 0.5, x, 0)],
}


@pytest.mark.parametrize(
    ("name", "fn"), [(name, fn) for name, fns in HAND_WRITTEN.items() for fn in fns]
)
def test_hand_written(name, fn):
    assert str(identify(fn)) == name


@pytest.mark.parametrize(
    ("fn", "text"),
    [
        (lambda x: jnp.where(x > 0, x, 0.2 * x), "leaky_relu(negative_slope=0.2)"),
        (lambda x: jnp.where(x > 0, x, 1e-4 * x), "leaky_relu(negative_slope=0.0001)"),
        (lambda x: jax.nn.elu(x, 2.0), "elu(alpha=2)"),
        (lambda x: jax.nn.celu(x, 2.0), "celu(alpha=2)"),
        (lambda x: jax.nn.squareplus(x, 1.3), "squareplus(b=1.3)"),
        (lambda x: jnp.clip(x, -0.5, 20), "hard_tanh(min_val=-0.5, max_val=20)"),
        (lambda x: jnp.sin(30 * x), "sin(omega=30)"),
        (lambda x: 3 * jnp.tanh(0.7 * x) + 0.25, "dyt(alpha=0.7, gamma=3, beta=0.25)"),
        (lambda x: x + jnp.sin(2.5 * x) ** 2 / 2.5, "snake(a=2.5)"),
        (lambda x: (x + 2 * jnp.sin(0.5 * x)) * jax.nn.sigmoid(x), "sinlu(a=2, b=0.5)"),
        (lambda x: 2 * x * jax.nn.sigmoid(x), "e_swish(beta=2)"),
        (lambda x: x * jax.nn.sigmoid(1.5 * x), "silu(beta=1.5)"),
        (lambda x: x * jax.nn.sigmoid(20 * x), "silu(beta=20)"),
        (lambda x: jnp.where(x > 0, x, (1 - jnp.minimum(x, 0)) ** -2.0 - 1), "polu(n=2)"),
        (lambda x: x / (x / 3 + jnp.exp(-x / 2.5)), "soft_root_sign(alpha=3, beta=2.5)"),
        (lambda x: x / jnp.sqrt(1 + 3 * x * x), "isru(alpha=3)"),
        (lambda x: jnp.where(x > 0, x, x / jnp.sqrt(1 + 3 * x * x)), "isrlu(alpha=3)"),
        (lambda x: jnp.where(x > 0, 1, 0.4) * jnp.tanh(x), "penalized_tanh(a=0.4)"),
        (lambda x: x - jnp.clip(x, -0.125, 0.125), "softshrink(lambd=0.125)"),
        (lambda x: 1.5 * jax.nn.relu(x) ** 2 - 0.5, "star_relu(scale=1.5, bias=-0.5)"),
    ],
)
def test_families(fn, text):
    found = identify(fn)
    assert str(found) == text
    x = jnp.linspace(-3, 3, 41)
    np.testing.assert_allclose(found.phi(x), fn(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name in CATALOG])
def test_a_familys_formula_is_the_catalogues(name):
    rng = np.random.default_rng(list(FAMILIES).index(name))
    keywords = {
        "hard_tanh": {"min_val": -1.7, "max_val": 2.3},
    }.get(name)
    if keywords is None:
        code = FAMILIES[name].formula.__code__
        names = code.co_varnames[1 : code.co_argcount]
        keywords = {key: float(rng.uniform(0.3, 0.9)) for key in names}
    x = np.linspace(-6, 6, 81)
    found = CATALOG[name](jnp.asarray(x, jnp.float32), **keywords)
    wanted = FAMILIES[name].formula(x, **keywords)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: 2 * x + 1,
        lambda x: -x,
        lambda x: 0 * x,
        lambda x: 0 * x + 3,
        jnp.abs,
        lambda x: x * x,
        lambda x: x**3,
        jnp.exp,
        jnp.log,
        jnp.sqrt,
        jax.lax.rsqrt,
        lambda x: 1 / x,
        jnp.cosh,
        lambda x: jnp.maximum(x, 1e-6),
        lambda x: jnp.maximum(x, 1e-12),
        lambda x: jnp.clip(jax.nn.sigmoid(x), 1e-7, 1 - 1e-7),
        lambda x: jax.nn.gelu(x) + 1e-4,
        lambda x: 1.001 * jnp.tanh(x) * jnp.tanh(x),
        lambda x: x * jax.nn.sigmoid(1.703 * x) + 1e-4 * x,
        lambda x: 0.5 * (jax.nn.gelu(x, approximate=True) + jax.nn.gelu(x, approximate=False)),
        lambda x: jnp.where(x > 0, x, jnp.tanh(x)),
        # Values of a tanh, slopes of the identity: a straight-through estimator is no tanh.
        lambda x: x + jax.lax.stop_gradient(jnp.tanh(x) - x),
        # Not elementwise.
        jax.nn.softmax,
        lambda x: x - jnp.mean(x),
        lambda x: x / jnp.linalg.norm(x),
        lambda x: jax.nn.relu(x - jnp.mean(x)),
        jnp.sum,
        jnp.argsort,
    ],
)
def test_no_name(fn):
    assert identify(fn) is None


def test_half_precision_names_what_it_can_tell_apart():
    assert str(identify(lambda x: jax.nn.relu(x.astype(jnp.bfloat16)))) == "relu"
    assert str(identify(lambda x: jnp.tanh(x.astype(jnp.bfloat16)))) == "tanh"
    # In bfloat16 the two gelus differ by less than rounding: either the right name or none.
    for approximate, name in ((True, "gelu_tanh"), (False, "gelu")):
        found = identify(lambda x, a=approximate: jax.nn.gelu(x.astype(jnp.bfloat16), a))
        assert found is None or found.name == name


def test_within_a_trace():
    def f(x):
        assert str(identify(jnp.tanh)) == "tanh"
        return x

    jax.jit(f)(1.0)


def test_the_grid_is_exact_in_half_precision_and_asymmetric():
    for dtype in (jnp.bfloat16, jnp.float16):
        exact = np.asarray(jnp.asarray(IDENTIFY_GRID).astype(dtype)).astype(np.float32)
        np.testing.assert_array_equal(exact, IDENTIFY_GRID)
    assert abs(IDENTIFY_GRID.mean()) > 1


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"values of shape \(3,\)"):
        identify_samples(np.zeros(3))
