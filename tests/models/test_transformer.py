"""The Transformer against NumPy, layer by layer, and what each position may see."""

from operator import itemgetter

import jax
import numpy as np
import pytest
from generic_place import built

from jgrad.models import Transformer

pytestmark = pytest.mark.loose_promotion

BATCH, LENGTH, WIDTH, HEADS, DEPTH, OUTPUTS = 2, 5, 8, 2, 3, 4


def linear(p, h):
    return h @ p["kernel"] + p["bias"]


def layer_norm(p, h):
    centred = h - h.mean(-1, keepdims=True)
    normed = centred / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
    return normed * p["norm"]["scale"] + p["norm"]["bias"]


def attention(p, h, causal):
    """One example, position and head after the other."""
    q, k, v = (linear(p[name], h) for name in ("query", "key", "value"))
    size, out = WIDTH // HEADS, np.zeros_like(h)
    for b in range(len(h)):
        for head in range(HEADS):
            own = slice(head * size, (head + 1) * size)
            for t in range(h.shape[1]):
                seen = slice(0, t + 1 if causal else None)
                scores = k[b, seen, own] @ q[b, t, own] / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                out[b, t, own] = weights / weights.sum() @ v[b, seen, own]
    return linear(p["out"], out)


def wide(p, h):
    return linear(p["down"], np.maximum(linear(p["up"], h), 0))


def positions(length, width):
    table = np.zeros((length, width))
    for t in range(length):
        for i in range(width // 2):
            angle = t / 10000 ** (2 * i / width)
            table[t, 2 * i : 2 * i + 2] = np.sin(angle), np.cos(angle)
    return table


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", ["pre", "post"])
def test_forward_is_the_equation(order, causal):
    config = Transformer(
        depth=DEPTH, width=WIDTH, heads=HEADS, order=order, causal=causal, activation="relu"
    ).sized((LENGTH, 3), OUTPUTS)
    apply, params, state = built(config)
    x = np.random.default_rng(0).normal(size=(BATCH, LENGTH, 3)).astype(np.float32)
    h = linear(params["embed"], x) + positions(LENGTH, WIDTH)
    for k in range(DEPTH):
        p = jax.tree.map(itemgetter(k), params["layers"])
        if order == "pre":
            h = h + attention(p["attention"], layer_norm(p["norm_0"], h), causal)
            h = h + wide(p["wide"], layer_norm(p["norm_1"], h))
        else:
            h = layer_norm(p["norm_0"], h + attention(p["attention"], h, causal))
            h = layer_norm(p["norm_1"], h + wide(p["wide"], h))
    if order == "pre":
        h = layer_norm(params["norm"], h)
    expected = linear(params["head"], h[:, -1] if causal else h.mean(1))
    np.testing.assert_allclose(apply(params, state, x)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["layer", "group", "weight_group"])
def test_a_causal_position_sees_none_after_it(norm):
    config = Transformer(
        depth=2, width=WIDTH, heads=HEADS, causal=True, per_position=True, norm=norm
    ).sized((LENGTH,), 6, vocabulary=6)
    apply, params, state = built(config)
    tokens = np.random.default_rng(0).integers(6, size=(BATCH, LENGTH))
    changed = tokens.copy()
    changed[:, 3] = (changed[:, 3] + 1) % 6
    before, after = (np.asarray(apply(params, state, t)[0]) for t in (tokens, changed))
    assert before.shape == (BATCH, LENGTH, 6)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before[:, 3:] - after[:, 3:]).max(-1) > 1e-3).all()


def test_images_are_cut_into_squares():
    """A patch model is the sequence model on squares that are cut by hand."""
    sizes = {"depth": 1, "width": WIDTH, "heads": HEADS, "positions": "learned"}
    images = np.random.default_rng(0).normal(size=(BATCH, 4, 6, 2)).astype(np.float32)
    apply, params, state = built(Transformer(**sizes, patch=2).sized((4, 6, 2), OUTPUTS))
    squares = [
        images[:, i : i + 2, j : j + 2].reshape(BATCH, -1) for i in (0, 2) for j in (0, 2, 4)
    ]
    sequence, _, _ = built(Transformer(**sizes).sized((6, 8), OUTPUTS))
    expected, _ = sequence(params, state, np.stack(squares, axis=1))
    np.testing.assert_allclose(apply(params, state, images)[0], expected, rtol=1e-5, atol=1e-5)
    assert params["positions"].shape == (6, WIDTH)
