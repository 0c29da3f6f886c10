"""Kink conventions, against PyTorch, jax.nn and the table of what TensorFlow does."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad.activations import (
    CATALOG,
    elu,
    hard_tanh,
    kinks,
    leaky_relu,
    rational,
    relu,
    selu,
    slope,
    softshrink,
    traits,
    with_kinks,
)

# Names of the catalogue with a kink where φ' (or φ) jumps or might, in PyTorch's words.
TORCH = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.01}),
    "elu": ("elu", {}),
    "selu": ("selu", {}),
    "celu": ("celu", {}),
    "hard_sigmoid": ("hardsigmoid", {}),
    "hard_silu": ("hardswish", {}),
    "hard_tanh": ("hardtanh", {}),
    "soft_sign": ("softsign", {}),
    "softshrink": ("softshrink", {"lambd": 0.5}),
    "hardshrink": ("hardshrink", {"lambd": 0.5}),
    "threshold": ("threshold", {"threshold": 1.0, "value": 0.0}),
}
JAX = ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "hard_sigmoid", "hard_silu"]
JAX += ["hard_tanh", "soft_sign", "sparse_plus", "sparse_sigmoid"]


@pytest.mark.parametrize("name", TORCH)
def test_torch(name):
    torch = pytest.importorskip("torch")
    called, keywords = TORCH[name]
    for kink, stated in kinks(CATALOG[name], "torch").items():
        x = torch.tensor(kink, requires_grad=True)
        getattr(torch.nn.functional, called)(x, **keywords).backward()
        assert stated == pytest.approx(float(x.grad), rel=1e-6)


@jax.jit
def _jax_slopes(points):
    return {name: jax.vmap(jax.grad(getattr(jax.nn, name)))(x) for name, x in points.items()}


@pytest.mark.loose_promotion
def test_jax():
    points = {name: jnp.array(list(kinks(CATALOG[name])), jnp.float32) for name in JAX}
    for name, found in _jax_slopes(points).items():
        stated = list(kinks(CATALOG[name]).values())
        np.testing.assert_allclose(stated, found, rtol=1e-6, err_msg=name)


def test_tensorflow():
    assert kinks(leaky_relu, "tf") == {0.0: 0.01}
    assert kinks(functools.partial(elu, alpha=2.0), "tf") == {0.0: 1.0}
    assert kinks(selu, "tf") == {0.0: pytest.approx(1.0507009873554805)}
    assert kinks(relu, "tf") == {0.0: 0.0}


@jax.jit
def _slopes_at_kinks():
    return {
        name: slope(phi)(jnp.array(traits(name).kinks, jnp.float32))
        for name, phi in CATALOG.items()
        if traits(name).kinks
    }


def test_default_is_what_slope_gives():
    """The stated slopes, which no compilation made, against the functions'."""
    for name, found in _slopes_at_kinks().items():
        stated = kinks(CATALOG[name])
        assert tuple(stated) == traits(name).kinks
        np.testing.assert_allclose(list(stated.values()), found, rtol=1e-6, err_msg=name)


def test_kinks_move_with_parameters():
    assert kinks(functools.partial(hard_tanh, min_val=-2.0)) == {-2.0: 1.0, 1.0: 1.0}
    assert kinks(functools.partial(softshrink, lambd=0.75)) == {-0.75: 0.0, 0.75: 0.0}
    inner = functools.partial(leaky_relu, negative_slope=0.5)
    assert kinks(functools.partial(inner, negative_slope=0.3), "torch") == {0.0: 0.3}


def test_with_kinks_changes_the_gradient_there_and_nothing_else():
    phi = with_kinks(hard_tanh, "torch")
    x = jnp.array([-1.0, -0.3, 0.0, 1.0, 1.5])
    np.testing.assert_array_equal(phi(x), hard_tanh(x))
    found = jax.jit(jax.vmap(jax.grad(phi)))(x)
    np.testing.assert_array_equal(found, [0.0, 1.0, 1.0, 0.0, 0.0])
    assert jax.grad(jax.grad(phi))(jnp.float32(0.5)) == 0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"unknown kink convention 'pytorch'.*'torch'"):
        kinks(relu, "pytorch")
    with pytest.raises(ValueError, match="unknown activation"):
        kinks(jnp.sin)
    with pytest.raises(ValueError, match="default coefficients only"):
        kinks(functools.partial(rational, denominator=(1.0, 2.0, 0.5, 0.5)))
