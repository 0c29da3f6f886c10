"""Recurrent layers against Flax's own cells and NumPy, one position after the other."""

from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from generic_place import built

from jgrad.models import GRU, LSTM, RNN, build

pytestmark = pytest.mark.loose_promotion

BATCH, LENGTH, FEATURES, WIDTH, OUTPUTS = 3, 5, 4, 6, 2


def examples(seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(BATCH, LENGTH, FEATURES)).astype(np.float32)


def layers(params, depth):
    deeper = (jax.tree.map(itemgetter(k), params["layers"]) for k in range(depth - 1))
    return [params["first"], *deeper]


def head(params, h):
    return h @ params["head"]["kernel"] + params["head"]["bias"]


@pytest.mark.parametrize("per_position", [False, True])
def test_vanilla_layers_are_the_equation(per_position):
    config = RNN(depth=3, width=WIDTH, per_position=per_position).sized((LENGTH, FEATURES), OUTPUTS)
    apply, params, state = built(config)
    sequence = examples()
    for p in layers(params, 3):
        h, states = np.zeros((BATCH, WIDTH)), []
        for t in range(LENGTH):
            drive = sequence[:, t] @ p["kernel"][:, 0] + h @ p["recurrent"][:, 0]
            h = np.tanh(drive + p["bias"][0])
            states.append(h)
        sequence = np.stack(states, axis=1)
    expected = head(params, sequence if per_position else sequence[:, -1])
    np.testing.assert_allclose(apply(params, state, examples())[0], expected, rtol=1e-5, atol=1e-5)


def states(params, depth, cell_of):
    """What stacked layers of a Flax cell give, [batch, length, width]."""
    sequence = jnp.asarray(examples())
    for p in layers(params, depth):
        cell = cell_of(p, sequence.shape[-1])
        carry = cell.initialize_carry((BATCH, sequence.shape[-1]), rngs=nnx.Rngs(0))
        found = []
        for t in range(LENGTH):
            carry, h = cell(carry, sequence[:, t])
            found.append(h)
        sequence = jnp.stack(found, axis=1)
    return sequence


def test_lstm_equals_flaxs_cell():
    config = LSTM(depth=2, width=WIDTH).sized((LENGTH, FEATURES), OUTPUTS)
    apply, params, state = built(config)

    def cell(p, features):
        own = nnx.LSTMCell(features, WIDTH, rngs=nnx.Rngs(0))
        for k, gate in enumerate(("i", "f", "g", "o")):
            of_input = getattr(own, "if_" if gate == "f" else f"i{gate}")
            of_state = getattr(own, f"h{gate}")
            of_input.kernel[...], of_state.kernel[...] = p["kernel"][:, k], p["recurrent"][:, k]
            of_state.bias[...] = p["bias"][k]
        return own

    expected = head(params, states(params, 2, cell)[:, -1])
    np.testing.assert_allclose(apply(params, state, examples())[0], expected, rtol=1e-5, atol=1e-5)


