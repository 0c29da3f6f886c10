"""Chains put together at random: as text and back, and beside the same put together by hand."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import optim
from jgrad.optim import Chain

pytestmark = pytest.mark.loose_promotion

RATE, STEPS = 0.03, 12

#: Description → the optax of a careful user, given the rate and the mask of what decays.
OPTIMIZERS = {
    "sgd": lambda rate, **_: optax.sgd(rate),
    "momentum": lambda rate, **_: optax.sgd(rate, momentum=0.9),
    "nesterov": lambda rate, **_: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adagrad": lambda rate, **_: optax.adagrad(rate),
    "rmsprop:decay=0.8": lambda rate, **_: optax.rmsprop(rate, decay=0.8),
    "adam:b1=0.8,b2=0.95": lambda rate, **_: optax.adam(rate, b1=0.8, b2=0.95),
    "nadam": lambda rate, **_: optax.nadam(rate),
    "radam:b2=0.9": lambda rate, **_: optax.radam(rate, b2=0.9),
    "adafactor:min_dim_size_to_factor=2": lambda rate, **_: optax.adafactor(
        rate, min_dim_size_to_factor=2
    ),
    "adamw": optax.adamw,
    "lion:b2=0.9": lambda rate, **decay: optax.lion(rate, b2=0.9, **decay),
    "lamb": optax.lamb,
}
#: Those that decay the weights themselves.
DECAYING = ("adamw", "lion:b2=0.9", "lamb")
CLIPS = {
    "none": None,
    "value:0.25": lambda: optax.clip(0.25),
    "norm:0.5": lambda: optim.clip_by_norm(0.5),
    "global_norm:0.7": lambda: optax.clip_by_global_norm(0.7),
    "block:0.2": lambda: optax.clip_by_block_rms(0.2),
    "adaptive:0.1,eps=0.01": lambda: optax.adaptive_grad_clip(0.1, eps=0.01),
    "percentile:40,window=3": lambda: optim.clip_by_percentile(40, window=3),
}
SCHEDULES = {
    "constant": lambda n: RATE,
    "warmup:steps=3": lambda n: optax.linear_schedule(0.0, RATE, 3),
    "cosine:end=0.1": lambda n: optax.cosine_decay_schedule(RATE, n, 0.1),
    "warmup_cosine:warmup=0.5": lambda n: optax.join_schedules(
        [optax.linear_schedule(0.0, RATE, n // 2), optax.cosine_decay_schedule(RATE, n - n // 2)],
        [n // 2],
    ),
    "one_cycle:pct_start=0.5": lambda n: optax.cosine_onecycle_schedule(n, RATE, 0.5, 25.0, 1e4),
    "exponential:rate=0.5,every=4": lambda n: optax.exponential_decay(RATE, 4, 0.5),
}


def drawn(seed):
    """The fields of a chain."""
    pick = random.Random(seed).choice
    return {
        "optimizer": pick([*OPTIMIZERS]),
        "clip": pick([*CLIPS]),
        "schedule": pick([*SCHEDULES]),
        "weight_decay": pick([None, 0, 0.125, 1e-3]),
        "decay": pick(["all", "matrices"]),
        "accumulate": pick([1, 1, 2, 3]),
        "loss_scale": pick(["none", "none", "static:1024", "dynamic:initial=64,interval=4"]),
    }


def by_hand(fields):
    """The same chain, out of optax's own parts."""
    rate = SCHEDULES[fields["schedule"]](STEPS // fields["accumulate"])
    masks = {"mask": optim.matrices} if fields["decay"] == "matrices" else {}
    parts = [CLIPS[fields["clip"]]()] if fields["clip"] != "none" else []
    decay, own = fields["weight_decay"], {}
    if fields["optimizer"] in DECAYING:
        own = masks | ({} if decay is None else {"weight_decay": decay})
    elif decay:
        parts.append(optax.add_decayed_weights(decay, **masks))
    whole = optax.chain(*parts, OPTIMIZERS[fields["optimizer"]](rate, **own))
    if fields["accumulate"] > 1:
        whole = optax.MultiSteps(whole, fields["accumulate"]).gradient_transformation()
    if fields["loss_scale"].startswith("static"):
        whole = optax.chain(optax.scale(1 / 1024), whole)
    if fields["loss_scale"].startswith("dynamic"):
        whole = optim.dynamic_loss_scale(whole, initial=64, interval=4)
    return whole


def trained(transformation):
    start = {"kernel": jnp.arange(6.0).reshape(2, 3) / 4 - 0.6, "bias": jnp.array([0.3, -0.2, 0.7])}

    @jax.jit
    def run(params):
        def step(carry, number):
            params, state = carry
            grads = jax.tree.map(lambda p: jnp.sin(number * p) + 0.2, params)
            updates, state = transformation.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        carry = params, transformation.init(params)
        return jax.lax.scan(step, carry, jnp.arange(1.0, STEPS + 1))[1]

    return run(start)


@pytest.mark.parametrize(
    "seed", [pytest.param(k, marks=pytest.mark.slow if k >= 4 else ()) for k in range(60)]
)
def test_a_chain_is_what_is_put_together_by_hand(seed):
    fields = drawn(seed)
    found = trained(Chain(**fields).transformation(RATE, STEPS))
    expected = trained(by_hand(fields))
    for name, leaf in expected.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=str(fields))
        assert np.isfinite(leaf).all()
        assert not np.array_equal(leaf[0], leaf[-1])


def test_a_description_is_read_as_it_was_written():
    chains = [Chain(**drawn(seed)) for seed in range(300)]
    for chain in chains:
        again = Chain.parse(chain.description)
        assert again == chain
        assert hash(again) == hash(chain)
        assert again.description == chain.description
        assert again.expression(RATE, STEPS) == chain.expression(RATE, STEPS)
    # Different chains read differently.
    assert len({c.description for c in chains}) == len(set(chains)) > 250
