"""What every activation and its slope are at ±inf and at NaN."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad.activations import CATALOG, traits

#: φ'(NaN) of what is made of straight pieces; all else gives NaN.
AT_NAN = {
    "identity": 1.0,
    "relu": 0.0,
    "relu6": 0.0,
    "leaky_relu": 0.01,
    "hard_tanh": 1.0,
    "hard_sigmoid": 0.0,
    "sparse_sigmoid": 0.0,
    "softshrink": 1.0,
    "hardshrink": 1.0,
    "threshold": 1.0,
}


def _values_and_slopes(phis):
    """At -inf, inf and NaN, by name; compiled at once."""

    @jax.jit
    def evaluate(x):
        return {name: jax.vmap(jax.value_and_grad(phi))(x) for name, phi in phis.items()}

    return jax.tree.map(np.asarray, evaluate(jnp.array([-jnp.inf, jnp.inf, jnp.nan])))


@functools.cache
def _of_catalogue():
    return _values_and_slopes(CATALOG)


@pytest.mark.parametrize("name", CATALOG)
def test_infinities_give_the_stated_limits(name):
    values, _ = _of_catalogue()[name]
    for found, stated in zip(values, traits(name).limits, strict=False):
        assert math.isnan(stated) or found == pytest.approx(stated, abs=1e-6)


@pytest.mark.parametrize("name", CATALOG)
def test_nan_gives_nan(name):
    values, slopes = _of_catalogue()[name]
    assert np.isnan(values[2])
    np.testing.assert_allclose(slopes[2], AT_NAN.get(name, np.nan), rtol=1e-6)


@pytest.mark.loose_promotion
def test_the_slope_at_nan_is_that_of_jax():
    theirs = {name: getattr(jax.nn, name) for name in CATALOG if hasattr(jax.nn, name)}
    assert len(theirs) > 20
    for name, (_, slopes) in _values_and_slopes(theirs).items():
        np.testing.assert_allclose(slopes[2], AT_NAN.get(name, np.nan), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("softshrink", {"lambd": 0.5}),
        ("hardshrink", {"lambd": 0.5}),
        ("threshold", {"threshold": 1.0, "value": 0.0}),
    ],
)
def test_the_slope_at_nan_is_that_of_torch(name, keywords):
    torch = pytest.importorskip("torch")
    x = torch.tensor(float("nan"), requires_grad=True)
    getattr(torch.nn.functional, name)(x, **keywords).backward()
    assert float(x.grad) == AT_NAN[name]
