"""Activations that couple several inputs: their traits, oracles and the halves of gated units."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jgrad.activations import (
    COUPLED,
    coupled_traits,
    crelu,
    glu,
    log_softmax,
    maxout,
    softmax,
    sparsemax,
    split,
    swiglu,
)

ARRAY = [name for name in COUPLED if coupled_traits(COUPLED[name]).takes == "array"]
PAIR = [name for name in COUPLED if name not in ARRAY]
X = np.random.default_rng(3).normal(0, 2.5, (3, 5, 4)).astype(np.float32)
GATE = np.random.default_rng(4).normal(0, 2.5, (3, 5, 4)).astype(np.float32)


def _call(name, x, axis=-1):
    keywords = {"pieces": 2} if name == "maxout" else {}
    return np.asarray(COUPLED[name](jnp.asarray(x), axis=axis, **keywords))


def test_names():
    wanted = (
        "softmax log_softmax softmin sparsemax glu gtu bilinear reglu geglu swiglu maxout crelu"
    )
    assert set(COUPLED) == set(wanted.split())


@pytest.mark.parametrize("name", ARRAY)
def test_traits_of_arrays(name):
    facts = coupled_traits(COUPLED[name])
    y = _call(name, X)
    assert Fraction(y.shape[-1], X.shape[-1]) == facts.size
    assert facts.lower <= y.min()
    assert y.max() <= facts.upper
    sums = y.sum(axis=-1)
    if facts.sums_to is None:
        assert np.ptp(sums) > 0.1
    else:
        np.testing.assert_allclose(sums, facts.sums_to, atol=1e-6)
    shifted = np.allclose(_call(name, X + np.float32(1.5)), y, atol=1e-5)
    assert shifted == facts.shift_invariant
    scaled = _call(name, np.float32(3) * X)
    degree = next((k for k in (1, 2) if np.allclose(scaled, 3**k * y, rtol=1e-5)), None)
    assert degree == facts.degree


@pytest.mark.parametrize("name", ARRAY)
def test_axis(name):
    turned = _call(name, np.moveaxis(X, -1, 0), axis=0)
    np.testing.assert_allclose(np.moveaxis(turned, 0, -1), _call(name, X), rtol=1e-6)


@pytest.mark.parametrize("name", PAIR)
def test_traits_of_pairs(name):
    phi, facts = COUPLED[name], coupled_traits(COUPLED[name])
    y = np.asarray(phi(value=jnp.asarray(X), gate=jnp.asarray(GATE)))
    assert (y.shape, facts.size) == (X.shape, 1)
    assert facts.lower <= y.min()
    assert y.max() <= facts.upper
    scaled = np.asarray(phi(value=3 * jnp.asarray(X), gate=3 * jnp.asarray(GATE)))
    degree = next((k for k in (1, 2) if np.allclose(scaled, 3**k * y, rtol=1e-5)), None)
    assert degree == facts.degree


@pytest.mark.parametrize("name", PAIR)
def test_gated_units_are_value_times_gate(name):
    sigmoid = scipy.special.expit
    value, gate = {
        "glu": (X, sigmoid(GATE)),
        "gtu": (np.tanh(X), sigmoid(GATE)),
        "bilinear": (X, GATE),
        "reglu": (X, np.maximum(GATE, 0)),
        "geglu": (X, GATE * scipy.special.ndtr(GATE)),
        "swiglu": (X, GATE * sigmoid(GATE)),
    }[name]
    found = COUPLED[name](value=jnp.asarray(X), gate=jnp.asarray(GATE))
    np.testing.assert_allclose(found, value * gate, rtol=2e-6, atol=1e-7)


def test_split_names_the_halves():
    torch = pytest.importorskip("torch")
    wanted = torch.nn.functional.glu(torch.tensor(X)).numpy()
    found = glu(**split(jnp.asarray(X), gate="second"))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    first, second = X[..., :2], X[..., 2:]
    swapped = swiglu(**split(jnp.asarray(X), gate="first"))
    wanted = first * scipy.special.expit(first) * second
    np.testing.assert_allclose(swapped, wanted, rtol=2e-6, atol=1e-7)
    with pytest.raises(ValueError, match=r"even length along axis 1, got shape \(3, 5, 4\)"):
        split(jnp.asarray(X), gate="first", axis=1)


def test_normalisers_against_scipy():
    np.testing.assert_allclose(_call("softmax", X), scipy.special.softmax(X, -1), rtol=2e-6)
    np.testing.assert_allclose(_call("softmin", X), scipy.special.softmax(-X, -1), rtol=2e-6)
    wanted = scipy.special.log_softmax(X.astype(np.float64), -1)
    np.testing.assert_allclose(_call("log_softmax", X), wanted, rtol=2e-6)


def test_log_softmax_keeps_the_winners_tail():
    x = jnp.array([[30.0, 0.0, -5.0], [0.0, 0.0, 0.0]])
    wanted = [-np.log1p(np.exp(-30.0) + np.exp(-35.0)), -np.log(3.0)]
    np.testing.assert_allclose(log_softmax(x)[:, 0], wanted, rtol=1e-6)
    assert jax.nn.log_softmax(x)[0, 0] == 0
    # The gradient of log pᵢ is eᵢ - p, ties included.
    found = jax.vmap(jax.jacobian(log_softmax))(x)
    wanted = np.eye(3) - np.asarray(softmax(x))[:, None, :]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def _project(z):
    """The nearest point of the simplex, by bisection on the threshold."""
    low, high = z.min() - 1, z.max()
    for _ in range(200):
        tau = (low + high) / 2
        low, high = (tau, high) if np.maximum(z - tau, 0).sum() > 1 else (low, tau)
    return np.maximum(z - tau, 0)


def test_sparsemax_is_the_projection():
    wanted = np.apply_along_axis(_project, -1, X.astype(np.float64))
    np.testing.assert_allclose(_call("sparsemax", X), wanted, atol=1e-6)
    # Its Jacobian on the support is 1 - 1/k, off it 0.
    x = jnp.array([1.0, 0.7, -2.0])
    wanted = [[0.5, -0.5, 0], [-0.5, 0.5, 0], [0, 0, 0]]
    np.testing.assert_allclose(jax.jacobian(sparsemax)(x), wanted, atol=1e-6)


def test_maxout_and_crelu():
    np.testing.assert_array_equal(_call("maxout", X), X.reshape(3, 5, 2, 2).max(-1))
    with pytest.raises(ValueError, match=r"multiple of 3 along axis -1, got shape \(3, 5, 4\)"):
        maxout(jnp.asarray(X), pieces=3)
    halves = np.split(np.asarray(crelu(jnp.asarray(X), axis=1)), 2, axis=1)
    np.testing.assert_array_equal(halves[0] - halves[1], X)


@pytest.mark.parametrize("name", ARRAY)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_dtype_kept(name, dtype):
    keywords = {"pieces": 2} if name == "maxout" else {}
    y = COUPLED[name](jnp.asarray(X).astype(dtype), **keywords)
    assert y.dtype == dtype
    assert bool(jnp.isfinite(y).all())
