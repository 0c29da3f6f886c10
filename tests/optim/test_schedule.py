"""Schedules against their formulas, read off what plain SGD does to a gradient of 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import optim

pytestmark = pytest.mark.loose_promotion

RATE, STEPS = 0.3, 40
UPDATE = np.arange(STEPS)


def rates(learning_rate, **fields):
    """The learning rate at every update."""
    chain = optim.Chain(**fields).transformation(learning_rate, STEPS)

    def step(state, _):
        updates, state = chain.update(jnp.ones(()), state, jnp.ones(()))
        return state, -updates

    return jax.lax.scan(step, chain.init(jnp.ones(())), length=STEPS)[1]


def half_cosine(share):
    return (1 + np.cos(np.pi * np.clip(share, 0, 1))) / 2


FORMULAS = {
    "constant": np.ones(STEPS),
    "warmup:steps=15": np.minimum(UPDATE / 15, 1),
    "warmup:steps=0.25": np.minimum(UPDATE / 10, 1),
    "warmup": np.minimum(UPDATE / 4, 1),
    "cosine": half_cosine(UPDATE / STEPS),
    "cosine:end=0.2": 0.2 + 0.8 * half_cosine(UPDATE / STEPS),
    "warmup_cosine:warmup=10,end=0.1": np.where(
        UPDATE < 10, UPDATE / 10, 0.1 + 0.9 * half_cosine((UPDATE - 10) / 30)
    ),
    "warmup_cosine:warmup=0.25": np.where(
        UPDATE < 10, UPDATE / 10, half_cosine((UPDATE - 10) / 30)
    ),
    "exponential:rate=0.8,every=7": 0.8 ** (UPDATE / 7),
    "exponential:rate=0.5,every=0.25": 0.5 ** (UPDATE / 10),
}


@pytest.mark.parametrize("schedule", FORMULAS)
def test_formula(schedule):
    np.testing.assert_allclose(
        rates(RATE, schedule=schedule), RATE * FORMULAS[schedule], rtol=1e-5, atol=1e-8
    )


def test_one_cycle():
    """Smith & Topin's shape by its ends: optax's definition gives the rest."""
    of = np.asarray(rates(RATE, schedule="one_cycle:pct_start=0.25,div_factor=10.0")) / RATE
    assert of[0] == pytest.approx(0.1, rel=1e-5)
    assert of.argmax() == 10
    assert of[10] == pytest.approx(1, rel=1e-5)
    assert of[5] == pytest.approx(0.1 + 0.9 / 2, rel=1e-5)
    assert of[25] == pytest.approx(0.5, rel=1e-3)
    assert of[-1] < 0.01


def test_every_schedule_is_checked():
    names = {name.partition(":")[0] for name in FORMULAS}
    assert names | {"one_cycle"} == set(optim.SCHEDULES)


@pytest.mark.parametrize("schedule", [*FORMULAS, "one_cycle"])
def test_the_learning_rate_may_be_traced(schedule):
    """Every schedule is a factor on the learning rate."""
    mapped = jax.jit(jax.vmap(lambda rate: rates(rate, schedule=schedule)))(jnp.array([RATE, 0.01]))
    alone = rates(RATE, schedule=schedule)
    np.testing.assert_allclose(mapped[0], alone, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(mapped[1] * 30, alone, rtol=1e-5, atol=1e-9)


def test_steps_are_updates():
    """With 4 gradients an update, 10 updates make the whole cosine; between them nothing moves."""
    seen = np.asarray(rates(RATE, schedule="cosine", accumulate=4))
    assert not seen.reshape(10, 4)[:, :3].any()
    np.testing.assert_allclose(seen[3::4], RATE * half_cosine(np.arange(10) / 10), rtol=1e-5)


def test_an_optax_schedule_is_taken():
    chain = optim.chain(learning_rate=lambda count: 0.1 * (count + 1))
    state = chain.init(jnp.ones(()))
    first, state = chain.update(jnp.ones(()), state)
    second, _ = chain.update(jnp.ones(()), state)
    np.testing.assert_allclose([first, second], [-0.1, -0.2], rtol=1e-6)
    with pytest.raises(ValueError, match="is a schedule already"):
        optim.chain(learning_rate=lambda count: 0.1, schedule="cosine", steps=5)


@pytest.mark.parametrize(
    ("schedule", "steps", "words"),
    [
        ("cosnie", 40, "did you mean 'cosine'"),
        ("cosine:edn=0.1", 40, "did you mean 'end'"),
        ("cosine:end=2", 40, "from 0 to 1, got 2"),
        ("cosine:0.1", 40, "write every number with its name"),
        ("cosine", None, "of how many updates"),
        ("cosine", 0, "of how many updates"),
        ("warmup:steps=0", 40, "a share between 0 and 1, got 0"),
        ("warmup:steps=1.5", 40, "a share between 0 and 1, got 1.5"),
        ("warmup:steps=True", 40, "got True"),
        ("warmup_cosine:warmup=40", 40, "40 updates leaves none of 40"),
        ("exponential:rate=-1", 40, "above 0, got -1"),
        ("one_cycle:pct_start=1", 40, "pct_start=1"),
    ],
)
def test_wrong_schedule(schedule, steps, words):
    with pytest.raises(ValueError, match=words):
        optim.Chain(schedule=schedule).transformation(0.1, steps)
