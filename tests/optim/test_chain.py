"""Chains by name against optax written out, and clipping against its definition."""

from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import optim

pytestmark = pytest.mark.loose_promotion


def tree(seed, scale=1.0):
    generator = np.random.default_rng(seed)
    shapes = {"kernel": (3, 4), "bias": (4,)}
    return {
        name: jnp.asarray(scale * generator.normal(size=shape), jnp.float32)
        for name, shape in shapes.items()
    }


def trained(transformation, steps=5):
    """Parameters after some steps on changing gradients."""
    params = tree(0)
    state = transformation.init(params)
    for step in range(steps):
        updates, state = transformation.update(tree(step + 1, 2.0), state, params)
        params = optax.apply_updates(params, updates)
    return params


def same(one, other, **tolerance):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 0, "atol": 0}))


BY_HAND = {
    "sgd": optax.sgd(0.03),
    "momentum": optax.sgd(0.03, momentum=0.9),
    "adam": optax.adam(0.03),
    "rmsprop": optax.rmsprop(0.03),
    "nesterov": optax.sgd(0.03, momentum=0.9, nesterov=True),
    "adagrad": optax.adagrad(0.03),
    "adamw": optax.adamw(0.03),
    "nadam": optax.nadam(0.03),
    "radam": optax.radam(0.03),
    "lion": optax.lion(0.03),
    "lamb": optax.lamb(0.03),
    "adafactor": optax.adafactor(0.03),
    "schedule_free": optax.contrib.schedule_free_sgd(0.03),
    "schedule_free_adamw": optax.contrib.schedule_free_adamw(0.03),
}
CLIPS_BY_HAND = {
    "none": optax.identity(),
    "value:0.7": optax.clip(0.7),
    "global_norm:1.3": optax.clip_by_global_norm(1.3),
    "block:0.4": optax.clip_by_block_rms(0.4),
    "adaptive:0.02,eps=0.01": optax.adaptive_grad_clip(0.02, eps=0.01),
}


def test_every_optimiser_is_checked():
    assert set(BY_HAND) == set(optim.OPTIMIZERS)


@pytest.mark.parametrize("name", BY_HAND)
def test_optimiser_equals_optax_by_hand(name):
    same(trained(optim.chain(optimizer=name, learning_rate=0.03)), trained(BY_HAND[name]))


@pytest.mark.parametrize("clip", CLIPS_BY_HAND)
def test_clipping_goes_before_the_optimiser(clip):
    by_hand = optax.chain(CLIPS_BY_HAND[clip], BY_HAND["momentum"])
    chain = optim.chain(optimizer="momentum", learning_rate=0.03, clip=clip)
    same(trained(chain), trained(by_hand))


def test_keywords_reach_the_optimiser():
    chain = optim.chain(optimizer="momentum", learning_rate=0.03, momentum=0.5)
    same(trained(chain), trained(optax.sgd(0.03, momentum=0.5)))
    with pytest.raises(TypeError, match="b2"):
        optim.chain(optimizer="sgd", b2=0.9)


@pytest.mark.parametrize("name", BY_HAND)
def test_learning_rate_may_be_mapped(name):
    rates = jnp.array([0.01, 0.2, 0.03])
    mapped = jax.vmap(lambda rate: trained(optim.chain(optimizer=name, learning_rate=rate)))(rates)
    for k, rate in enumerate(rates.tolist()):
        alone = trained(optim.chain(optimizer=name, learning_rate=rate))
        same(alone, jax.tree.map(itemgetter(k), mapped), rtol=2e-6, atol=1e-7)


def test_clip_by_norm_is_by_array():
    gradients = tree(2, 5.0) | {"small": jnp.array([0.1, -0.2]), "zero": jnp.zeros(3)}
    clipped, _ = optim.clip("norm:1.5").update(gradients, optim.clip("norm:1.5").init(gradients))
    for name, g in gradients.items():
        wide = np.asarray(g, np.float64)
        expected = wide * min(1.0, 1.5 / max(np.linalg.norm(wide), 1e-300))
        np.testing.assert_allclose(clipped[name], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"optimizer": "adma"}, "did you mean 'adam'"),
        ({"clip": "global_nrom:1.0"}, "did you mean 'global_norm'"),
        ({"clip": "value"}, "value:1.0"),
        ({"clip": "value:high"}, "'value:high': 'high' is not understood"),
        ({"clip": "norm:-1"}, "got 'norm:-1'"),
        ({"clip": "norm:inf"}, "got 'norm:inf'"),
        ({"learning_rate": -0.1}, "at least 0, got -0.1"),
        ({"learning_rate": float("nan")}, "at least 0, got nan"),
        ({"learning_rate": float("inf")}, "at least 0, got inf"),
    ],
)
def test_wrong_input(keywords, words):
    with pytest.raises(ValueError, match=words):
        optim.chain(**keywords)
