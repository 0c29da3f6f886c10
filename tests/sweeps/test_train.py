"""A mapped training against the plain loop over its points, written with value_and_grad."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import data, models, probes
from jgrad.models import MLP
from jgrad.optim import Chain
from jgrad.sweeps import Examples, Point, Program, Spread, Supervised, train
from jgrad.sweeps._batches import batches

pytestmark = pytest.mark.loose_promotion

STEPS, CHUNK, BATCH, CLIP = 6, 3, 8, 1.4
SEEDS, RATES, INITS = (4, 4, 7), (0.003, 0.02, 0.01), ("xavier", "he", "orthogonal")


def task():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(60, 5))
    return data.split("made", x.astype(np.float32), (x[:, 0] > 0).astype(np.int32) + (x[:, 1] > 1))


def examples():
    of = task()
    return Examples((of.x_train, of.y_train), (of.x_test, of.y_test))


MODEL = MLP(depth=4, width=6, activation="tanh", norm="batch", skip=True).sized((5,), 3)


def program(**changes):
    settings = {
        "objective": Supervised(MODEL),
        "chain": Chain(optimizer="adam", clip=f"global_norm:{CLIP}"),
        "batch": BATCH,
        "steps": STEPS,
        "chunk": CHUNK,
    }
    return Program(**(settings | changes))


def point(k):
    """One point, without a leading axis."""
    _, params, state = models.build(MODEL, jax.random.key(k), init=INITS[k])
    return Point(np.uint32(SEEDS[k]), np.float32(RATES[k]), params, state)


def points(*which):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(point, which))


@pytest.fixture(scope="module")
def step_by_hand():
    """One step of plain JAX and optax, and the flow of the same loss."""
    apply = models.build(MODEL, jax.random.key(0)).apply

    def loss(params, state, x, y):
        logits, state = apply(params, state, x, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), state

    @jax.jit
    def step(params, state, memory, rate, x, y):
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, x, y)
        chain = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(rate))
        updates, memory = chain.update(grads, memory, params)
        updated = optax.apply_updates(params, updates)
        return updated, state, memory, value, optax.tree.norm(grads)

    return step, jax.jit(probes.gradient_flow(loss, has_aux=True)), jax.jit(apply)


def by_hand(k, step, flow_of, apply):
    """Every step's loss and gradient norm, test loss, accuracy, log-gains at steps 0 and CHUNK."""
    split = task()
    seed, rate, params, state = point(k)
    memory, losses, norms, gains = optax.adam(0.0).init(params), [], [], []
    memory = (optax.EmptyState(), memory)
    for drawn in batches(int(seed), first=0, steps=STEPS, batch=BATCH, examples=len(split.y_train)):
        x, y = jnp.asarray(split.x_train[drawn]), jnp.asarray(split.y_train[drawn])
        if len(losses) % CHUNK == 0:
            gains.append(flow_of(params, state, x, y).profile("log_gain"))
        params, state, memory, value, norm = step(params, state, memory, rate, x, y)
        losses.append(float(value))
        norms.append(float(norm))
    logits, _ = apply(params, state, jnp.asarray(split.x_test))
    accuracy = float((logits.argmax(-1) == split.y_test).mean())
    right = np.asarray(jax.nn.log_softmax(logits))[np.arange(len(logits)), split.y_test]
    return np.array(losses), np.array(norms), -right.mean(), accuracy, np.stack(gains)


@pytest.fixture(scope="module")
def told():
    """What the mapped training told, in order."""
    return []


@pytest.fixture(scope="module")
def mapped(told):
    return train(program(), points(0, 1, 2), examples(), tell=lambda *event: told.append(event))


#: A test example whose two classes are as good as equal goes where rounding puts it.
ONE_OF_TWELVE = 1 / 12 + 1e-6


@pytest.mark.parametrize("k", range(3))
def test_mapped_training_equals_the_loop(mapped, step_by_hand, k):
    losses, norms, test_loss, accuracy, gains = by_hand(k, *step_by_hand)
    chunks = losses.reshape(-1, CHUNK), norms.reshape(-1, CHUNK)
    np.testing.assert_allclose(mapped.train_loss[k], chunks[0].mean(1), rtol=1e-4)
    # A bias before batch norm has no gradient but rounding, which Adam makes as large as any.
    assert mapped.test_loss[k, -1] == pytest.approx(test_loss, rel=2e-2)
    assert mapped.test_score[k, -1] == pytest.approx(accuracy, abs=ONE_OF_TWELVE)
    np.testing.assert_allclose(mapped.profiles["log_gain"][k], gains, rtol=1e-3, atol=1e-4)
    quantiles = np.quantile(chunks[1], (0.05, 0.5, 0.95), axis=1).T
    np.testing.assert_allclose(mapped.gradient_norm[k], quantiles, rtol=1e-4)
    np.testing.assert_allclose(mapped.clip_share[k], (chunks[1] > CLIP).mean(1), rtol=1e-6)


def test_clipping_acts_in_some_steps_and_not_in_others(mapped):
    assert 0 < mapped.clip_share.mean() < 1


