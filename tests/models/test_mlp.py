"""The deep MLP against NumPy, Flax's own layers, finite differences, and itself layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jgrad.models import MLP, NORMS, build

pytestmark = pytest.mark.loose_promotion

FEATURES, CLASSES, WIDTH, DEPTH, BATCH = 7, 3, 5, 4, 11


def config(**changes):
    sizes = {"width": WIDTH, "depth": DEPTH}
    return MLP(**(sizes | changes)).sized((FEATURES,), CLASSES)


def examples(dtype=np.float32):
    return jnp.asarray(np.random.default_rng(3).normal(size=(BATCH, FEATURES)), dtype)


def moved(tree, seed=5, dtype=np.float64):
    """The tree with every leaf moved to a generic place (biases off 0, scales off 1)."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * generator.normal(size=leaf.shape), dtype), tree
    )


def layer(params, k):
    return jax.tree.map(lambda leaf: leaf[k], params["layers"])


@pytest.mark.parametrize("skip", [False, True])
def test_forward_is_the_equation(skip):
    apply, params, state = build(config(skip=skip), jax.random.key(1), init="xavier")
    params, x = moved(params, dtype=np.float32), examples()
    outputs, _ = apply(params, state, x)

    def linear(p, h):
        return h @ p["kernel"] + p["bias"]

    h = np.tanh(linear(params["first"]["linear"], x))
    for k in range(DEPTH - 1):
        h = np.tanh(linear(layer(params, k)["linear"], h)) + (h if skip else 0)
    np.testing.assert_allclose(outputs, linear(params["head"], h), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("name", "own"),
    [("batch", nnx.BatchNorm), ("layer", nnx.LayerNorm), ("rms", nnx.RMSNorm)],
)
def test_norms_equal_flaxs_own(name, own, train):
    apply, params, state = build(config(norm=name, activation="sigmoid"), jax.random.key(2))
    params, state = moved(params, dtype=np.float32), jax.tree.map(abs, moved(state, 8, np.float32))
    outputs, after = apply(params, state, examples(), train=train)

    def flax_layer(p, s, h):
        options = {"momentum": 0.9, "use_running_average": not train} if name == "batch" else {}
        module = own(WIDTH, rngs=nnx.Rngs(0), **options)
        nnx.update(module, nnx.State(p["norm"]["norm"]))
        if s:
            nnx.update(module, nnx.State(s["norm"]["norm"]))
        out = jax.nn.sigmoid(module(h @ p["linear"]["kernel"] + p["linear"]["bias"]))
        return out, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))

    h, first_state = flax_layer(params["first"], state.get("first"), examples())
    for k in range(DEPTH - 1):
        h, layer_state = flax_layer(layer(params, k), layer(state, k) if state else None, h)
    expected = h @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    if name == "batch":
        for found, wanted in (
            (after["first"]["norm"]["norm"], first_state),
            (layer(after, -1)["norm"]["norm"], layer_state),
        ):
            for moment in ("mean", "var"):
                np.testing.assert_allclose(found[moment], wanted[moment], rtol=1e-5, atol=1e-6)
        changed = not np.array_equal(
            after["first"]["norm"]["norm"]["mean"], state["first"]["norm"]["norm"]["mean"]
        )
        assert changed == train


@pytest.mark.parametrize("norm", sorted(NORMS))
@pytest.mark.parametrize("skip", [False, True])
def test_gradients_equal_finite_differences(norm, skip):
    with jax.enable_x64(True):
        apply, params, state = build(
            config(norm=norm, skip=skip, activation="gelu", dtype="float64"), jax.random.key(3)
        )
        params, state = moved(params), moved(state)
        x = examples(np.float64)
        y = np.arange(BATCH) % CLASSES

        @jax.jit
        def loss(p):
            logits, _ = apply(p, state, x, train=True)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(BATCH), y])

        direction = moved(jax.tree.map(jnp.zeros_like, params), seed=9)
        slope = sum(
            jax.tree.leaves(
                jax.tree.map(lambda g, d: float((g * d).sum()), jax.grad(loss)(params), direction)
            )
        )

        def at(t):
            return float(loss(jax.tree.map(lambda p, d: p + t * d, params, direction)))

        ε = 1e-4
        # Fourth-order central difference.
        expected = (8 * (at(ε) - at(-ε)) - (at(2 * ε) - at(-2 * ε))) / (12 * ε)
        assert slope == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_apply_changes_nothing_in_place():
    """Flax alone would write the new moments into a NumPy state."""
    apply, params, state = build(config(norm="batch"), jax.random.key(0))
    state = jax.tree.map(np.array, state)
    before = jax.tree.map(np.copy, state)
    _, after = apply(params, state, examples(), train=True)
    jax.tree.map(np.testing.assert_array_equal, state, before)
    assert np.any(after["first"]["norm"]["norm"]["mean"])


def test_the_program_does_not_grow_with_depth():
    def equations(depth):
        apply, params, state = build(config(depth=depth, norm="batch"), jax.random.key(0))
        traced = jax.make_jaxpr(lambda p: apply(p, state, examples(), train=True))(params)
        return str(traced).replace(str(depth - 1), "n").count("\n")

    assert equations(10) == equations(1000)


def test_depth_one_has_no_scanned_layers():
    apply, params, state = build(config(depth=1), jax.random.key(0))
    assert set(params) == {"first", "head"}
    assert apply(params, state, examples())[0].shape == (BATCH, CLASSES)


def test_layers_are_drawn_independently_and_gain_is_a_factor():
    _, params, _ = build(config(), jax.random.key(4), init="xavier_uniform")
    _, tripled, _ = build(config(), jax.random.key(4), init="xavier_uniform", gain=3.0)
    kernels = params["layers"]["linear"]["kernel"]
    assert len({float(kernel[0, 0]) for kernel in kernels}) == DEPTH - 1
    np.testing.assert_allclose(tripled["layers"]["linear"]["kernel"], 3 * kernels, rtol=1e-6)
    assert not params["layers"]["linear"]["bias"].any()


def test_build_maps_over_keys():
    keys = jax.random.split(jax.random.key(6), 3)
    mapped = jax.vmap(lambda key: build(config(), key, init="orthogonal").params)(keys)
    for k, key in enumerate(keys):
        alone = build(config(), key, init="orthogonal").params
        for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(mapped), strict=True):
            np.testing.assert_allclose(one, many[k], rtol=1e-5, atol=1e-6)


def test_any_elementwise_function_is_an_activation():
    apply, params, state = build(config(activation=jnp.sin, depth=1), jax.random.key(0))
    x = examples()
    expected = np.sin(x @ params["first"]["linear"]["kernel"]) @ params["head"]["kernel"]
    np.testing.assert_allclose(apply(params, state, x)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": -3}, "width must be at least 1, got -3"),
        ({"activation": "sigmoidd"}, "did you mean 'sigmoid'"),
        ({"norm": "bacth"}, "did you mean 'batch'"),
    ],
)
def test_wrong_input(changes, words):
    with pytest.raises(ValueError, match=words):
        config(**changes)


def test_unknown_initialiser():
    with pytest.raises(ValueError, match="did you mean 'xavier'"):
        build(config(), jax.random.key(0), init="xaiver")
