"""Every architecture's gradient, leaf by leaf, against finite differences in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import models
from jgrad.models import build

pytestmark = pytest.mark.loose_promotion

IMAGE, SEQUENCE, TOKENS = ((4, 6, 2), 3, None), ((4, 3), 3, None), ((4,), 3, 5)

CASES = {
    "residual mlp, rezero, layer": (
        models.ResidualMLP(depth=2, width=4, branch="rezero", norm="layer"),
        ((5,), 3, None),
    ),
    "residual mlp, fixup": (models.ResidualMLP(depth=2, width=4, branch="fixup"), IMAGE),
    "cnn, group": (models.CNN(depth=3, width=2, norm="group", padding="circular"), IMAGE),
    "cnn, weight": (models.CNN(depth=3, width=3, norm="weight", skip=True), IMAGE),
    "resnet, batch": (models.ResNet(stages=(1, 2), width=2), IMAGE),
    "resnet, pre, bottleneck": (
        models.ResNet(stages=(1, 2), width=2, order="pre", block="bottleneck", norm="none"),
        IMAGE,
    ),
    "rnn": (models.RNN(depth=3, width=4, norm="rms"), SEQUENCE),
    "lstm": (models.LSTM(depth=3, width=4, norm="layer", per_position=True), TOKENS),
    "gru": (models.GRU(depth=3, width=4), SEQUENCE),
    "transformer, post": (
        models.Transformer(depth=2, width=4, heads=2, order="post", positions="learned"),
        SEQUENCE,
    ),
    "transformer, causal": (
        models.Transformer(depth=2, width=4, heads=2, causal=True, per_position=True, norm="rms"),
        TOKENS,
    ),
}


#: One of each family is in the quick run.
SLOW = ("residual mlp, fixup", "cnn, weight", "resnet, batch", "resnet, pre, bottleneck", "lstm")


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow if c in SLOW else ()) for c in CASES]
)
def test_gradients_equal_finite_differences_leaf_by_leaf(case):
    config, task = CASES[case]
    generator = np.random.default_rng(len(case))

    def moved(leaf):
        """Biases off 0, scales and multipliers off 1."""
        return jnp.asarray(leaf + 0.3 * generator.normal(size=leaf.shape), jnp.float64)

    with jax.enable_x64(True):
        # Smooth everywhere: a kink between two evaluations would spoil the difference.
        smooth = {"activation": "gelu", "dtype": "float64", "dropout": 0.3}
        config = dataclasses.replace(config, **smooth).sized(*task)
        apply, params, state = build(config, jax.random.key(0), init="xavier")
        params, state = jax.tree.map(moved, (params, state))
        shape = (5, *config.shape)
        x = jnp.asarray(
            generator.normal(size=shape)
            if config.vocabulary is None
            else generator.integers(config.vocabulary, size=shape)
        )
        outputs = jax.eval_shape(apply, params, state, x)[0]
        target = jnp.asarray(generator.normal(size=outputs.shape))

        def loss(p):
            out, _ = apply(p, state, x, train=True, key=jax.random.key(7))
            return jnp.sum(jnp.sin(out) * target)

        leaves, structure = jax.tree.flatten(params)
        directions = [jnp.asarray(generator.normal(size=leaf.shape)) for leaf in leaves]
        gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(params))

        @jax.jit
        def along(t):
            """The loss with each leaf in turn moved by t along its direction."""
            chosen = jnp.eye(len(leaves))

            def at(which):
                moved = zip(leaves, directions, which, strict=True)
                return loss(structure.unflatten(leaf + t * s * d for leaf, d, s in moved))

            return jax.lax.map(at, chosen)

        ε = 1e-4
        # Fourth-order central difference.
        expected = (8 * (along(ε) - along(-ε)) - (along(2 * ε) - along(-2 * ε))) / (12 * ε)
        slopes = [jnp.vdot(g, d) for g, d in zip(gradients, directions, strict=True)]
        scale = float(jnp.abs(expected).max())
        np.testing.assert_allclose(slopes, expected, rtol=1e-7, atol=1e-9 * scale)
        assert np.count_nonzero(np.abs(expected) > 1e-6 * scale) > 0.8 * len(leaves)
