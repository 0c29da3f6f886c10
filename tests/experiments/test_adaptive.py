"""The experiment on adaptive optimisers: its formulas beside optax, its claims at small scale."""

import adaptive
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import optim

pytestmark = pytest.mark.loose_promotion


@pytest.mark.parametrize("name", adaptive.FIRST_STEP)
def test_a_first_step_is_optaxs(name):
    g = np.geomspace(1e-12, 30, 40)
    weights = jnp.full(g.shape, 0.3)
    chain = optim.chain(optimizer=name, learning_rate=1.0)
    update, _ = chain.update(jnp.asarray(g, jnp.float32), chain.init(weights), weights)
    np.testing.assert_allclose(-np.asarray(update), adaptive.FIRST_STEP[name](g), rtol=1e-5)


def test_reach_is_read_off_between_layers():
    # Halved twice a layer over two layers, level before: half of the last lies half a layer down.
    ratio = np.array([[1.0, 1.0, 4.0, 16.0], [2.0, 2.0, 2.0, 3.0]])
    np.testing.assert_allclose(adaptive._reach(ratio), [0.5, 3.0])


@pytest.mark.slow
def test_adam_is_level_as_far_as_predicted_and_trains_no_further():
    data = adaptive.run(**adaptive.EXPERIMENT.scales["small"])
    off = abs(data.reach.mean("seed") - data.predicted_reach)
    assert float(off.max()) < 0.7
    ratio = np.log(data.ratio).mean("seed") - np.log(data.predicted_ratio)
    assert float(abs(ratio).max()) < 1
    within, beyond = data.depth.values
    assert within < float(data.predicted_reach.sel(optimizer="adam")) < beyond
    assert float(data.low.sel(depth=within, optimizer="adam")) > 0
    accuracy = data.accuracy.mean("seed").sel(depth=beyond)
    # Not even steps that are level everywhere train what is beyond.
    assert float(accuracy.max()) < data.attrs["chance"] + 0.05
