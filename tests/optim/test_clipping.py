"""Clippings against their definitions in NumPy, and the share they report."""

from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import optim

pytestmark = pytest.mark.loose_promotion

KINDS = ("value:0.7", "norm:1.3", "global_norm:1.3", "block:0.4", "adaptive:0.02", "percentile:30")


def gradients(seed, scale=1.0):
    generator = np.random.default_rng(seed)
    return {
        "kernel": jnp.asarray(scale * generator.normal(size=(3, 4)), jnp.float32),
        "bias": jnp.asarray(scale * generator.normal(size=4), jnp.float32),
    }


def total(tree):
    return np.linalg.norm(np.concatenate([np.ravel(np.float64(g)) for g in tree.values()]))


def test_every_clipping_is_checked():
    assert {kind.partition(":")[0] for kind in KINDS} == set(optim.CLIPS)


def test_percentile_is_that_of_the_last_norms():
    """Against NumPy's percentile of the history, round the ring and past a step that overflowed."""
    clipping = optim.clip("percentile:35,window=6")
    state = clipping.init(gradients(0))
    norms = []
    for step in range(15):
        grads = gradients(step, scale=1.0 + (step * 7) % 5)
        if step == 4:
            broken = {**grads, "bias": jnp.full(4, jnp.inf)}
            _, state = clipping.update(broken, state)
        norms.append(total(grads))
        threshold = np.percentile(norms[-6:], 35)
        clipped, state = clipping.update(grads, state)
        expected = min(1.0, threshold / norms[-1])
        for name, g in grads.items():
            np.testing.assert_allclose(clipped[name], np.float64(g) * expected, rtol=2e-6)
    assert min(1.0, threshold / norms[-1]) < 0.9


def test_before_any_finite_norm_nothing_is_clipped():
    clipping = optim.clip("percentile:35")
    broken = {"w": jnp.array([jnp.nan, 1.0])}
    clipped, _ = clipping.update(broken, clipping.init(broken))
    assert clipped["w"][1] == 1.0


def test_percentile_maps_over_trainings():
    clipping = optim.clip("percentile:35,window=3")

    def last(scale):
        state = clipping.init(gradients(0))
        for step in range(5):
            grads = {name: scale**step * g for name, g in gradients(step).items()}
            clipped, state = clipping.update(grads, state)
        return clipped

    scales = jnp.array([0.5, 1.7])
    mapped = jax.jit(jax.vmap(last))(scales)
    for k in range(2):
        alone = last(scales[k])
        for name, one in jax.tree.map(itemgetter(k), mapped).items():
            np.testing.assert_allclose(one, alone[name], rtol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_share(kind):
    """1 - ‖after‖/‖before‖ in NumPy, through the clipping that a chain tells."""
    clipping = optim.Chain(clip=kind).clip_transformation()
    params = gradients(9)
    state = clipping.init(params)
    for step in range(3):
        before = gradients(step, 2.0 - 0.5 * step)
        after, state = clipping.update(before, state, params)
    expected = 1 - total(after) / total(before)
    assert expected > 0.01
    np.testing.assert_allclose(optim.clipped_share(before, after), expected, rtol=1e-5)


def test_share_of_nothing_is_none():
    zero = {"w": jnp.zeros(3)}
    assert optim.clipped_share(zero, zero) == 0
    same = {"w": jnp.array([3e-30, 4e-30])}
    assert optim.clipped_share(same, same) == 0


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("percentile:101", "at most 100, got 101"),
        ("percentile:10,window=0", "window must be .* got 0"),
        ("percentile:10,windwo=5", "did you mean 'window'"),
        ("adaptive:0.01,esp=1", "did you mean 'eps'"),
        ("value:1,2", "one finite threshold"),
        ("value:True", "one finite threshold"),
        ("norm:0", "above 0"),
        ("norm:1,norm=", "not understood"),
    ],
)
def test_wrong_clipping(description, words):
    with pytest.raises(ValueError, match=words):
        optim.Chain(clip=description)


def test_half_precision_stays():
    for kind in KINDS:
        clipping = optim.clip(kind)
        half = jax.tree.map(lambda g: g.astype(jnp.bfloat16), gradients(3, 9.0))
        clipped, _ = jax.eval_shape(clipping.update, half, clipping.init(half), half)
        assert {g.dtype for g in jax.tree.leaves(clipped)} == {jnp.dtype(jnp.bfloat16)}, kind


def test_none_is_identity():
    grads = gradients(1)
    clipped, _ = optim.clip("none").update(grads, optax.EmptyState())
    assert clipped is grads
