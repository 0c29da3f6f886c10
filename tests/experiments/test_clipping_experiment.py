"""The experiment on clipping: its thresholds beside each other, its claims at the small scale."""

import clipping
import jax
import jax.numpy as jnp
import pytest

from jgrad import inits, optim

pytestmark = pytest.mark.loose_promotion


@pytest.mark.parametrize("name", [name for name in clipping.CLIPS if name != "percentile"])
def test_thresholds_meet_at_a_recurrent_kernels_gradient_of_norm_one(name):
    shape, (of_weights, of_signs) = (clipping.WIDTH,) * 2, jax.random.split(jax.random.key(3))
    weights = {"w": 1.15 * inits.get("he")(of_weights, shape, jnp.float32)}
    level = jax.random.rademacher(of_signs, shape, jnp.float32) / clipping.WIDTH  # of norm one
    clip = optim.clip(clipping.CLIPS[name])
    for norm, clipped in ((0.6, 0.6), (5.0, 5.0 if name == "none" else 1.0)):
        left, _ = clip.update({"w": norm * level}, clip.init(weights), weights)
        assert float(jnp.linalg.norm(left["w"])) == pytest.approx(clipped, rel=0.15)


@pytest.mark.slow
def test_clipping_saves_exploding_networks_and_not_vanishing_ones():
    data = clipping.run(**clipping.EXPERIMENT.scales["small"])
    share = data.broke.mean("seed")
    exploding, vanishing = (share.sel(regime=name) for name in ("exploding", "vanishing"))
    assert float(exploding.sel(clipping="none")) > 0.8
    assert float(exploding.drop_sel(clipping="none").median()) < 0.2
    assert float(vanishing.max()) == 0
    low = data.low.drop_sel(clipping="none")
    assert int((low.sel(regime="exploding") > 0).sum()) >= 4
    assert not (low.sel(regime="vanishing") > 0).any()
