"""What the tests of torch.func, JAX and BackPACK ask of a Jacobian, as facts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jgrad import jacobians


def rows(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- torch.func, TestJac: each at a batch of two ------------------------------------------------

X = jnp.asarray(rows(0, 2, 3))
Y = jnp.asarray(rows(1, 2, 3))
EYE = np.eye(3, dtype=np.float32)


def diagonals(values):
    return np.einsum("bi,ij->bij", np.asarray(values), EYE)


def close(got, want, atol=3e-7):
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, atol=atol)


def test_simple_and_vmapped():
    close(jacobians.jacobian(jnp.sin)(X), diagonals(np.cos(X)))
    twice = jax.vmap(jacobians.jacobian(jnp.sin))(jnp.stack([X, Y]))
    close(twice, np.stack([diagonals(np.cos(X)), diagonals(np.cos(Y))]))


def test_other_numbers_of_dimensions():
    """[3] -> [2, 1, 2]: every entry one of x's, or a square."""

    def f(x):
        return jnp.stack([x[:2], x[1:] ** 2])[:, None]

    want = np.zeros((2, 2, 1, 2, 3), np.float32)
    want[:, 0, 0, [0, 1], [0, 1]] = 1
    want[:, 1, 0, 0, 1], want[:, 1, 0, 1, 2] = 2 * np.asarray(X[:, 1]), 2 * np.asarray(X[:, 2])
    close(jacobians.jacobian(f)(X), want)


def test_several_inputs_and_outputs():
    got = jacobians.jacobian(lambda xy: {"product": xy[0] * xy[1], "sum": jnp.sum(xy[1])})((X, Y))
    close(got["product"][0], diagonals(Y))
    close(got["product"][1], diagonals(X))
    close(got["sum"][0], np.zeros((2, 3)))
    close(got["sum"][1], np.ones((2, 3)))


def test_scalars_in_and_out():
    x = X[:, 0]
    close(jacobians.jacobian(jnp.sin)(x), np.cos(x))
    close(jacobians.jacobian(lambda x: jnp.sin(x)[None])(x), np.cos(x)[:, None])
    close(jacobians.jacobian(jnp.prod)(X), [np.prod(r) / r for r in np.asarray(X)], 2e-6)


def test_unrelated():
    close(jacobians.jacobian(lambda xy: jnp.ones((2, 1)))((X, Y))[1], np.zeros((2, 2, 1, 3)))
    with pytest.raises(ValueError, match="nothing to differentiate"):
        jacobians.jacobian(lambda x: ())(X)


# --- JAX, api_test ------------------------------------------------------------------------------

A = jnp.asarray(rows(2, 4, 3))


@pytest.mark.parametrize("mode", ["auto", "fwd", "rev"])
def test_linear_and_its_hessian(mode):
    close(jacobians.jacobian(lambda x: A @ x, mode)(X), np.stack([A, A]))
    square = jnp.asarray(rows(3, 3, 3))
    hessian = jacobians.jacobian(jax.grad(lambda x: x @ square @ x), mode)(X)
    close(hessian, np.stack([square + square.T] * 2), 2e-6)


def test_pytrees_of_scalars_and_products():
    x, y = X[:, 0], Y[:, 0]
    got = jacobians.jacobian(lambda p: (p[0] * p[1], jnp.sin(p[1])))((x, y))
    for row, wants in zip(got, [(y, x), (0 * x, np.cos(y))], strict=True):
        for entry, want in zip(row, wants, strict=True):
            close(entry, want)


def test_complex_input_is_an_error():
    with pytest.raises(TypeError, match="complex64"):
        jacobians.jacobian(jnp.sin)(X.astype(jnp.complex64))


def test_gradients_of_what_comes_out():
    def f(x):
        return jnp.tanh(A @ x) ** 2

    for of in (
        jacobians.jacobian(f),
        jacobians.jacobian(jnp.tanh),
        lambda x: jacobians.isometry(f)(x).mean,
        lambda x: jacobians.jtj(f)(x, Y),
    ):
        check_grads(jax.jit(of), (X,), order=1, modes=["fwd", "rev"], rtol=2e-2, atol=2e-2)
    check_grads(jax.jit(jacobians.derivative(jnp.tanh, 2)), (X,), order=2, rtol=2e-2, atol=2e-2)


# --- BackPACK: Jacobian products of its settings' layers, three vectors, against PyTorch ---------

