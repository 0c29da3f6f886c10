"""Models at generic places: no bias is 0 there, no scale 1, no two units alike."""

import jax
import numpy as np

from jgrad.models import build


def built(config, seed=1):
    """(apply, params, state), jitted, every leaf moved off its start, variances positive."""
    apply, params, state = build(config, jax.random.key(seed), init="xavier")
    generator = np.random.default_rng(seed)

    def moved(leaf):
        return np.array(leaf + 0.2 * generator.normal(size=leaf.shape), np.float32)

    params, state = jax.tree.map(moved, (params, state))
    return jax.jit(apply, static_argnames="train"), params, jax.tree.map(abs, state)
