"""Odd inputs: taken, or refused by an error that quotes what was given and what is wanted."""

import functools
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jgrad import activations
from jgrad.activations import (
    CATALOG,
    elu,
    gelu,
    get,
    identify,
    identify_samples,
    kinks,
    log_slope,
    slope,
    tanh,
    traits,
    with_kinks,
)

X = jnp.array([-1.5, 0.5])


@pytest.fixture(autouse=True)
def as_users_have_it():
    """Without the check of signatures, which only these tests have and which would come first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: get("GELU"), ValueError, r"unknown activation 'GELU'; did you mean 'gelu'"),
        (lambda: get(gelu), TypeError, "takes the name of an activation, got function"),
        (lambda: get(["relu"]), TypeError, r"the name of an activation, got list \['relu'\]"),
        (lambda: traits(3), TypeError, "an activation or its name, got int 3"),
        (lambda: traits(functools.partial(elu, alpha=2.0)), ValueError, "unknown activation func"),
        (lambda: traits(activations.softmax), ValueError, "unknown activation <function softmax"),
        (lambda: gelu(3), TypeError, "gelu takes an array of a float dtype, got int32"),
        (lambda: gelu(True), TypeError, "got bool"),
        (lambda: gelu(1j), TypeError, "got complex64"),
        (lambda: gelu(jax.random.key(0)), TypeError, "got key<fry>"),
        (lambda: elu(X, alph=2.0), TypeError, "parameter of elu 'alph'; did you mean 'alpha'"),
        (lambda: activations.mish(X, beta=1.0), TypeError, "mish has no parameters, got beta"),
        (lambda: elu(X, alpha="2"), TypeError, "alpha as a number or an array, got str '2'"),
        (lambda: elu(X, alpha=None), TypeError, "alpha as a number or an array, got NoneType"),
        (lambda: activations.celu(X, alpha=-1.0), ValueError, "alpha is wanted above 0, got -1"),
        (lambda: activations.celu(X, alpha=math.nan), ValueError, "above 0, got nan"),
        (lambda: activations.isru(X, alpha=0), ValueError, "alpha is wanted above 0, got 0"),
        (lambda: activations.squareplus(X, b=-4.0), ValueError, "b is wanted above 0"),
        (lambda: activations.silu(X, beta=0.0), ValueError, "beta is wanted other than 0"),
        (lambda: activations.snake(X, a=0.0), ValueError, "a is wanted other than 0"),
        (lambda: activations.softshrink(X, lambd=-0.5), ValueError, "lambd is wanted at 0 or"),
        (lambda: activations.hard_tanh(X, min_val=2.0), ValueError, "max_val, got 2.0 and 1.0"),
        (lambda: slope("relu"), TypeError, r"a function, got str 'relu'; get\('relu'\)"),
        (lambda: slope(None), TypeError, "a function, got NoneType"),
        (lambda: slope(gelu)(jnp.arange(3)), TypeError, "float dtype, got int32"),
        (lambda: log_slope("tanh"), TypeError, "log_slope takes a function, got str 'tanh'"),
        (lambda: log_slope(tanh)(2), TypeError, "log_slope takes an array of a float dtype"),
        (
            lambda: log_slope(functools.partial(elu, alph=2.0)),
            TypeError,
            "parameter of elu 'alph'",
        ),
        (lambda: identify(3), TypeError, "identify takes a function, got int 3"),
        (lambda: kinks("relu"), TypeError, "kinks takes a function, got str 'relu'"),
        (
            lambda: kinks(functools.partial(activations.leaky_relu, slope=1.0), "torch"),
            TypeError,
            "parameter of leaky_relu 'slope'",
        ),
        (lambda: with_kinks(3, "torch"), TypeError, "a function, got int 3"),
        (
            lambda: identify_samples(activations.IDENTIFY_GRID, eps=-1.0),
            ValueError,
            "above 0; got -1.0",
        ),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("order", [1.5, "1", None])
def test_an_order_is_an_int(order):
    with pytest.raises(TypeError, match="order"):
        slope(gelu, order)


def test_python_numbers_and_lists_are_arrays():
    np.testing.assert_allclose(gelu(jnp.float32(0.5)), gelu(np.float32(0.5)))
    for f in (gelu, slope(gelu), log_slope(gelu)):
        of_array = f(X)
        np.testing.assert_array_equal(f([-1.5, 0.5]), of_array)
        np.testing.assert_array_equal(f(np.array([-1.5, 0.5])), of_array)
        np.testing.assert_array_equal(f(0.5), of_array[1])
        assert f(jnp.zeros((0, 3))).shape == (0, 3)


def test_a_parameter_known_only_at_run_time_is_taken_as_it_comes():
    compiled = jax.jit(lambda x, alpha: activations.celu(x, alpha=alpha))
    np.testing.assert_allclose(compiled(X, 2.0), activations.celu(X, alpha=2.0), rtol=1e-6)
    kinks_of_array = kinks(functools.partial(activations.hard_tanh, max_val=jnp.float32(2)))
    assert kinks_of_array == {-1.0: 1.0, 2.0: 1.0}


def test_a_negative_alpha_of_elu_has_a_log_slope():
    falling = functools.partial(elu, alpha=-2.0)
    wanted = np.log(np.abs(np.asarray(slope(falling)(X))))
    np.testing.assert_allclose(log_slope(falling)(X), wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", CATALOG)
def test_no_activation_takes_a_parameter_it_does_not_have(name):
    with pytest.raises(TypeError, match=f"{name}.*nonsense"):
        CATALOG[name](X, nonsense=1.0)
