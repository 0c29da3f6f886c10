import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians


def network(x):
    """[3] -> [5]."""
    w = jnp.sin(jnp.arange(15.0)).reshape(3, 5)
    return jnp.tanh(x @ w) ** 2


@pytest.fixture(name="x")
def _x():
    return jax.random.normal(jax.random.key(1), (4, 3))


def by_differences(f, x, step=1e-6):
    """The loop over examples and inputs, central differences in float64."""
    with jax.enable_x64(True):
        x = np.asarray(x, np.float64)
        rows = []
        for example in x:
            columns = []
            for j in range(example.size):
                e = np.zeros(example.size)
                e[j] = step
                e = e.reshape(example.shape)
                difference = np.asarray(f(jnp.asarray(example + e))) - f(jnp.asarray(example - e))
                columns.append(np.asarray(difference) / (2 * step))
            stacked = np.stack(columns, axis=-1)
            rows.append(stacked.reshape(stacked.shape[:-1] + example.shape))
        return np.stack(rows)


@pytest.mark.parametrize("mode", ["auto", "fwd", "rev"])
@pytest.mark.parametrize("batch_size", [None, 1, 3, 4, 9])
def test_against_finite_differences(x, mode, batch_size):
    got = jacobians.jacobian(network, mode, batch_size)(x)
    assert got.shape == (4, 5, 3)
    np.testing.assert_allclose(got, by_differences(network, x), atol=2e-6)
