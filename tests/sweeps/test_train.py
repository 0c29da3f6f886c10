"""A mapped training against the plain loop over its points, written with value_and_grad."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import data, models, probes
from jgrad.models import MLP
from jgrad.sweeps import Point, Program, train
from jgrad.sweeps._batches import batches

pytestmark = pytest.mark.loose_promotion

STEPS, CHUNK, BATCH = 6, 3, 8
SEEDS, RATES, INITS = (4, 4, 7), (0.003, 0.02, 0.01), ("xavier", "he", "orthogonal")


def task():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 5))
    return data.split("made", x.astype(np.float32), (x[:, 0] > 0).astype(np.int32) + (x[:, 1] > 1))


def program(**changes):
    model = MLP(depth=4, width=6, activation="tanh", norm="batch", skip=True).sized((5,), 3)
    settings = {"optimizer": "adam", "clip": "global_norm:0.5", "batch": BATCH, "chunk": CHUNK}
    return Program(model=model, **(settings | changes))


def point(k):
    """One point, without a leading axis."""
    _, params, state = models.build(program().model, jax.random.key(k), init=INITS[k])
    return Point(np.uint32(SEEDS[k]), np.float32(RATES[k]), params, state)


def points(*which):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(point, which))


@pytest.fixture(scope="module")
def step_by_hand():
    """One step of plain JAX and optax, and the flow of the same loss."""
    apply = models.build(program().model, jax.random.key(0)).apply

    def loss(params, state, x, y):
        logits, state = apply(params, state, x, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state

    @jax.jit
    def step(params, state, memory, rate, x, y):
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, x, y)
        chain = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(rate))
        updates, memory = chain.update(grads, memory, params)
        return optax.apply_updates(params, updates), state, memory, value

    return step, jax.jit(probes.gradient_flow(loss, has_aux=True)), jax.jit(apply)


def by_hand(k, step, flow_of, apply):
    """Losses of every step, final accuracy, and the flow's log-gains at steps 0 and CHUNK."""
    split = task()
    seed, rate, params, state = point(k)
    memory, losses, gains = optax.adam(0.0).init(params), [], []
    memory = (optax.EmptyState(), memory)
    for drawn in batches(int(seed), first=0, steps=STEPS, batch=BATCH, examples=len(split.y_train)):
        x, y = jnp.asarray(split.x_train[drawn]), jnp.asarray(split.y_train[drawn])
        if len(losses) % CHUNK == 0:
            gains.append(flow_of(params, state, x, y).profile("log_gain"))
        params, state, memory, value = step(params, state, memory, rate, x, y)
        losses.append(float(value))
    logits, _ = apply(params, state, jnp.asarray(split.x_test))
    accuracy = float((logits.argmax(-1) == split.y_test).mean())
    return np.array(losses), accuracy, np.stack(gains)


@pytest.fixture(scope="module")
def told():
    """What the mapped training told, in order."""
    return []


@pytest.fixture(scope="module")
def mapped(told):
    return train(
        program(), points(0, 1, 2), task(), steps=STEPS, tell=lambda *event: told.append(event)
    )


@pytest.mark.parametrize("k", range(3))
def test_mapped_training_equals_the_loop(mapped, step_by_hand, k):
    losses, accuracy, gains = by_hand(k, *step_by_hand)
    np.testing.assert_allclose(mapped.train_loss[k], losses.reshape(-1, CHUNK).mean(1), rtol=1e-4)
    assert mapped.test_accuracy[k, -1] == pytest.approx(accuracy, abs=1e-6)
    np.testing.assert_allclose(mapped.profiles["log_gain"][k], gains, rtol=1e-3, atol=1e-4)


def test_the_points_do_not_depend_on_how_they_are_shared_out(mapped):
    alone = train(program(), points(0, 1, 2), task(), steps=STEPS, devices=jax.devices()[:2])
    np.testing.assert_allclose(alone.train_loss, mapped.train_loss, rtol=1e-5)
    np.testing.assert_allclose(alone.profiles["log_dz"], mapped.profiles["log_dz"], rtol=1e-4)


def test_profiles_run_along_the_depth(mapped):
    assert mapped.sites == ("first/act", "layers/act[0]", "layers/act[1]", "layers/act[2]")
    for name, profile in mapped.profiles.items():
        assert profile.shape == (3, STEPS // CHUNK, 4), name
        assert profile.dtype == np.float32
        assert np.isfinite(profile[..., 1:]).all(), name


def test_a_diverged_point_leaves_the_others_alone(mapped):
    three = points(0, 1, 2)
    wild = three._replace(learning_rate=np.array([RATES[0], np.inf, RATES[2]], np.float32))
    history = train(program(), wild, task(), steps=STEPS)
    assert not np.isfinite(history.train_loss[1]).all()
    np.testing.assert_array_equal(history.train_loss[[0, 2]], mapped.train_loss[[0, 2]])


@pytest.mark.usefixtures("mapped")
def test_what_is_told(told):
    assert told == [("compile", 0), ("train", 3), ("train", 6)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 1}, "batch norm needs batches of at least 2"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"optimizer": "rmsporp"}, "did you mean 'rmsprop'"),
        ({"clip": "norm:0"}, "got 'norm:0'"),
    ],
)
def test_wrong_programs(changes, words):
    with pytest.raises(ValueError, match=words):
        program(**changes)


def test_wrong_steps_and_no_points():
    with pytest.raises(ValueError, match="multiple of the chunk 3, got 7"):
        train(program(), points(0), task(), steps=7)
    none = jax.tree.map(lambda leaf: leaf[:0], points(0))
    with pytest.raises(ValueError, match="no points"):
        train(program(), none, task(), steps=STEPS)