def test_the_points_do_not_depend_on_how_they_are_shared_out(mapped):
    """Over devices; in groups, one after the other; over a mesh with the parameters divided."""
    alone = train(program(), points(0, 1, 2), examples(), devices=jax.devices()[:2])
    whole = 3 * _bytes_alone()
    grouped = train(
        program(), points(0, 1, 2), examples(), devices=jax.devices()[:1], memory=whole // 2
    )
    mesh = jax.make_mesh((2, 2), ("data", "model"), devices=jax.devices()[:4])
    rules = (("layers/linear/kernel", (None, None, "model")),)
    spread = train(program(), points(0, 1, 2), examples(), spread=Spread(mesh, rules=rules))
    for history in (alone, grouped, spread):
        np.testing.assert_allclose(history.train_loss, mapped.train_loss, rtol=1e-5)
        np.testing.assert_allclose(
            history.test_score, mapped.test_score, rtol=0, atol=ONE_OF_TWELVE
        )
        np.testing.assert_allclose(history.profiles["log_dz"], mapped.profiles["log_dz"], rtol=1e-4)


def _bytes_alone():
    """About what the program needs for one point, from the error that asks for more."""
    with pytest.raises(ValueError, match="one training needs about") as error:
        train(program(), points(0), examples(), devices=jax.devices()[:1], memory=1)
    assert "a device has 0 MiB" in str(error.value)
    return int(error.value.args[0].split("(")[1].split(" ")[0])


def test_profiles_run_along_the_depth(mapped):
    assert mapped.sites == ("first/act", "layers/act[0]", "layers/act[1]", "layers/act[2]")
    for name, profile in mapped.profiles.items():
        assert profile.shape == (3, STEPS // CHUNK, 4), name
        assert profile.dtype == np.float32
        assert np.isfinite(profile[..., 1:]).all(), name


def test_a_diverged_point_leaves_the_others_alone(mapped):
    three = points(0, 1, 2)
    wild = three._replace(learning_rate=np.array([RATES[0], np.inf, RATES[2]], np.float32))
    history = train(program(), wild, examples())
    assert np.isnan(history.train_loss[1]).all()
    # The first step's loss is still that of the initial parameters.
    np.testing.assert_array_equal(history.diverged_at, [np.nan, 1, np.nan])
    assert np.isfinite(history.test_loss[[0, 2]]).all()
    np.testing.assert_array_equal(history.train_loss[[0, 2]], mapped.train_loss[[0, 2]])


@pytest.mark.usefixtures("mapped")
def test_what_is_told(told):
    assert told == [("compile", 0), ("train", 3), ("train", 6)]


def test_where_all_have_diverged_nothing_more_is_run():
    told = []
    wild = points(0, 1)._replace(learning_rate=np.full(2, np.inf, np.float32))
    history = train(program(steps=12), wild, examples(), tell=lambda *event: told.append(event))
    assert told[-1] == ("train", 12)
    assert np.isnan(history.train_loss).all()
    assert len(told) == 5  # compiled, and four chunks, of which three were none
    assert np.isnan(history.gradient_norm[:, 1:]).all()


def test_sharpness_is_the_largest_eigenvalue_of_the_first_batch():
    history = train(program(sharpness=True), points(1), examples())
    _, params, state = models.build(MODEL, jax.random.key(1), init=INITS[1])
    drawn = batches(SEEDS[1], first=0, steps=1, batch=BATCH, examples=len(task().y_train))[0]
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def loss(flat):
        batch = jnp.asarray(task().x_train[drawn]), jnp.asarray(task().y_train[drawn])
        return Supervised(MODEL).loss(unravel(flat), state, batch, jax.random.key(0))[0]

    largest = np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(loss))(flat), np.float64))[-1]
    assert history.sharpness[0, 0] == pytest.approx(largest, rel=2e-2)


def test_a_scaled_loss_trains_alike():
    """In powers of two nothing is rounded."""
    plain, scaled = (
        train(program(chain=Chain(optimizer="sgd", loss_scale=scale)), points(2), examples())
        for scale in ("none", "static:1024")
    )
    np.testing.assert_allclose(scaled.train_loss, plain.train_loss, rtol=1e-6)
    np.testing.assert_allclose(scaled.gradient_norm, plain.gradient_norm, rtol=1e-5)
    np.testing.assert_allclose(
        scaled.profiles["log_dz"], plain.profiles["log_dz"], rtol=1e-5, atol=1e-5
    )


def test_a_network_without_activations_has_no_profile():
    linear = Supervised(MLP(depth=2, width=4, activation="identity").sized((5,), 3))
    params = models.build(linear.model, jax.random.key(0)).params
    one = Point(
        *(np.ones(1, d) for d in (np.uint32, np.float32)),
        *jax.tree.map(lambda leaf: np.asarray(leaf)[None], (params, {})),
    )
    history = train(program(objective=linear), one, examples())
    assert history.sites == ()
    assert history.profiles["log_gain"].shape == (1, STEPS // CHUNK, 0)
    assert np.isfinite(history.train_loss).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"steps": 7}, "multiple of chunk=3, got 7"),
        ({"steps": 0}, "multiple of chunk=3, got 0"),
    ],
)
def test_wrong_programs(changes, words):
    with pytest.raises(ValueError, match=words):
        program(**changes)


def test_no_points_and_too_few_examples():
    none = jax.tree.map(lambda leaf: leaf[:0], points(0))
    with pytest.raises(ValueError, match="no points"):
        train(program(), none, examples())
    with pytest.raises(ValueError, match="batch=50 is more than the 48"):
        train(program(batch=50), points(0), examples())


def test_wrong_spreads():
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    with pytest.raises(ValueError, match="'model' wanted, the mesh has data"):
        Spread(mesh, rules=(("*", ("model",)),))
    with pytest.raises(ValueError, match="head/bias has 1 dimensions"):
        Spread(mesh, rules=(("*", (None, "data")),)).spec("head/bias", 1)
