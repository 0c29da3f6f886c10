"""What every configuration promises: a task is fitted, refused with words, and computed right."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from jgrad import models, probes
from jgrad.models import ARCHITECTURES, build
from jgrad.models._layers import dropped

pytestmark = pytest.mark.loose_promotion

SMALL = {
    "mlp": models.MLP(depth=3, width=6),
    "residual_mlp": models.ResidualMLP(depth=3, width=6),
    "cnn": models.CNN(depth=3, width=4),
    "resnet": models.ResNet(stages=(1, 2), width=4),
    "rnn": models.RNN(depth=2, width=6),
    "lstm": models.LSTM(depth=2, width=6),
    "gru": models.GRU(depth=2, width=6),
    "transformer": models.Transformer(depth=2, width=8, heads=2),
}
TASKS = {
    "mlp": ((5,), 4, None),
    "residual_mlp": ((2, 3), 4, None),
    "cnn": ((6, 4, 2), 4, None),
    "resnet": ((6, 4, 2), 4, None),
    "rnn": ((5, 3), 4, None),
    "lstm": ((5,), 4, 7),
    "gru": ((5, 3), 4, None),
    "transformer": ((5, 3), 4, None),
}


def small(name, **changes):
    return dataclasses.replace(SMALL[name], **changes).sized(*TASKS[name])


def examples(config, count=5, dtype=np.float32):
    generator = np.random.default_rng(3)
    if config.vocabulary:
        return jnp.asarray(generator.integers(config.vocabulary, size=(count, *config.shape)))
    return jnp.asarray(generator.normal(size=(count, *config.shape)), dtype)


each = pytest.mark.parametrize("name", sorted(ARCHITECTURES))


@each
def test_configurations_are_values(name):
    assert SMALL.keys() == ARCHITECTURES.keys()
    config = small(name)
    assert config == small(name)
    assert hash(config) == hash(small(name))
    assert dataclasses.replace(config, width=16) != config
    assert ARCHITECTURES[name]().outputs == 0  # every field has a default


@each
def test_a_task_is_needed_to_build(name):
    with pytest.raises(ValueError, match=r"does not know its task yet: call \.sized"):
        build(ARCHITECTURES[name](), jax.random.key(0))


@each
def test_bfloat16_computes_narrow_and_keeps_wide(name):
    wide, narrow = (build(small(name, dtype=d), jax.random.key(0)) for d in ("float32", "bfloat16"))
    x = examples(small(name))
    expected, got = (jax.jit(m.apply)(wide.params, wide.state, x)[0] for m in (wide, narrow))
    assert got.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow.params)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(got, expected, atol=0.1 * float(abs(expected).max()))
    text = str(jax.make_jaxpr(narrow.apply)(wide.params, wide.state, x))
    wide_products = [
        line for line in text.splitlines() if "dot_general[" in line and "f32[" in line
    ]
    assert not wide_products
    assert np.any(got != expected)


@each
def test_dropout_needs_a_key_and_only_in_training(name):
    apply, params, state = build(small(name, dropout=0.4), jax.random.key(0))
    plain = build(small(name), jax.random.key(0)).apply
    x = examples(small(name))
    with pytest.raises(ValueError, match=r"dropout=0\.4 in training needs a random key"):
        apply(params, state, x, train=True)
    expected, _ = plain(params, state, x)
    np.testing.assert_array_equal(apply(params, state, x)[0], expected)
    train = jax.jit(lambda key: apply(params, state, x, train=True, key=key)[0])
    one, again, other = (train(jax.random.key(k)) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"outputs": -1}, "outputs must be at least 0, got -1"),
        ({"shape": (3, 0)}, r"shape must be of whole numbers from 1 up, got \(3, 0\)"),
        ({"vocabulary": 0}, "vocabulary must be at least 1, got 0"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dtype": "bfloat"}, "did you mean 'bfloat16'"),
        ({"norm": "layr"}, "did you mean 'layer'"),
        ({"activation": "rellu"}, "did you mean 'relu'"),
    ],
)
@each
def test_wrong_values(name, changes, words):
    with pytest.raises(ValueError, match=words):
        ARCHITECTURES[name](**changes)


@each
def test_a_task_has_a_shape_and_an_output(name):
    with pytest.raises(ValueError, match="at least 1 output, got"):
        SMALL[name].sized(TASKS[name][0], 0)
    with pytest.raises(ValueError, match=r"got shape=\(\)"):
        SMALL[name].sized((), 2)


def test_float64_needs_x64():
    with pytest.raises(ValueError, match="needs jax_enable_x64"):
        build(small("mlp", dtype="float64"), jax.random.key(0))


@pytest.mark.parametrize(
    ("config", "task", "words"),
    [
        (
            models.MLP(),
            ((7,), 2, 50),
            r"takes floats of any shape; .* tokens \(of 50\) .* \(7,",
        ),
        (models.ResidualMLP(), ((7,), 2, 50), "ResidualMLP takes floats of any shape"),
        (models.CNN(), ((64,), 2), r"images \[height, width, channels\] of 2 x 2 .* shape \(64,\)"),
        (models.CNN(stages=4), ((4, 8, 1), 2), "of 8 x 8 or more; .* floats of shape"),
        (models.ResNet(stem="imagenet"), ((8, 8, 1), 2), "of 16 x 16 or more"),
        (models.RNN(), ((64,), 2), r"RNN takes floats \[length, features\] or tokens \[length\]"),
        (models.LSTM(), ((8, 8), 2, 5), "LSTM takes .* tokens"),
        (models.GRU(), ((8, 8, 1), 2), "GRU takes"),
        (models.Transformer(patch=3), ((8, 8, 1), 2), "whole 3 x 3 patches; .* shape"),
        (models.Transformer(), ((8,), 2), "Transformer takes floats"),
    ],
)
def test_tasks_that_do_not_fit(config, task, words):
    with pytest.raises(ValueError, match=words):
        config.sized(*task)


@pytest.mark.parametrize(
    ("architecture", "changes", "words"),
    [
        ("mlp", {"depth": 0}, "depth must be at least 1, got 0"),
        ("residual_mlp", {"branch": "fixpu"}, "did you mean 'fixup'"),
        ("cnn", {"padding": "circula"}, "did you mean 'circular'"),
        ("cnn", {"depth": 2, "stages": 3}, "depth must be at least 3, got 2"),
        ("resnet", {"block": "botleneck"}, "did you mean 'bottleneck'"),
        ("resnet", {"stages": (2, 0)}, r"at least 1 each, got \(2, 0\)"),
        ("resnet", {"branch": "fixup"}, "without normalisation, got norm='batch'"),
        ("rnn", {"recurrent": "identiti"}, "did you mean 'identity'"),
        ("rnn", {"norm": "batch"}, "unknown norm of RNN 'batch'"),
        ("lstm", {"gate": "sigmoit"}, "did you mean 'sigmoid'"),
        ("transformer", {"width": 6, "heads": 4}, "multiple of heads=4, got 6"),
        ("transformer", {"causal": True, "norm": "batch"}, "see those after it"),
        ("transformer", {"order": "prre"}, "did you mean 'pre'"),
        ("transformer", {"positions": "learnt"}, "did you mean 'learned'"),
    ],
)
def test_wrong_values_of_one(architecture, changes, words):
    with pytest.raises(ValueError, match=words):
        ARCHITECTURES[architecture](**changes)


GATES = ("input_gate", "forget_gate", "candidate", "output_gate")
SITES = {
    "mlp": {"first/act": (), "layers/act": (2,)},
    "residual_mlp": {"layers/act": (3,), "layers/act_1": (3,), "last/act": ()},
    "cnn": {"stage_0/first/act": (), "stage_0/layers/act": (1,), "stage_1/first/act": ()},
    "resnet": {
        "stem/act": (),
        "stage_0/first/act_1": (),
        "stage_0/first/act": (),
        "stage_1/first/act_1": (),
        "stage_1/first/act": (),
        "stage_1/layers/act_1": (1,),
        "stage_1/layers/act": (1,),
    },
    "rnn": {"first/act": (5,), "layers/act": (1, 5)},
    "lstm": {
        **{f"first/{name}": (5,) for name in (*GATES, "act")},
        **{f"layers/{name}": (1, 5) for name in (*GATES, "act")},
    },
    "gru": {
        **{f"first/{name}": (5,) for name in ("reset_gate", "update_gate", "act")},
        **{f"layers/{name}": (1, 5) for name in ("reset_gate", "update_gate", "act")},
    },
    "transformer": {"layers/act": (2,)},
}


@pytest.mark.parametrize(
    "norm", ["group", *(pytest.param(n, marks=pytest.mark.slow) for n in ("none", "layer", "rms"))]
)
@each
def test_the_probe_sees_the_activations_and_nothing_else(name, norm):
    config = small(name, norm=norm, dropout=0.1)
    model = build(config, jax.random.key(0))

    def loss(params, x):
        return model.apply(params, model.state, x, train=True, key=jax.random.key(1))[0].var()

    sites = probes.sites(loss)(model.params, examples(config))
    assert {site.key: site.steps for site in sites} == SITES[name]
    gates = {site.activation for site in sites if site.key.endswith("gate")}
    assert gates <= {"sigmoid"}
    others = {site.activation for site in sites if not site.key.endswith("gate")}
    assert others == {config.activation}


def test_dropout_drops_its_share_and_keeps_the_mean():
    ones = jnp.ones((200, 300))
    out = np.asarray(dropped(ones, 0.2, jax.random.key(0)))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.8)}
    assert (out == 0).mean() == pytest.approx(0.2, abs=0.01)  # 6 standard deviations
    assert dropped(ones, 0.2, None) is ones


DEEP = {name: {"depth": 1000} for name in ARCHITECTURES} | {"resnet": {"stages": (1000, 1000)}}


@each
def test_the_program_does_not_grow_with_depth(name):
    """Traced at the shapes alone: a thousand layers are not drawn."""

    def equations(config):
        like = jax.eval_shape(lambda key: build(config, key)[1:], jax.random.key(0))
        apply = _apply(config)
        traced = jax.make_jaxpr(jax.grad(lambda p, s, x: apply(p, s, x, train=True)[0].sum()))
        return count(traced(*like, examples(config)).jaxpr)

    def count(jaxpr):
        inner = [sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params)]
        return len(jaxpr.eqns) + sum(map(count, inner))

    ten = {k: (10, 10) if isinstance(v, tuple) else 10 for k, v in DEEP[name].items()}
    assert equations(small(name, **ten)) == equations(small(name, **DEEP[name]))


def _apply(config):
    found = []

    def make(key):
        found.append(build(config, key).apply)

    jax.eval_shape(make, jax.random.key(0))
    return found[0]
