"""What a chain remembers: accumulated gradients, a loss scale, an average to evaluate at."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import optim
from jgrad.optim import Chain

pytestmark = pytest.mark.loose_promotion


def test_accumulation_is_one_step_on_the_mean():
    """Five gradients an update, clipped as their mean is, against Adam on the means."""
    gradients = np.random.default_rng(1).normal(size=(10, 3)).astype(np.float32)
    chain = Chain(optimizer="adam", accumulate=5, clip="global_norm:0.3").transformation(0.1)
    by_hand = optax.chain(optax.clip_by_global_norm(0.3), optax.adam(0.1))
    update, update_by_hand = jax.jit(chain.update), jax.jit(by_hand.update)
    params = expected = jnp.array([1.0, -2.0, 0.5])
    state, state_by_hand = chain.init(params), by_hand.init(expected)
    for step, gradient in enumerate(gradients, 1):
        updates, state = update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
        if step % 5 == 0:
            mean = jnp.asarray(gradients[step - 5 : step].mean(0))
            updates, state_by_hand = update_by_hand(mean, state_by_hand, expected)
            expected = optax.apply_updates(expected, updates)
        np.testing.assert_allclose(params, expected, rtol=1e-5)


@pytest.mark.parametrize("description", ["static:512", "dynamic:initial=512"])
def test_a_scaled_loss_trains_alike(description):
    plain = Chain(optimizer="momentum", clip="norm:0.5")
    scaled = Chain(optimizer="momentum", clip="norm:0.5", loss_scale=description)

    def trained(chain):
        transformation = chain.transformation(0.05)
        params = jnp.array([0.3, 1.2])
        state = transformation.init(params)
        for _ in range(4):
            scale = optim.loss_scale(chain, state)
            grads = jax.grad(lambda p, scale=scale: scale * jnp.sum(jnp.cosh(p)))(params)
            updates, state = transformation.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params, optim.loss_scale(chain, state)

    params, scale = trained(scaled)
    np.testing.assert_allclose(params, trained(plain)[0], rtol=1e-6)
    assert (scale, trained(plain)[1]) == (512, 1)


def test_dynamic_scale_falls_on_overflow_and_grows_after_a_streak():
    """Against the rule in plain Python; an overflow leaves parameters and Adam's state alone."""
    chain = Chain(optimizer="adam", loss_scale="dynamic:initial=8,factor=4,interval=3")
    transformation = chain.transformation(0.1)
    params = {"w": jnp.array([1.0, 2.0]), "b": jnp.array(0.5)}
    state = transformation.init(params)
    scale, streak = 8.0, 0
    overflows = [False, True, False, False, False, False, True, True, False, True, False]
    for overflow in overflows:
        grads = {"w": jnp.array([1.0, jnp.inf if overflow else 2.0]), "b": jnp.array(1.0)}
        updates, after = jax.jit(transformation.update)(grads, state, params)
        if overflow:
            scale, streak = max(scale / 4, 1), 0
            assert not any(u.any() for u in jax.tree.leaves(updates))
            old, new = jax.tree.leaves(state.inner), jax.tree.leaves(after.inner)
            assert all((a == b).all() for a, b in zip(old, new, strict=True))
        else:
            streak += 1
            if streak == 3:
                scale, streak = scale * 4, 0
            assert all(u.all() for u in jax.tree.leaves(updates))
        state = after
        assert float(optim.loss_scale(chain, state)) == scale
    assert scale == 1


def test_dynamic_scale_stays_within_reach_of_float32():
    chain = Chain(loss_scale="dynamic:initial=8388608,interval=1").transformation(0.1)
    state = chain.init(jnp.ones(2))
    for _ in range(3):
        _, state = chain.update(jnp.ones(2), state)
    assert state.scale == 2.0**24


def test_schedule_free_evaluates_at_its_average():
    """Defazio et al., 2024, arXiv:2405.15682, written out: z steps, x averages, y is in between."""
    chain = Chain(optimizer="schedule_free:b1=0.8", clip="global_norm:2.0", accumulate=1)
    transformation = chain.transformation(0.1)
    start = np.array([1.5, -0.7])
    y, z, x = start, start, start
    params = jnp.asarray(start, jnp.float32)
    state = transformation.init(params)
    for t in range(1, 7):
        updates, state = transformation.update(params**3, state, params)
        params = optax.apply_updates(params, updates)
        gradient = y**3
        z = z - 0.1 * gradient * min(1, 2 / np.linalg.norm(gradient))
        x = (1 - 1 / t) * x + z / t
        y = 0.2 * z + 0.8 * x
        np.testing.assert_allclose(params, y, rtol=1e-5)
        np.testing.assert_allclose(optim.evaluation_params(chain, state, params), x, rtol=1e-5)
    assert np.abs(x - y).max() > 0.01


def test_average_is_found_within_other_states():
    chain = Chain(optimizer="schedule_free_adamw", loss_scale="dynamic", accumulate=2)
    transformation = chain.transformation(0.1)
    params = {"w": jnp.array([1.0, 2.0])}
    average = optim.evaluation_params(chain, transformation.init(params), params)
    np.testing.assert_allclose(average["w"], params["w"], rtol=1e-6)


def test_others_evaluate_where_they_are():
    params = {"w": jnp.ones(2)}
    assert optim.evaluation_params(Chain(optimizer="adam"), None, params) is params
