import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from jgrad import jacobians


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 5)])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_against_mpmath(shape, order):
    x = np.random.default_rng(order).normal(size=shape).astype(np.float32)
    want = np.vectorize(lambda v: float(mpmath.diff(mpmath.tanh, mpmath.mpf(float(v)), order)))(x)
    got = jacobians.derivative(jnp.tanh, order)(x)
    assert got.shape == shape
    np.testing.assert_allclose(got, want, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_keeps_the_dtype(dtype):
    x = jnp.linspace(-2.0, 2.0, 9).astype(dtype)
    got = jacobians.derivative(jax.nn.silu)(x)
    assert got.dtype == dtype
    want = jacobians.derivative(jax.nn.silu)(x.astype(jnp.float32))
    tolerance = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got.astype(jnp.float32), want, atol=tolerance)


def test_float64():
    with jax.enable_x64(True):
        x = jnp.array([0.3, -1.7])
        got = jacobians.derivative(jnp.sin, 3)(x)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, -np.cos([0.3, -1.7]), rtol=1e-14)


def test_nan_is_data():
    got = jacobians.derivative(jnp.tanh)(jnp.array([jnp.nan, 0.0]))
    assert jnp.isnan(got[0])
    assert got[1] == 1


def test_under_jit_and_vmap():
    x = jnp.arange(6.0).reshape(2, 3) / 4
    got = jax.jit(jax.vmap(jacobians.derivative(jnp.sin)))(x)
    np.testing.assert_allclose(got, np.cos(x), rtol=2e-7)


def test_wrong_input():
    with pytest.raises(ValueError, match="order is -1"):
        jacobians.derivative(jnp.tanh, -1)
    with pytest.raises(TypeError, match=r"int32\[3\]"):
        jacobians.derivative(jnp.tanh)(jnp.arange(3))
    with pytest.raises(ValueError, match=r"maps shape \(3,\) to \(\)"):
        jacobians.derivative(jnp.sum)(jnp.ones(3))
    with pytest.raises(TypeError, match="not differentiable"):
        jacobians.derivative(lambda x: x.astype(jnp.int32))(jnp.ones(3))


def test_refuses_what_couples_elements():
    x = jnp.ones((2, 3))
    for f in (jax.nn.softmax, jnp.transpose, lambda x: jnp.cumsum(x, axis=0)):
        with pytest.raises(ValueError, match=r"elements depend|not elementwise"):
            jacobians.derivative(f)(x)


def test_takes_your_word():
    def f(x):
        return jnp.sin(x[::-1])[::-1]

    x = jnp.array([0.3, -1.2, 2.0])
    with pytest.raises(ValueError, match="check=False"):
        jacobians.derivative(f)(x)
    np.testing.assert_allclose(jacobians.derivative(f, check=False)(x), np.cos(x), rtol=3e-7)


def test_of_a_custom_vjp():
    @jax.custom_vjp
    def straight_through(x):
        return jnp.round(x)

    straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, u: (u,))

    def f(x):
        return straight_through(2 * x)

    x = jnp.array([0.3, 1.4])
    np.testing.assert_array_equal(jax.jit(jacobians.derivative(f))(x), [2, 2])
    got = jax.jit(jacobians.jacobian(f))(x[None])
    np.testing.assert_array_equal(got, 2 * np.eye(2)[None])
    assert jacobians.structure(f, x[None]).mode == "rev"
