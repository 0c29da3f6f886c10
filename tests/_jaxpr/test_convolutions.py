"""Gradients of convolutions are the same numbers, from convolutions of one layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jgrad import _jaxpr

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="left to XLA elsewhere")

X = jax.random.normal(jax.random.key(0), (2, 9, 8, 4))
KERNEL = jax.random.normal(jax.random.key(1), (3, 3, 4, 4)) / 6
PLAIN = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))


def convolution(x, kernel, strides=(1, 1), padding=((1, 1), (1, 1)), layout="NHWC", **options):
    numbers = (layout, "HWIO", layout)
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers, **options
    )


def strided(x, kernel):
    return jnp.tanh(convolution(x, kernel, (2, 3), ((0, 1), (2, 1))))


def dilated(x, kernel):
    return jnp.tanh(convolution(x, kernel, rhs_dilation=(2, 1)))


def grouped(x, kernel):
    return jnp.tanh(convolution(x, kernel[:, :, :2], feature_group_count=2))


def of_torch(x, kernel):
    turned = x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1)
    return jnp.tanh(lax.conv_general_dilated(*turned, (2, 1), "VALID"))


def one_axis(x, kernel):
    numbers = ("NWC", "WIO", "NWC")
    return jnp.tanh(
        lax.conv_general_dilated(x[:, 0], kernel[0], (2,), "SAME", dimension_numbers=numbers)
    )


def scanned(x, kernel):
    kernels = jnp.stack([kernel, 2 * kernel])
    return lax.scan(lambda h, k: (jnp.tanh(convolution(h, k)), None), x, kernels)[0]


def remembered(x, kernel):
    return jax.checkpoint(lambda x, k: jnp.tanh(convolution(jnp.sin(x), k)))(x, kernel)


def chosen(x, kernel):
    return lax.cond(x[0, 0, 0, 0] > 0, strided, lambda x, k: -strided(x, k), x, kernel)


def jitted_and_mapped(x, kernel):
    return jax.vmap(jax.jit(strided), (None, 0))(x, jnp.stack([kernel, kernel**2]))


def convolutions(graph):
    for node in graph.nodes:
        if node.name == "conv_general_dilated":
            yield node.eqn.params
        for body in node.bodies:
            yield from convolutions(body)


PROGRAMS = (
    convolution,
    strided,
    dilated,
    grouped,
    of_torch,
    one_axis,
    scanned,
    remembered,
    chosen,
    jitted_and_mapped,
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_gradient_is_the_same(program):
    def loss(x, kernel):
        return jnp.sum(jnp.sin(3 * program(x, kernel)))

    plain = jax.value_and_grad(loss, (0, 1))
    relaid = _jaxpr.relaid(plain)
    value, grads = jax.jit(relaid)(X, KERNEL)
    expected_value, expected = jax.jit(plain)(X, KERNEL)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    for g, e in zip(grads, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=0, atol=2e-5 * np.abs(e).max())
    found = list(convolutions(_jaxpr.trace(relaid, X, KERNEL)[0]))
    assert len(found) >= 2
    for params in found:
        if params["batch_group_count"] == 1:
            last = len(params["window_strides"]) + 1
            numbers = params["dimension_numbers"]
            assert numbers.lhs_spec[:2] == numbers.out_spec[:2] == (0, last)
            assert numbers.rhs_spec[:2] == (last, last - 1)


def test_a_plain_gradient_is_laid_out_otherwise():
    """So that the test above can fail, and there is something to do."""
    found = convolutions(_jaxpr.trace(jax.grad(lambda k: strided(X, k).sum()), KERNEL)[0])
    assert any(params["dimension_numbers"] != PLAIN for params in found)


def test_what_is_no_convolution_passes():
    def fn(tree, key):
        return {"out": tree["w"] * jax.random.normal(key, (3,)), "twice": 2 * tree["n"]}

    given = {"w": jnp.arange(3.0), "n": 5}, jax.random.key(3)
    plain, relaid = fn(*given), _jaxpr.relaid(fn)(*given)
    np.testing.assert_array_equal(plain["out"], relaid["out"])
    assert relaid["twice"] == 10
