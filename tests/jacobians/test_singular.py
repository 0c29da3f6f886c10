import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians

THEORY = json.loads(
    (pathlib.Path(__file__).parents[1] / "data" / "jacobians_theory.json").read_text()
)


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


W = weights(0, 23, 17) / 3


def network(x):
    """[17] -> [23]."""
    return jnp.tanh(jnp.asarray(W, x.dtype) @ x)


def numpys(x, f=network):
    with jax.enable_x64(True):
        jac = jax.jit(jax.vmap(jax.jacfwd(f)))(jnp.asarray(np.asarray(x, float)))
    return np.linalg.svd(np.asarray(jac), compute_uv=False)


@pytest.fixture(name="x")
def _x():
    return jnp.asarray(weights(1, 3, 17))


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"k": 4},
        {"k": 3, "smallest": True},
        pytest.param({"k": 17}, marks=pytest.mark.slow),
        pytest.param({"k": 2, "batch_size": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_against_numpy_and_within_the_bound(x, choice):
    found = jax.jit(jacobians.singular_values_and_errors(network, **choice))(x)
    want = numpys(x)
    k = choice.get("k", 17)
    want = want[:, -k:] if choice.get("smallest") else want[:, :k]
    assert found.value.shape == (3, k)
    assert (np.abs(found.value - want) <= found.error).all()
    np.testing.assert_allclose(found.value, want, atol=3e-6)


def test_it_stops_where_the_values_stand_still():
    """Wider than the default number of steps, so the process runs, and not to its end."""
    w = weights(7, 160, 150) / (1 + np.arange(150, dtype=np.float32)) ** 0.3

    def wide(x):
        return jnp.tanh(jnp.asarray(w, x.dtype) @ x)

    x = jnp.asarray(weights(8, 2, 150)) / 9
    for f, columns in ((wide, 150), (lambda x: jnp.asarray(w.T, x.dtype) @ jnp.sin(x), 160)):
        at = x if columns == 150 else jnp.pad(x, ((0, 0), (0, 10)))
        found = jax.jit(jacobians.singular_values_and_errors(f, 4))(at)
        want = numpys(at, f)[:, :4]
        assert (np.abs(found.value - want) <= found.error).all()
        # More than rounding, so it did stop early.
        assert (found.error.max(1) > 10 * np.finfo(np.float32).eps * found.value[:, 0]).all()
        np.testing.assert_allclose(found.value, want, rtol=3e-6)
        one = jax.jit(jacobians.singular_values(f, 4, batch_size=1))(at)
        np.testing.assert_allclose(one, want, rtol=3e-6)


@pytest.mark.slow
def test_wide_maps(x):
    def wide(x):
        return jnp.asarray(W[:5, :], x.dtype) @ jnp.sin(x)

    got = jax.jit(jacobians.singular_values(wide, 5))(x)
    np.testing.assert_allclose(got, numpys(x, wide), atol=3e-6)


@pytest.mark.slow
def test_float64(x):
    with jax.enable_x64(True):
        x = jnp.asarray(np.asarray(x, float))
        found = jax.jit(jacobians.singular_values_and_errors(network, 3))(x)
        assert found.value.dtype == jnp.float64
        np.testing.assert_allclose(found.value, numpys(x)[:, :3], rtol=1e-13)


def test_stopped_early_the_bound_holds(x):
    found = jax.jit(jacobians.singular_values_and_errors(network, 2, steps=4))(x)
    nearest = np.abs(found.value[:, :, None] - numpys(x)[:, None, :]).min(axis=-1)
    assert (nearest <= found.error).all()
    assert found.error.max() > 1e-3


def test_equal_values_and_a_null_space():
    q = jnp.asarray(np.linalg.qr(weights(5, 20, 20))[0])
    equal = jax.jit(jacobians.singular_values(lambda x: 3 * (q @ x), 4))(jnp.ones((1, 20)))
    np.testing.assert_allclose(equal, [[3, 3, 3, 3]], rtol=1e-6)
    low = jax.jit(jacobians.singular_values(lambda x: q[:, :2] @ (q[:, :2].T @ x), 4))
    np.testing.assert_allclose(low(jnp.ones((1, 20))), [[1, 1, 0, 0]], atol=1e-6)


def test_nan_is_data_and_does_not_hang(x):
    x = x.at[1, 0].set(jnp.nan)
    for k in (None, 3):
        got = jax.jit(jacobians.singular_values(network, k))(x)
        assert jnp.isnan(got[1]).all()
        assert jnp.isfinite(got[jnp.array([0, 2])]).all()


def test_condition_number_and_isometry(x):
    want = numpys(x)
    got = jax.jit(jacobians.condition_number(network))(x)
    np.testing.assert_allclose(got, want[:, 0] / want[:, -1], rtol=1e-5)
    moments = jax.jit(jacobians.isometry(network))(x)
    np.testing.assert_allclose(moments.mean, np.mean(want**2, axis=1), rtol=1e-6)
    np.testing.assert_allclose(moments.variance, np.var(want**2, axis=1), rtol=3e-6)


def test_orthogonal_chain_is_an_isometry():
    with jax.enable_x64(True):
        q = [np.linalg.qr(np.random.default_rng(k).normal(size=(12, 12)))[0] for k in range(50)]

        def chain(x):
            return jax.lax.scan(lambda x, q: (q @ x, None), x, jnp.asarray(np.stack(q)))[0]

        values = jax.jit(jacobians.singular_values(chain))(jnp.ones((1, 12)))
        case = THEORY["orthogonal_isometry"][0]
        assert np.abs(values - 1).max() <= case["tol"]
        assert jax.jit(jacobians.isometry(chain))(jnp.ones((1, 12))).variance[0] < 1e-24


def test_delta_orthogonal_convolution_is_an_isometry():
    """Xiao et al., 2018, arXiv:1806.05393: an orthogonal matrix at the kernel's centre."""
    with jax.enable_x64(True):
        q = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        kernel = jnp.zeros((3, 3, 3, 3)).at[1, 1].set(q)

        def layer(x):
            x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="wrap")
            dims = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(
                x[None], kernel, (1, 1), "VALID", dimension_numbers=dims
            )[0]

        values = jax.jit(jacobians.singular_values(layer))(jnp.ones((1, 4, 5, 3)))
        assert values.shape == (1, 60)
        assert np.abs(values - 1).max() <= THEORY["orthogonal_isometry"][1]["tol"]


# --- Theory at some hundred units, by Monte Carlo ------------------------------------------------


def layers(kind, length, n, seed):
    generator = np.random.default_rng(seed)
    w = generator.normal(size=(length, n, n)) / n**0.5
    if kind == "orth":
        w = np.stack([np.linalg.qr(m)[0] for m in w])
    return w.astype(np.float32)


ACTS = {"linear": lambda z: z, "relu": lambda z: 2**0.5 * jax.nn.relu(z)}


def spectrum(kind, act, length, n, seed):
    """λ/mean λ, at pre-activations that are independent of the weights (the theory's freeness)."""
    w = jnp.asarray(layers(kind, length, n, seed))
    z = jnp.asarray(np.random.default_rng(100 + seed).normal(size=(length, n)).astype(np.float32))
    slopes = jacobians.derivative(ACTS[act])(z)

    def chain(x):
        return jax.lax.scan(lambda x, at: (at[1] * (at[0] @ x), None), x, (w, slopes))[0]

    values = np.asarray(jax.jit(jacobians.singular_values(chain))(jnp.zeros((1, n)))[0], float) ** 2
    return values / values.mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        c
        for c in THEORY["jacobian_spectrum_variance"]
        if c["params"]["act"] in ACTS and c["params"].get("L") == 8
    ],
    ids=str,
)
def test_spectrum_variance(case):
    p = case["params"]
    found = [np.var(spectrum(p["weights"], p["act"], 8, 200, seed)) for seed in range(6)]
    np.testing.assert_allclose(np.mean(found), case["value"], rtol=0.12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c for c in THEORY["jacobian_lambda_max"] if c["params"]["L"] <= 8], ids=str
)
def test_largest_eigenvalue(case):
    p = case["params"]
    found = [spectrum(p["weights"], p["act"], p["L"], 300, seed).max() for seed in range(4)]
    # The edge is approached from below, as N^(-2/3).
    assert 0.8 < np.mean(found) / case["value"] < 1.03


# --- Wrong input ----------------------------------------------------------------------------------


def test_k_out_of_range(x):
    for k in (0, 18, -1):
        with pytest.raises(ValueError, match=rf"k is {k}; wanted 1 ... 17"):
            jacobians.singular_values(network, k)(x)
    with pytest.raises(ValueError, match=r"steps is 30; wanted k = 2 ... 17"):
        jacobians.singular_values(network, 2, steps=30)(x)


def test_one_example_instead_of_a_batch(x):
    with pytest.raises(ValueError, match=r"f fails on one example of shape \(\)"):
        jacobians.singular_values(network, 2)(x[0])
    with pytest.raises(TypeError, match=r"int32"):
        jacobians.singular_values(network, 2)(jnp.ones((2, 17), int))
