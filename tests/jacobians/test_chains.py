import json
import math
import pathlib

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jgrad import jacobians

THEORY = json.loads(
    (pathlib.Path(__file__).parents[1] / "data" / "jacobians_theory.json").read_text()
)


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def log_svd(matrices, digits=300):
    """ln of the singular values of the product, the first matrix applied first, by mpmath."""
    with mpmath.workdps(digits):
        product = mpmath.eye(matrices[0].shape[1])
        for m in matrices:
            product = mpmath.matrix(m.astype(float).tolist()) * product
        values = mpmath.svd_r(product, compute_uv=False)
        return np.array([float(mpmath.log(v)) for v in values])


def product(w, x):
    return w @ x


@pytest.mark.parametrize(("length", "n"), [(1, 5), (2, 4), (150, 5)])
def test_products_against_mpmath(length, n):
    w = weights(length, length, n, n) / 3
    got = jax.jit(jacobians.log_singular_values([(product, jnp.asarray(w))]))(jnp.ones((1, n)))
    np.testing.assert_allclose(got[0], log_svd(w), atol=3e-6 * length + 2e-6, rtol=3e-7)


def test_sizes_that_change_on_the_way():
    w = [weights(k, m, n) for k, (n, m) in enumerate([(5, 7), (7, 3), (3, 6)])]
    maps = [lambda x, w=w: jnp.asarray(w) @ x for w in w]
    got = jax.jit(jacobians.log_singular_values(maps))(jnp.ones((1, 5)))
    assert got.shape == (1, 3)
    np.testing.assert_allclose(got[0], log_svd(w)[:3], atol=2e-6)


def test_a_network_against_the_dense_svd():
    w = jnp.asarray(weights(3, 4, 6, 6))

    def layer(w, x):
        return jnp.tanh(w @ x / 2)

    def network(x):
        for k in range(4):
            x = layer(w[k], x)
        return x

    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(5).normal(size=(3, 6)))
        w = w.astype(jnp.float64)
        dense = np.linalg.svd(jax.vmap(jax.jacfwd(network))(x), compute_uv=False)
        got = jax.jit(jacobians.log_singular_values([(layer, w)]))(x)
        assert got.dtype == jnp.float64
    np.testing.assert_allclose(got, np.log(dense), atol=1e-11)


def test_ten_thousand_layers():
    q = jnp.asarray(np.linalg.qr(weights(4, 7, 7))[0])
    got = jax.jit(jacobians.log_singular_values([lambda x: math.exp(-0.5) * (q @ x)] * 10_000))(
        jnp.ones((1, 7))
    )
    np.testing.assert_allclose(got, -5000, rtol=2e-7 * 10)


def test_orders_of_magnitude_apart_in_any_order():
    scale = np.array([0.5, 2.0, 0.1, 1.0, 3.0], np.float32)
    got = jax.jit(jacobians.log_singular_values([lambda x: x * jnp.asarray(scale)] * 2000))(
        jnp.ones((1, 5))
    )
    want = -np.sort(-2000 * np.log(scale.astype(float)))
    np.testing.assert_allclose(got[0], want, rtol=3e-7, atol=1e-3)


def test_dead_units_are_exactly_minus_infinity():
    w = jnp.asarray(weights(0, 6, 6))
    x = jnp.asarray(weights(1, 4, 6))
    alive = np.sum(np.asarray(x @ w.T) > 0, axis=1)
    maps = [lambda x: jax.nn.relu(w @ x)]
    got = np.asarray(jax.jit(jacobians.log_singular_values(maps))(x))
    np.testing.assert_array_equal(np.isneginf(got).sum(axis=1), 6 - alive)
    assert 0 < alive.min() < 6
    many = np.asarray(jax.jit(jacobians.log_singular_values(maps * 3))(x))
    assert not np.isnan(many).any()


def test_nan_is_data():
    got = jax.jit(jacobians.log_singular_values([jnp.sin] * 3))(jnp.array([[0.1, jnp.nan]]))
    assert jnp.isnan(got).any()


def test_wrong_chains():
    with pytest.raises(ValueError, match="empty"):
        jacobians.log_singular_values([])
    with pytest.raises(ValueError, match=r"2 times in a row but turns float32\[3\]"):
        jacobians.log_singular_values([lambda x: x[:2]][:1] * 2)(jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="one leading axis"):
        jacobians.log_singular_values([jnp.sin])(jnp.ones(()))


def test_a_chain_is_of_single_arrays():
    x = jnp.ones((1, 2))
    with pytest.raises(TypeError, match=r"what a map returns is .*'a'.*take and give one array"):
        jacobians.log_singular_values([lambda x: {"a": x}])(x)
    with pytest.raises(ValueError, match=r"params has the shapes \(3, 2, 2\), \(\)"):
        jacobians.log_singular_values([(lambda p, x: p[0] @ x, (jnp.ones((3, 2, 2)), 3.0))])(x)


# --- Against theory ----------------------------------------------------------------------------


