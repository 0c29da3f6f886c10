"""Normalisations against Flax's and PyTorch's own, and weight standardisation against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jgrad.models import CNN, MLP, NORMS, build
from jgrad.models._norms import standardised

pytestmark = pytest.mark.loose_promotion

DTYPES = {"dtype": np.dtype("float32"), "param_dtype": np.dtype("float32")}


def z(shape, seed=0):
    generator = np.random.default_rng(seed)
    return jnp.asarray(generator.normal(1.3, 2.0, size=shape), jnp.float32)


def group(features, seed=4):
    """A group norm with its scale and bias at generic places."""
    module = NORMS["group"](features, **DTYPES, rngs=nnx.Rngs(0))
    module.scale[...], module.bias[...] = z(features, seed), z(features, seed + 1)
    return module


@pytest.mark.parametrize(("features", "groups"), [(6, 1), (32, 2), (36, 2), (17, 1), (60, 3)])
@pytest.mark.parametrize("places", [(), (5, 3)])
def test_group_norm_equals_flaxs(features, groups, places):
    own, x = group(features), z((4, *places, features))
    flax = nnx.GroupNorm(features, num_groups=groups, rngs=nnx.Rngs(0))
    flax.scale[...], flax.bias[...] = own.scale[...], own.bias[...]
    np.testing.assert_allclose(own(x, train=True), flax(x), rtol=2e-5, atol=2e-5)


def test_group_norm_equals_pytorchs():
    torch = pytest.importorskip("torch")
    own, x = group(32), z((4, 5, 3, 32))
    expected = torch.nn.functional.group_norm(
        torch.tensor(np.asarray(x)).movedim(-1, 1),
        2,
        torch.tensor(np.asarray(own.scale[...])),
        torch.tensor(np.asarray(own.bias[...])),
        eps=1e-6,
    ).movedim(1, -1)
    np.testing.assert_allclose(own(x, train=False), expected, rtol=2e-5, atol=2e-5)


def test_in_a_sequence_each_position_is_by_itself():
    own, x = group(32), z((4, 5, 32))
    expected = own(x.reshape(20, 32), train=True).reshape(x.shape)
    np.testing.assert_array_equal(own(x, train=True), expected)


@pytest.mark.parametrize("name", sorted(NORMS))
def test_a_norm_keeps_the_dtype_it_computes_in(name):
    options = {"dtype": jnp.dtype("bfloat16"), "param_dtype": np.dtype("float32")}
    module = NORMS[name](32, **options, rngs=nnx.Rngs(0))
    x = jnp.asarray(z((4, 32)), "bfloat16")
    assert module(x, train=True).dtype == x.dtype


def test_standardised_kernels():
    kernel = z((3, 3, 5, 7))
    flat = np.asarray(kernel).reshape(45, 7)
    expected = (flat - flat.mean(0)) / flat.std(0) / np.sqrt(45)
    found = standardised(kernel)
    np.testing.assert_allclose(found.reshape(45, 7), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["weight", "weight_group"])
@pytest.mark.parametrize(
    ("config", "shape"), [(MLP(depth=2, width=6), (5,)), (CNN(depth=2, width=4), (4, 6, 2))]
)
def test_hidden_kernels_are_standardised_and_the_heads_is_not(config, shape, norm):
    """Shifting and scaling hidden kernels changes nothing."""
    fields = {"depth": config.depth, "width": config.width, "norm": norm}
    apply, params, state = build(type(config)(**fields).sized(shape, 3), jax.random.key(0))

    def changed(path, leaf):
        names = [key.key for key in path]
        return 2 * leaf + 0.3 if names[-1] == "kernel" and names[0] != "head" else leaf

    other = jax.tree_util.tree_map_with_path(changed, params)
    x = z((3, *shape))
    expected, _ = apply(params, state, x)
    np.testing.assert_allclose(apply(other, state, x)[0], expected, rtol=1e-3, atol=1e-4)
    head = {**params, "head": jax.tree.map(lambda leaf: 2 * leaf, params["head"])}
    np.testing.assert_allclose(apply(head, state, x)[0], 2 * expected, rtol=1e-4, atol=1e-5)