#: Its fixed input: saturation, an exact zero, negatives.
FIXED = np.array([[-1.0, 43.0, 1.3], [-2.0, -0.3, 2.3], [0.0, -4.0, 0.33]], np.float32)
WEIGHT, BIAS = rows(4, 5, 3), rows(5, 5)
KERNEL1, KERNEL2 = rows(6, 4, 2, 3), rows(7, 3, 2, 3, 2)


def convolve(x, kernel, stride, padding):
    letters = "XYZ"[: kernel.ndim - 2]
    numbers = ("NC" + letters, "OI" + letters, "NC" + letters)
    pads = [(padding, padding)] * len(letters)
    return jax.lax.conv_general_dilated(
        x[None], jnp.asarray(kernel), (stride,) * len(letters), pads, dimension_numbers=numbers
    )[0]


def pool(x, start, combine, size):
    window = (1, *(size for _ in x.shape[1:]))
    return jax.lax.reduce_window(x, start, combine, window, window, "VALID")


#: name: (one example in JAX, one example in PyTorch, input)
SETTINGS = {
    "linear": (
        lambda x: WEIGHT @ x + BIAS,
        lambda t, x: t.nn.functional.linear(x, t.tensor(WEIGHT), t.tensor(BIAS)),
        FIXED,
    ),
    "logsigmoid": (jax.nn.log_sigmoid, lambda t, x: t.nn.functional.logsigmoid(x), FIXED),
    "elu": (lambda x: jax.nn.elu(x, 0.3), lambda t, x: t.nn.functional.elu(x, 0.3), FIXED),
    "conv1d": (
        lambda x: convolve(x, KERNEL1, 1, 1),
        lambda t, x: t.nn.functional.conv1d(x, t.tensor(KERNEL1), padding=1),
        rows(8, 3, 2, 7),
    ),
    "conv2d": (
        lambda x: convolve(x, KERNEL2, 2, 1),
        lambda t, x: t.nn.functional.conv2d(x, t.tensor(KERNEL2), stride=2, padding=1),
        rows(9, 3, 2, 7, 6),
    ),
    "max pool": (
        lambda x: pool(x, -jnp.inf, jax.lax.max, 2),
        lambda t, x: t.nn.functional.max_pool2d(x, 2),
        rows(10, 3, 2, 6, 4),
    ),
    "average pool": (
        lambda x: pool(x, 0.0, jax.lax.add, 2) / 4,
        lambda t, x: t.nn.functional.avg_pool2d(x, 2),
        rows(11, 3, 2, 6, 4),
    ),
    "zero pad": (
        lambda x: jnp.pad(x, ((0, 0), (1, 2), (3, 0))),
        lambda t, x: t.nn.functional.pad(x, (3, 0, 1, 2)),
        rows(12, 3, 2, 3, 4),
    ),
    "softmax": (jax.nn.softmax, lambda t, x: t.nn.functional.softmax(x, -1), FIXED),
    "mean square": (
        lambda x: jnp.mean((x - BIAS[:3]) ** 2),
        lambda t, x: t.nn.functional.mse_loss(x, t.tensor(BIAS[:3])),
        FIXED,
    ),
    "cross entropy": (
        lambda x: -jax.nn.log_softmax(x)[1],
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor(1)),
        FIXED,
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_jacobian_products(name):
    torch = pytest.importorskip("torch")
    ours, theirs, x = SETTINGS[name]
    at = torch.tensor(x)
    dense = torch.func.vmap(torch.func.jacrev(lambda x: theirs(torch, x)))(at).numpy()
    out = dense.shape[1 : dense.ndim - (x.ndim - 1)]
    size = int(np.prod(out))
    matrix = dense.reshape(3, size, x[0].size)
    v, u = rows(13, 3, *x.shape), rows(14, 3, 3, *out)
    flat_v, flat_u = v.reshape(3, 3, -1), u.reshape(3, 3, -1)
    wants = {
        "jvp": (v, np.einsum("bij,vbj->vbi", matrix, flat_v)),
        "vjp": (u, np.einsum("bij,vbi->vbj", matrix, flat_u)),
    }
    for which, (vectors, want) in wants.items():
        product = getattr(jacobians, which)(ours)
        got = jax.jit(jax.vmap(product, (None, 0)))(jnp.asarray(x), jnp.asarray(vectors))
        np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-5, atol=1e-5)
    got = jax.jit(jacobians.jacobian(ours))(jnp.asarray(x))
    np.testing.assert_allclose(got, dense, rtol=1e-5, atol=1e-5)