def normal_product(length, n, seed):
    return weights(seed, length, n, n) / np.float32(n**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("case", THEORY["fuss_catalan_moments"], ids=str)
def test_fuss_catalan_moments(case):
    length, k = case["params"]["L"], case["params"]["k"]
    moments = []
    for seed in range(4):
        w = jnp.asarray(normal_product(length, 200, seed))

        def chain(x, w=w):
            return jax.lax.scan(lambda x, w: (w @ x, None), x, w)[0]

        values = jax.jit(jacobians.singular_values(chain))(jnp.zeros((1, 200)))
        moments.append(np.mean(np.asarray(values, float) ** (2 * k)))
    np.testing.assert_allclose(np.mean(moments), case["value"], rtol=1.5 * case["tol"])


@pytest.mark.parametrize(
    "case", [c for c in THEORY["ginibre_lyapunov"] if c["params"]["N"] < 10], ids=str
)
def test_ginibre_exponents(case):
    n, i = case["params"]["N"], case["params"]["i"]
    w = jnp.asarray(normal_product(20_000, n, n))[None]
    found = ginibre(n)(jnp.ones((1, n)), w)
    assert abs(found.value[0, i - 1] - case["value"]) < 4 * found.error[0, i - 1]
    assert found.error[0, i - 1] < 0.01


def ginibre(n):
    if n not in _COMPILED:
        # The state stays put: what is measured is the product of the matrices.
        _COMPILED[n] = jax.jit(
            jacobians.lyapunov_exponents(lambda h, w: w @ h - jax.lax.stop_gradient(w @ h))
        )
    return _COMPILED[n]


_COMPILED = {}


def test_linear_recurrence_grows_with_its_spectral_radius():
    w = weights(2, 6, 6)
    w = jnp.asarray((w + w.T) / 4)

    def step(h, x):
        return w @ h + x

    state, inputs = jnp.zeros((2, 6)), jnp.asarray(weights(9, 2, 400, 6))
    want = -np.sort(-np.log(np.abs(np.linalg.eigvalsh(np.asarray(w, float)))))
    for backward in (False, True):
        exponents = jax.jit(jacobians.lyapunov_exponents(step, backward=backward, discard=340))
        found = exponents(state, inputs)
        np.testing.assert_allclose(found.value, [want, want], atol=3e-4)
        assert found.error[:, 0].max() < 1e-5


def test_forget_gate_alone():
    """An LSTM's cell path with zero weights: sigmoid(1) a step (Gers et al., 2000)."""

    def step(state, x):
        h, c = state
        return 0 * h, jax.nn.sigmoid(1.0) * c + x

    state = (jnp.ones((1, 2)), jnp.ones((1, 1)))
    found = jacobians.lyapunov_exponents(step, 1, discard=1, blocks=2)(state, jnp.zeros((1, 11, 1)))
    want = THEORY["rnn_linear_fixed"][1]["value"]
    np.testing.assert_allclose(np.exp(10 * found.value), want, rtol=1e-5)


def test_a_state_of_two_dtypes():
    def step(state, x):
        h, c = state
        return (c.astype(h.dtype) / 2, 0.25 * h.astype(c.dtype) + x)

    state = (jnp.ones((1, 2), jnp.bfloat16), jnp.ones((1, 2)))
    for backward in (False, True):
        exponents = jacobians.lyapunov_exponents(step, backward=backward, discard=30, blocks=2)
        found = exponents(state, jnp.zeros((1, 60, 2)))
        assert found.value.dtype == jnp.float32
        np.testing.assert_allclose(found.value, np.full((1, 4), np.log(0.125) / 2), rtol=1e-3)


def test_forward_and_backward_sum_to_the_determinant():
    w = jnp.asarray(weights(1, 5, 5))

    def step(h, x):
        return jnp.tanh(w @ h + x)

    state, inputs = jnp.zeros((1, 5)), jnp.asarray(weights(2, 1, 60, 5))
    h, total = state[0], 0.0
    for x in inputs[0]:
        total += np.linalg.slogdet(np.asarray(jax.jacfwd(step)(h, x), float))[1]
        h = step(h, x)
    for backward in (False, True):
        found = jax.jit(jacobians.lyapunov_exponents(step, backward=backward))(state, inputs)
        np.testing.assert_allclose(60 * found.value.sum(), total, rtol=1e-5)


def test_wrong_lyapunov_input():
    exponents = jacobians.lyapunov_exponents
    state, inputs = jnp.zeros((2, 3)), jnp.zeros((2, 30, 3))
    with pytest.raises(ValueError, match=r"count is 4; wanted 1 \.\.\. 3"):
        exponents(jnp.add, 4)(state, inputs)
    with pytest.raises(ValueError, match=r"wanted \[2, time, ...\]"):
        exponents(jnp.add)(state, inputs[:1])
    with pytest.raises(ValueError, match="discard is 25 and blocks 20 for 30 steps"):
        exponents(jnp.add, discard=25)(state, inputs)
    with pytest.raises(ValueError, match="wanted those of state"):
        exponents(lambda h, x: h[:2])(state, inputs)