def test_gru_equals_flaxs_cell():
    config = GRU(depth=2, width=WIDTH, per_position=True).sized((LENGTH, FEATURES), OUTPUTS)
    apply, params, state = built(config)
    for part in ("first", "layers"):  # Flax has no bias there, PyTorch has
        params[part]["candidate_bias"] *= 0

    def cell(p, features):
        own = nnx.GRUCell(features, WIDTH, rngs=nnx.Rngs(0))
        own.dense_i.kernel[...] = p["kernel"].reshape(features, -1)
        own.dense_i.bias[...] = p["bias"].reshape(-1)
        own.dense_h.kernel[...] = p["recurrent"].reshape(WIDTH, -1)
        return own

    expected = head(params, states(params, 2, cell))
    np.testing.assert_allclose(apply(params, state, examples())[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [LSTM(depth=2, width=WIDTH), GRU(depth=2, width=WIDTH)])
def test_gated_layers_equal_pytorchs(config):
    torch = pytest.importorskip("torch")
    apply, params, state = built(config.sized((LENGTH, FEATURES), OUTPUTS))
    own = getattr(torch.nn, type(config).__name__)(FEATURES, WIDTH, 2, batch_first=True)
    for k, p in enumerate(layers(params, 2)):
        hidden = np.zeros_like(p["bias"])
        hidden[-1] = p.get("candidate_bias", 0)
        values = {
            "weight_ih": p["kernel"].transpose(1, 2, 0),
            "weight_hh": p["recurrent"].transpose(1, 2, 0),
            "bias_ih": p["bias"],
            "bias_hh": hidden,
        }
        for name, value in values.items():
            like = getattr(own, f"{name}_l{k}")
            like.data = torch.tensor(value.reshape(like.shape))
    expected = head(params, own(torch.tensor(examples()))[0][:, -1].detach().numpy())
    np.testing.assert_allclose(apply(params, state, examples())[0], expected, rtol=1e-5, atol=1e-5)


def test_where_kernels_and_biases_start():
    sized = {"shape": (LENGTH, FEATURES), "outputs": OUTPUTS, "width": WIDTH}

    def recurrent(config):
        return build(config, jax.random.key(0), gain=3.0).params["first"]["recurrent"]

    u = recurrent(RNN(**sized))[:, 0]
    np.testing.assert_allclose(u.T @ u, np.eye(WIDTH), atol=1e-5)
    u = recurrent(RNN(**sized, recurrent="identity", recurrent_scale=0.5))[:, 0]
    np.testing.assert_allclose(u, 0.5 * np.eye(WIDTH), atol=1e-6)
    config = LSTM(**sized, recurrent="init", forget_bias=1.5)
    kernels = recurrent(config)
    plain = build(config, jax.random.key(0)).params["first"]["recurrent"]
    np.testing.assert_allclose(kernels, 3 * plain, rtol=1e-5)
    assert len({float(kernels[0, k, 0]) for k in range(4)}) == 4  # a kernel for each gate
    bias = build(config, jax.random.key(0)).params["first"]["bias"]
    np.testing.assert_array_equal(bias, [[0] * WIDTH, [1.5] * WIDTH, [0] * WIDTH, [0] * WIDTH])


def test_tokens_are_embedded_first():
    config = GRU(width=WIDTH).sized((LENGTH,), OUTPUTS, vocabulary=7)
    apply, params, state = built(config)
    tokens = np.random.default_rng(2).integers(7, size=(BATCH, LENGTH))
    vectors = params["embed"]["embedding"][tokens]
    floats, _, _ = built(GRU(width=WIDTH).sized((LENGTH, WIDTH), OUTPUTS))
    rest = {name: leaf for name, leaf in params.items() if name != "embed"}
    expected, _ = floats(rest, state, vectors)
    np.testing.assert_allclose(apply(params, state, tokens)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_norm_acts_on_each_gate_and_on_the_cell():
    """One position of a normed LSTM by hand."""
    config = LSTM(width=WIDTH, norm="layer").sized((1, FEATURES), OUTPUTS)
    apply, params, state = built(config)
    x = examples()[:, :1]
    p = params["first"]

    def normed(name, z):
        own = p[f"{name}_norm"]["norm"]
        centred = z - z.mean(-1, keepdims=True)
        return centred / np.sqrt(z.var(-1, keepdims=True) + 1e-6) * own["scale"] + own["bias"]

    z = np.einsum("bi,igw->bgw", x[:, 0], p["kernel"]) + p["bias"]
    gates = ("input_gate", "forget_gate", "candidate", "output_gate")
    i, _, g, o = (normed(name, z[:, k]) for k, name in enumerate(gates))
    c = np.tanh(g) / (1 + np.exp(-i))
    h = np.tanh(normed("act", c)) / (1 + np.exp(-o))
    np.testing.assert_allclose(apply(params, state, x)[0], head(params, h), rtol=2e-5, atol=1e-5)
