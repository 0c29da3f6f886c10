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


# --- Structure --------------------------------------------------------------------------------

w34 = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
w66 = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
kernel = np.random.default_rng(2).normal(size=(3,)).astype(np.float32)


def conv_nhwc(x):
    k = jnp.asarray(np.random.default_rng(3).normal(size=(3, 2, 2, 5)).astype(np.float32))
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], k, (1, 1), "SAME", dimension_numbers=dims)[0]


def narrow(x):
    for k, (n, m) in enumerate([(12, 10), (10, 2), (2, 9), (9, 13)]):
        w = jnp.asarray(np.random.default_rng(k).normal(size=(n, m)).astype(np.float32))
        x = jnp.tanh(x @ w)
    return x


def scanned(x):
    return jax.lax.scan(lambda c, a: (c, jnp.sin(a) * jnp.sum(a)), 0.0, x)[1]


def recurrent(x):
    return jax.lax.scan(lambda c, a: (jnp.tanh(c + a), c * a), jnp.zeros(3), x)[1]


def stencil_loop(x):
    return jax.lax.fori_loop(0, 2, lambda _, z: jnp.sin(z) + jnp.pad(z[1:], (0, 1)), x)


#: name -> (f, input shape, kind, products)
CASES = {
    "elementwise": (lambda x: jax.nn.gelu(jnp.tanh(x) * x), (3, 4), "elementwise", 1),
    "relu with a stopped sum": (
        lambda x: jnp.where(x > 0, x, jax.lax.stop_gradient(x.sum()) * x),
        (5,),
        "elementwise",
        1,
    ),
    "jitted": (jax.jit(lambda x: jax.nn.silu(x) + 1), (7,), "elementwise", 1),
    "remat": (jax.checkpoint(lambda x: jnp.sin(x) ** 2), (7,), "elementwise", 1),
    "cond": (lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), (7,), "elementwise", 1),
    "while": (
        lambda x: jax.lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x)
        )[1],
        (6,),
        "elementwise",
        1,
    ),
    "scan map": (scanned, (5, 3), "block-diagonal", 3),
    "scan carry": (recurrent, (5, 3), "block-diagonal", 5),
    "transposed": (lambda x: jnp.sin(x).T, (3, 4), "block-diagonal", 1),
    "softmax over rows": (lambda x: jax.nn.softmax(x, axis=-1), (5, 3), "block-diagonal", 3),
    "softmax over columns": (lambda x: jax.nn.softmax(x, axis=0), (3, 5), "block-diagonal", 3),
    "position-wise": (lambda x: jnp.tanh(x @ w34) @ w34.T, (5, 3), "block-diagonal", 3),
    "position-wise to a scalar": (lambda x: jnp.sum(x**2, -1), (5, 3), "block-diagonal", 1),
    "flat blocks": (lambda x: (x.reshape(4, 3) @ w34).reshape(-1), (12,), "block-diagonal", 3),
    "flat blocks after a slice": (
        lambda x: (x[:12].reshape(4, 3) @ w34).reshape(-1),
        (14,),
        "dense",
        14,
    ),
    "difference": (lambda x: x[1:] * x[:-1], (9,), "banded", 2),
    "padded stencil": (
        lambda x: jnp.pad(x[2:], (0, 2)) * x - jnp.sin(jnp.pad(x[:-1], (1, 0))),
        (9,),
        "banded",
        4,
    ),
    "convolve": (lambda x: jnp.convolve(x, kernel), (11,), "banded", 3),
    "conv": (conv_nhwc, (6, 7, 2), "banded", 12),
    "concatenated": (
        lambda x: jnp.concatenate([x[:3] ** 2, jnp.ones(2), x[3:]]),
        (8,),
        "banded",
        3,
    ),
    "bottleneck": (narrow, (12,), "bottleneck", 4),
    "jitted bottleneck": (jax.jit(narrow), (12,), "bottleneck", 4),
    "dense square": (lambda x: jnp.tanh(x @ w66), (6,), "dense", 6),
    "dense wide": (lambda x: jnp.sin(x @ w34.T), (4,), "dense", 3),
    "reversed": (lambda x: jnp.sin(x[::-1]), (5,), "dense", 5),
    "cumsum": (lambda x: jnp.cumsum(x), (5,), "dense", 5),
    "sort": (lambda x: jnp.sort(x), (5,), "dense", 5),
    "outer": (lambda x: x[:, None] * x[None, :], (4,), "dense", 4),
    "gather": (lambda x: x[jnp.array([2, 0, 1])] ** 2, (4,), "dense", 3),
    "unrelated": (lambda x: jnp.ones(3), (4,), "zero", 0),
    "rounded": (lambda x: jnp.round(x).astype(int).astype(jnp.float32), (4,), "zero", 0),
    "scalar": (lambda x: jnp.sin(x), (), "elementwise", 1),
    "scalar to vector": (lambda x: jnp.sin(x) * jnp.ones(3), (), "dense", 1),
    "loop stencil": (stencil_loop, (12,), "banded", 3),
    "singleton axes": (lambda x: jnp.sin(x)[:, :, 0], (4, 1, 1), "block-diagonal", 1),
    "eigh": (lambda x: jnp.linalg.inv(x + 4 * jnp.eye(3)), (3, 3), "dense", 9),
}


@pytest.mark.parametrize("name", CASES)
def test_structure_and_numbers(name):
    f, shape, kind, products = CASES[name]
    x = jax.random.normal(jax.random.key(7), (2, *shape))
    found = jacobians.structure(f, x)
    assert (found.kind, found.products) == (kind, products)
    got = jax.jit(jacobians.jacobian(f))(x)
    with jax.numpy_rank_promotion("allow"):
        want = jax.jit(jax.vmap(jax.jacfwd(f)))(x)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)
