"""Initialisers: variances and shapes of every name, gains against PyTorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import inits, theory

VARIANCE = {
    "xavier": lambda i, o: 2 / (i + o),
    "he": lambda i, o: 2 / i,
    "lecun": lambda i, o: 1 / i,
}


@pytest.mark.parametrize("family", VARIANCE)
@pytest.mark.parametrize("form", ["normal", "uniform"])
def test_variances(family, form):
    w = inits.get(f"{family}_{form}")(jax.random.key(1), (3, 70, 250), jnp.float32)
    expected = VARIANCE[family](3 * 70, 3 * 250)
    # The variance of 52,500 samples is known to about 0.6 %.
    assert float(w.var()) == pytest.approx(expected, rel=0.03)
    bound = float(jnp.abs(w).max()) / math.sqrt(expected)
    assert (bound <= math.sqrt(3) * 1.001) == (form == "uniform")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", sorted({*inits.INITIALIZERS, *inits.ALIASES}))
def test_shape_and_dtype(name, dtype):
    shape = (3, 2, 5, 7) if name == "delta_orthogonal" else (5, 7)
    w = inits.get(name)(jax.random.key(0), shape, dtype)
    assert (w.shape, w.dtype) == (shape, dtype)


def test_aliases_are_the_same_initialiser():
    for alias, name in inits.ALIASES.items():
        assert inits.get(alias) is inits.get(name)
    with pytest.raises(ValueError, match="did you mean"):
        inits.get("kaimin")


def test_critical_weights():
    # What they were made for: E φ'² σ_w² = 1 at the fixed point.
    w = inits.critical("tanh", 0.3)(jax.random.key(2), (500, 400), jnp.float32)
    sigma_w = math.sqrt(500 * float(w.var()))
    assert sigma_w == pytest.approx(theory.critical("tanh", 0.3)[0][0], rel=0.01)
    o = inits.critical("tanh", 0.3, weights="orthogonal")(jax.random.key(2), (60, 40), jnp.float32)
    values = np.linalg.svd(np.asarray(o))[1]
    assert values == pytest.approx(theory.critical("tanh", 0.3)[0][0], rel=1e-5)
    kernel = inits.critical("relu", weights="delta_orthogonal")(
        jax.random.key(2), (3, 3, 8, 8), jnp.float32
    )
    centre = np.linalg.svd(np.asarray(kernel)[1, 1])[1]
    assert centre == pytest.approx(math.sqrt(2), rel=1e-5)


def test_delta_orthogonal_is_jaxs_where_that_has_one():
    key, shape = jax.random.key(3), (3, 2, 5, 7)
    expected = jax.nn.initializers.delta_orthogonal(1.5)(key, shape, jnp.float32)
    found = inits.delta_orthogonal(1.5)(key, shape, jnp.float32)
    assert np.count_nonzero(expected) == 35
    assert np.array_equal(found != 0, expected != 0)
    for kernel in (expected[1, 0], found[1, 0]):
        np.testing.assert_allclose(kernel @ kernel.T, 1.5**2 * np.eye(5), atol=1e-5)
    narrowing = inits.delta_orthogonal()(key, (3, 3, 6, 4), jnp.float32)[1, 1]
    np.testing.assert_allclose(narrowing.T @ narrowing, np.eye(4), atol=1e-6)
    dense = inits.delta_orthogonal()(key, (6, 4), jnp.float32)
    np.testing.assert_array_equal(dense, inits.orthogonal()(key, (6, 4), jnp.float32))


def test_critical_where_there_is_none():
    with pytest.raises(ValueError, match="no critical point"):
        inits.critical("softplus")
    with pytest.raises(ValueError, match="form of weights"):
        inits.critical("relu", weights="orthogonl")


def test_gains_against_torch():
    torch = pytest.importorskip("torch")
    for name, gain in inits.TORCH_GAINS.items():
        there = {"conv": "conv2d"}.get(name, name)
        assert gain == pytest.approx(torch.nn.init.calculate_gain(there), rel=1e-12)
    with pytest.raises(ValueError, match="PyTorch gain"):
        inits.torch_gain("gelu")


def test_torch_default_against_torch():
    torch = pytest.importorskip("torch")
    w = np.asarray(inits.get("torch_default")(jax.random.key(0), (300, 200), jnp.float32))
    t = torch.nn.Linear(300, 200).weight.detach().numpy()
    assert np.abs(w).max() == pytest.approx(np.abs(t).max(), rel=1e-3)
    assert w.var() == pytest.approx(t.var(), rel=0.02)
