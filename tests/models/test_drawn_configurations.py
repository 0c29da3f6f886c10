"""Configurations drawn at random from every architecture's options: each builds and trains."""

import dataclasses
import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import activations, inits
from jgrad.models import ARCHITECTURES, build
from jgrad.models._branches import BRANCHES
from jgrad.sweeps import Supervised

pytestmark = pytest.mark.loose_promotion


def own(x):
    """An activation that no catalogue has."""
    return x * jax.nn.sigmoid(1.3 * x) + 0.1 * jnp.sin(x)


#: Those of bounded slope: an exponential of an exponential of one overflows.
BOUNDED = [name for name in activations.CATALOG if activations.traits(name).lipschitz < math.inf]

#: Option → its values, of whichever architecture has it.
OPTIONS = {
    "activation": [*BOUNDED, own],
    "dropout": [0.0, 0.3],
    "width": [2, 4, 6],
    "dtype": ["float32", "bfloat16", "float16"],
    "depth": [2, 3, 4],
    "skip": [False, True],
    "layers": [1, 2, 3],
    "branch": [*BRANCHES],
    "window": [1, 2, 3, 5],
    "padding": ["zeros", "circular"],
    "block": ["basic", "bottleneck"],
    "stem": ["small", "imagenet"],
    "order": ["pre", "post"],
    "heads": [1, 2],
    "expansion": [1, 2],
    "causal": [False, True],
    "per_position": [False, True],
    "positions": ["sinusoidal", "learned", "none"],
    "patch": [1, 2],
    "recurrent": ["orthogonal", "identity"],
    "gate": ["sigmoid", "hard_sigmoid"],
}
FLAT, IMAGE, SEQUENCE, TOKENS = ((5,), None), ((4, 8, 2), None), ((4, 3), None), ((4,), 5)
TASKS = {
    **dict.fromkeys(("mlp", "residual_mlp"), (FLAT, IMAGE, SEQUENCE)),
    **dict.fromkeys(("cnn", "resnet"), (IMAGE,)),
    **dict.fromkeys(("rnn", "lstm", "gru"), (SEQUENCE, TOKENS)),
    "transformer": (SEQUENCE, TOKENS, IMAGE),
}


def drawn(name, seed):
    """A configuration fitted to a task; a contradiction is refused, and another one drawn."""
    pick, kind = random.Random(f"{name} {seed}").choice, ARCHITECTURES[name]
    fields = {field.name for field in dataclasses.fields(kind)}
    while True:
        given = {option: pick(values) for option, values in OPTIONS.items() if option in fields}
        given["norm"] = pick(kind.norms)
        if "stages" in fields:
            given["stages"] = pick([(1,), (2,), (1, 2)] if name == "resnet" else [1, 2])
        shape, vocabulary = pick(TASKS[name])
        try:
            return kind(**given).sized(shape, 3, vocabulary)
        except ValueError:
            continue


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    "seed", [pytest.param(k, marks=pytest.mark.slow if k else ()) for k in range(12)]
)
def test_a_step_is_finite(name, seed):
    config = drawn(name, seed)
    generator = np.random.default_rng(seed)
    init = [*inits.INITIALIZERS][generator.integers(len(inits.INITIALIZERS))]
    _, params, state = build(config, jax.random.key(seed), init=init)
    shape = (6, *config.shape)
    x = jnp.asarray(
        generator.normal(size=shape).astype(np.float32)
        if config.vocabulary is None
        else generator.integers(config.vocabulary, size=shape, dtype=np.int32)
    )
    per_position = getattr(config, "per_position", False)
    positions = config.length if per_position and hasattr(config, "length") else config.shape[0]
    y = jnp.asarray(
        generator.integers(3, size=(6, positions) if per_position else 6, dtype=np.int32)
    )

    @jax.jit
    def step(params):
        def loss(params):
            return Supervised(config).loss(params, state, (x, y), jax.random.key(1))

        return jax.value_and_grad(loss, has_aux=True)(params)

    (value, new), grads = step(params)
    assert np.isfinite(value), (config, init)
    for path, leaf in jax.tree.leaves_with_path(grads):
        assert np.isfinite(leaf).all(), (config, init, path)
        assert leaf.dtype == np.float32
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
