"""The contract of activations, on functions that keep it and on functions that break it."""

import dataclasses
import inspect
import math

import chex
import jax
import jax.numpy as jnp
import pytest
from absl.testing import parameterized

from jgrad.activations import CATALOG, Traits, traits
from jgrad.testing import check_activation, failures_of_activation

SILU = Traits(
    lower=-0.278464542761073795,
    slope_lower=-0.0998393201288669169,
    slope_upper=1.09983932012886692,
    monotone=False,
    convex=False,
    limits=(0.0, math.inf),
    slope_zeros=(-1.27846454276107379,),
    saturates="left",
    source="test",
)


def _silu(x):
    return x * jax.nn.sigmoid(x)


QUICK = ("relu", "golu")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in CATALOG]
)
def test_the_catalogue_passes(name):
    check_activation(CATALOG[name], traits(name))


def test_a_users_own_passes():
    check_activation(_silu, SILU)


def _clauses(phi, facts=None):
    return [failure.clause for failure in failures_of_activation(phi, facts)]


@jax.custom_jvp
def _wrong_slope(x):
    return jnp.sin(x)


_wrong_slope.defjvp(lambda p, t: (jnp.sin(p[0]), 0.9 * jnp.cos(p[0]) * t[0]))


@pytest.mark.parametrize(
    ("phi", "clause"),
    [
        (lambda x: jnp.tanh(x).astype(jnp.float32), "dtype and shape kept"),
        (lambda x: jnp.sum(x), "dtype and shape kept"),
        (lambda x: (x, x), "dtype and shape kept"),
        (math.tanh, "JAX can trace it"),
        (lambda x: jnp.where(x > 0, x, jnp.exp(x) - 1), "finite gradient (float32)"),
        (lambda x: x * jnp.tanh(jnp.exp(x)), "finite gradient (float16)"),
        (lambda x: jnp.exp(x) / (1 + jnp.exp(x)), "finite value (float32)"),
        (lambda x: x if isinstance(x, jax.core.Tracer) else 2 * x, "jit = eager, value (float32)"),
        (lambda x: x * (1 + 0.01 * jnp.mean(x)), "elementwise"),
        (_wrong_slope, "derivative = finite differences"),
        (lambda x: x + jax.lax.stop_gradient(jnp.tanh(x) - x), "derivative = finite differences"),
    ],
)
def test_a_broken_clause_is_named(phi, clause):
    assert clause in _clauses(phi)


@pytest.mark.parametrize(
    "false",
    [
        {
            "lower": {"lower": -0.278},
            "slope_lower": {"slope_lower": -0.0998},
            "monotone": {"monotone": True},
            "limit at -inf": {"limits": (-1.0, math.inf)},
            "slope_zeros": {"slope_zeros": (-1.3,)},
            "saturates left": {"saturates": "none"},
        },
        {
            "upper": {"upper": 5.0},
            "slope_upper": {"slope_upper": 1.0998},
            "convex": {"convex": True},
            "parity odd": {"parity": "odd"},
            "limit at +inf": {"limits": (0.0, 1.0)},
            "saturates right": {"saturates": "both"},
        },
    ],
)
def test_false_traits_are_named(false):
    changes = {key: value for change in false.values() for key, value in change.items()}
    assert _clauses(_silu, dataclasses.replace(SILU, **changes)) == list(false)


def test_the_message_says_where_and_by_how_much():
    facts = dataclasses.replace(SILU, lower=-0.25)
    with pytest.raises(AssertionError, match=r"lower, at -1\.2\d+: stated φ ≥ -0\.25; φ = -0\.278"):
        check_activation(_silu, facts)


class InAVariant(chex.TestCase, parameterized.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    def test_check_activation(self):
        check_activation(self.variant(_silu), SILU)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3.0,), "a function of one array, got float 3.0"),
        (("tanh",), "a function of one array, got str 'tanh'"),
        ((_silu, {"lower": 0.0}), "Traits or None, got dict"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(TypeError, match=message):
        inspect.unwrap(failures_of_activation)(*given)
