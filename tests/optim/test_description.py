"""A chain as text: the short form, and the optax expression that evaluates to the same thing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jgrad
from jgrad import optim
from jgrad.optim import Chain

pytestmark = pytest.mark.loose_promotion

#: Short form → the optax that a careful user would have written.
BY_HAND = {
    "sgd": "optax.sgd(0.05)",
    "adam:b2=0.95,eps=1e-06 | clip=global_norm:1.0 | schedule=cosine": (
        "optax.chain(optax.clip_by_global_norm(1.0), "
        "optax.adam(optax.cosine_decay_schedule(0.05, 20), b2=0.95, eps=1e-06))"
    ),
    "momentum | weight_decay=0.01 | decay=matrices": (
        "optax.chain(optax.add_decayed_weights(0.01, mask=jgrad.optim.matrices), "
        "optax.sgd(0.05, momentum=0.9))"
    ),
    "adamw | clip=value:0.5 | weight_decay=0.1 | decay=matrices": (
        "optax.chain(optax.clip(0.5), "
        "optax.adamw(0.05, mask=jgrad.optim.matrices, weight_decay=0.1))"
    ),
    "nesterov | schedule=warmup_cosine:warmup=0.2 | accumulate=2": (
        "optax.MultiSteps(optax.sgd(optax.join_schedules([optax.linear_schedule(0.0, 0.05, 2), "
        "optax.cosine_decay_schedule(0.05, 8)], [2]), momentum=0.9, nesterov=True), 2)"
        ".gradient_transformation()"
    ),
    "lion | clip=percentile:10,window=20 | loss_scale=static:1024": (
        "optax.chain(optax.scale(0.0009765625), "
        "jgrad.optim.clip_by_percentile(10, window=20), optax.lion(0.05))"
    ),
    "schedule_free | loss_scale=dynamic:interval=3": (
        "jgrad.optim.dynamic_loss_scale(optax.contrib.schedule_free_sgd(0.05), interval=3)"
    ),
    "adafactor:min_dim_size_to_factor=4 | schedule=exponential:rate=0.5,every=5": (
        "optax.adafactor(optax.exponential_decay(0.05, 5, 0.5), min_dim_size_to_factor=4)"
    ),
}


def trained(transformation, steps=5):
    params = {"kernel": jnp.arange(6.0).reshape(2, 3) / 4, "bias": jnp.array([0.3, -0.2, 0.7])}

    def step(carry, number):
        params, state = carry
        grads = jax.tree.map(lambda p: jnp.sin(number * p) + 0.2, params)
        updates, state = transformation.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    carry = params, transformation.init(params)
    return jax.lax.scan(step, carry, jnp.arange(1.0, steps + 1))[0][0]


def evaluated(text, **names):
    return eval(text, {"optax": optax, "jgrad": jgrad, **names})


def same(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), one, other))


@pytest.mark.parametrize("description", BY_HAND)
def test_expression(description):
    chain = Chain.parse(description)
    assert chain.expression(0.05, 20) == BY_HAND[description]
    by_hand = trained(evaluated(BY_HAND[description]))
    assert same(trained(chain.transformation(0.05, 20)), by_hand)
    with_names = evaluated(str(chain), learning_rate=0.05, steps=20)
    assert same(trained(with_names), by_hand)
    assert not same(trained(optax.identity()), by_hand)


@pytest.mark.parametrize("description", BY_HAND)
def test_round_trip(description):
    chain = Chain.parse(description)
    assert chain.description == description
    assert Chain.parse(chain.description) == chain
    assert hash(Chain.parse(description)) == hash(chain)
    assert evaluated(repr(chain), Chain=Chain) == chain


def test_parts_come_in_any_order():
    one = Chain.parse("schedule = cosine|clip=norm:1.0 |  adam ")
    assert one == Chain(optimizer="adam", clip="norm:1.0", schedule="cosine")
    assert one == Chain.parse("optimizer=adam | clip=norm:1.0 | schedule=cosine")
    assert Chain.parse("weight_decay=0").weight_decay == 0
    assert Chain.parse("adamw | weight_decay=None").weight_decay is None


def test_default_decay_is_the_optimisers_own():
    """None leaves optax's; 0 is none at all."""
    params = jnp.array([2.0, -1.0])

    def first(chain):
        transformation = chain.transformation(0.1)
        updates, _ = transformation.update(jnp.zeros(2), transformation.init(params), params)
        return updates

    np.testing.assert_allclose(first(Chain(optimizer="adamw")), -1e-5 * params, rtol=1e-5)
    assert not first(Chain(optimizer="adamw", weight_decay=0)).any()
    assert not first(Chain(optimizer="lion", weight_decay=0.0)).any()
    assert not first(Chain(optimizer="adam")).any()


def test_only_matrices_decay():
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    for name in ("sgd", "adamw", "lion", "lamb"):
        chain = Chain(optimizer=name, weight_decay=0.5, decay="matrices").transformation(0.1)
        updates, _ = chain.update(zeros, chain.init(params), params)
        assert not updates["bias"].any(), name
        assert (updates["kernel"] < -0.04).all(), name


def test_it_is_a_value():
    chain = Chain(optimizer="adam")
    with pytest.raises(dataclasses.FrozenInstanceError):
        chain.optimizer = "sgd"
    assert len({chain, Chain(optimizer="adam"), Chain()}) == 2


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("adma", "did you mean 'adam'"),
        ("adam:b3=0.9", "unknown option of optimiser 'adam' 'b3'; did you mean"),
        ("adam:0.9", "write every number with its name"),
        ("adam:b1=high", "'b1=high' is not understood"),
        ("adam:learning_rate=0.1", "unknown option"),
        ("adam:b1=0.9,b1=0.8", "each key once"),
        ("adam | clp=none", "did you mean 'clip'"),
        ("adam | sgd", "gives optimizer twice"),
        ("weight_decay=-1", "at least 0, got -1"),
        ("weight_decay=much", "not understood"),
        ("weight_decay=True", "must be a number, got 'True'"),
        ("decay=matrix", "did you mean 'matrices'"),
        ("schedule_free_adamw | decay=matrices", "decays all weights"),
        ("accumulate=0", "at least 1, got 0"),
        ("accumulate=2.5", "must be a whole number, got '2.5'"),
        ("loss_scale=dinamic", "did you mean 'dynamic'"),
        ("loss_scale=static", "static:1024"),
        ("loss_scale=static:-2", "got 'static:-2'"),
        ("loss_scale=dynamic:intreval=2", "did you mean 'interval'"),
        ("loss_scale=dynamic:factor=1", "factor > 1"),
    ],
)
def test_wrong_description(description, words):
    with pytest.raises(ValueError, match=words):
        Chain.parse(description)


def test_keywords_beside_the_text():
    """What has no text, here a traced option, goes to the optimiser as it is."""
    params = jnp.array([1.0, -2.0])

    def first(b1):
        chain = optim.chain(optimizer="adam:b2=0.9", learning_rate=0.1, b1=b1)
        _, state = chain.update(params, chain.init(params), params)
        return chain.update(params**3, state, params)[0]

    mapped = jax.vmap(first)(jnp.array([0.5, 0.8]))
    np.testing.assert_allclose(mapped[1], first(0.8), rtol=1e-5)
    assert not np.allclose(mapped[0], mapped[1])
