"""What every configuration promises: a task is fitted, refused with words, and computed right."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad.models import ARCHITECTURES, MLP, build

pytestmark = pytest.mark.loose_promotion

SMALL = {"mlp": MLP(depth=3, width=6)}
TASKS = {"mlp": ((5,), 4, None)}


def small(name, **changes):
    return dataclasses.replace(SMALL[name], **changes).sized(*TASKS[name])


def examples(config, count=5, dtype=np.float32):
    generator = np.random.default_rng(3)
    if config.vocabulary:
        return jnp.asarray(generator.integers(config.vocabulary, size=(count, *config.shape)))
    return jnp.asarray(generator.normal(size=(count, *config.shape)), dtype)


def moved(tree, seed=5, dtype=np.float64):
    """The tree with every leaf moved to a generic place (biases off 0, scales off 1)."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * generator.normal(size=leaf.shape), dtype), tree
    )


each = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


@each
def test_configurations_are_values(name):
    assert SMALL.keys() == ARCHITECTURES.keys()
    config = small(name)
    assert config == small(name)
    assert hash(config) == hash(small(name))
    assert dataclasses.replace(config, width=8) != config
    assert ARCHITECTURES[name]().outputs == 0  # every field has a default


@each
def test_a_task_is_needed_to_build(name):
    with pytest.raises(ValueError, match=r"does not know its task yet: call \.sized"):
        build(ARCHITECTURES[name](), jax.random.key(0))


@each
def test_bfloat16_computes_narrow_and_keeps_wide(name):
    wide, narrow = (build(small(name, dtype=d), jax.random.key(0)) for d in ("float32", "bfloat16"))
    x = examples(small(name))
    expected, _ = wide.apply(wide.params, wide.state, x)
    got, _ = narrow.apply(wide.params, wide.state, x)
    assert got.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow.params)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(got, expected, atol=0.1 * float(abs(expected).max()))
    text = str(jax.make_jaxpr(narrow.apply)(wide.params, wide.state, x))
    wide_products = [
        line for line in text.splitlines() if "dot_general[" in line and "f32[" in line
    ]
    assert not wide_products
    assert np.any(got != expected)


@each
def test_dropout_needs_a_key_and_only_in_training(name):
    apply, params, state = build(small(name, dropout=0.4), jax.random.key(0))
    plain = build(small(name), jax.random.key(0)).apply
    x = examples(small(name))
    with pytest.raises(ValueError, match=r"dropout=0\.4 in training needs a random key"):
        apply(params, state, x, train=True)
    expected, _ = plain(params, state, x)
    np.testing.assert_array_equal(apply(params, state, x)[0], expected)
    train = jax.jit(lambda key: apply(params, state, x, train=True, key=key)[0])
    one, again, other = (train(jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"outputs": -1}, "outputs must be at least 0, got -1"),
        ({"shape": (3, 0)}, r"shape must be of whole numbers from 1 up, got \(3, 0\)"),
        ({"vocabulary": 0}, "vocabulary must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dtype": "bfloat"}, "did you mean 'bfloat16'"),
        ({"norm": "layr"}, "did you mean 'layer'"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
    ],
)
@each
def test_wrong_values(name, changes, words):
    with pytest.raises(ValueError, match=words):
        ARCHITECTURES[name](**changes)


@each
def test_a_task_has_a_shape_and_an_output(name):
    with pytest.raises(ValueError, match="at least 1 output, got"):
        SMALL[name].sized(TASKS[name][0], 0)
    with pytest.raises(ValueError, match=r"got shape=\(\)"):
        SMALL[name].sized((), 2)


def test_float64_needs_x64():
    with pytest.raises(ValueError, match="needs jax_enable_x64"):
        build(small("mlp", dtype="float64"), jax.random.key(0))


@pytest.mark.parametrize(
    ("config", "task", "words"),
    [
        (MLP(), ((7,), 2, 50), r"MLP takes floats of any shape; .* tokens \(of 50\) of shape \(7"),
    ],
)
def test_tasks_that_do_not_fit(config, task, words):
    with pytest.raises(ValueError, match=words):
        config.sized(*task)
