"""LSUV: unit variances measured by hand on plain, scanned, recurrent, convolutional, NNX models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jgrad import inits, probes

X = jax.random.normal(jax.random.key(7), (60, 12)) * 3.0 + 1.0


def weights(*shapes, scale):
    keys = jax.random.split(jax.random.key(1), len(shapes))
    return [scale * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def test_the_loop_of_the_paper_by_hand():
    """Layer after layer, with biases, a skip and several layers behind the last site."""
    params = {
        "step": jnp.int32(3),
        "w": weights((12, 20), (20, 20), (20, 5), scale=0.02),
        "b": [jnp.full(20, 0.3), jnp.linspace(-1.0, 1.0, 20)],
    }

    def f(p, x):
        h = jnp.tanh(x @ p["w"][0] + p["b"][0][None])
        return (h + jax.nn.gelu(h @ p["w"][1] + p["b"][1][None])) @ p["w"][2]

    got = inits.lsuv(f)(params, X)
    w, b = [np.asarray(w, np.float64) for w in params["w"]], params["b"]
    x = np.asarray(X, np.float64)
    for _ in range(60):
        w[0] /= (x @ w[0] + np.asarray(b[0])).std()
    h = np.tanh(x @ w[0] + np.asarray(b[0]))
    for _ in range(60):
        w[1] /= (h @ w[1] + np.asarray(b[1])).std()
    # Within the tolerance of 1e-3 in the variance.
    np.testing.assert_allclose(got["w"][0], w[0], rtol=2e-3)
    np.testing.assert_allclose(got["w"][1], w[1], rtol=2e-3)
    np.testing.assert_array_equal(got["w"][2], params["w"][2])
    np.testing.assert_array_equal(got["b"][1], b[1])


def test_a_scanned_stack_has_a_scale_for_each_layer():
    (stack,) = weights((30, 12, 12), scale=2.0)

    def f(p, x):
        return jax.lax.scan(lambda h, w: (jax.nn.relu(h @ w), None), x, p)[0]

    got = jax.jit(inits.lsuv(f))(stack, X)
    h = X
    for w in got:
        assert float((h @ w).var()) == pytest.approx(1, abs=1.1e-3)
        h = jax.nn.relu(h @ w)
    scales = np.asarray(got / stack)
    assert np.ptp(scales.reshape(30, -1), axis=1).max() < 1e-5


def test_weights_that_all_steps_share_have_one_scale():
    w, u = weights((8, 8), (12, 8), scale=0.05)
    inputs = jax.random.normal(jax.random.key(3), (9, 12))

    def f(p, xs):
        def step(h, x):
            return jnp.tanh(h @ p["w"] + x @ p["u"]), None

        return jax.lax.scan(step, jnp.zeros(8), xs)[0]

    got = inits.lsuv(f)({"w": w, "u": u}, inputs)
    zs, h = [], jnp.zeros(8)
    for x in inputs:
        zs.append(h @ got["w"] + x @ got["u"])
        h = jnp.tanh(zs[-1])
    assert float(jnp.stack(zs).var()) == pytest.approx(1, abs=1.1e-3)
    assert float((got["w"] / w).mean()) == pytest.approx(float((got["u"] / u).mean()), rel=1e-5)


def test_convolutions_embeddings_and_half_precision():
    kernel, table, dense = weights((3, 1, 6), (11, 12), (6, 4), scale=0.1)
    tokens = jax.random.randint(jax.random.key(0), (5, 20), 0, 11)

    def f(p, tokens):
        rows = p["table"][tokens].reshape(5, -1, 1)
        z = jax.lax.conv_general_dilated(
            rows, p["kernel"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return jax.nn.silu(jax.nn.silu(z).astype(jnp.bfloat16) @ p["dense"])

    given = {"kernel": kernel, "table": table, "dense": dense.astype(jnp.bfloat16)}
    got = inits.lsuv(f, tolerance=0.02)(given, tokens)
    assert got["dense"].dtype == jnp.bfloat16
    # The table is behind another product: the kernel alone is scaled.
    np.testing.assert_array_equal(got["table"], table)
    z = jax.lax.conv_general_dilated(
        table[tokens].reshape(5, -1, 1),
        got["kernel"],
        (1,),
        "SAME",
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    assert float(z.var()) == pytest.approx(1, abs=0.02)
    z = jax.nn.silu(z).astype(jnp.bfloat16) @ got["dense"]
    assert float(z.astype(jnp.float32).var()) == pytest.approx(1, abs=0.03)


@pytest.mark.loose_promotion
def test_an_nnx_module():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(12, 16, rngs=rngs)
            self.norm = nnx.BatchNorm(16, rngs=rngs)
            self.b = nnx.Linear(16, 16, rngs=rngs)
            self.c = nnx.Linear(16, 3, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.norm(self.a(x)))
            return self.c(nnx.relu(self.b(x)))

    model = Net(nnx.Rngs(0))
    before = nnx.state(model, nnx.Param)
    got = inits.lsuv(lambda model, x: model(x))(model, X)
    # A batch norm undoes every scale, so the first kernel stays.
    np.testing.assert_array_equal(got["a"]["kernel"][...], before["a"]["kernel"][...])
    nnx.update(model, got)
    h = nnx.relu(model.norm(model.a(X)))
    assert float(model.b(h).var()) == pytest.approx(1, abs=1.1e-3)


def test_a_site_behind_a_site_is_not_fed_by_its_weights():
    (w,) = weights((12, 5), scale=3.0)

    def f(p, x):
        return jax.nn.relu(2.0 * jnp.sin(x @ p) - 0.5)

    assert [[x.leaf for x in fed] for fed in probes.weights(f)(w, X).values()] == [[0], []]
    got = inits.lsuv(f)(w, X)
    assert float((X @ got).var()) == pytest.approx(1, abs=1.1e-3)


def test_what_cannot_be_scaled_stays_as_it_is():
    def f(p, x):
        return jnp.tanh(jnp.tanh(x @ p[0]) @ p[1])

    dead, live = jnp.zeros((12, 5)), weights((5, 5), scale=1.0)[0]
    got = inits.lsuv(f)([dead, live], X)
    np.testing.assert_array_equal(got[0], dead)
    np.testing.assert_array_equal(got[1], live)
    with pytest.raises(ValueError, match=r"no site's z is a product .*tanh"):
        inits.lsuv(lambda p, x: jnp.tanh(p + x))(jnp.zeros((1, 12)), X)
    with pytest.raises(ValueError, match="tolerance > 0"):
        inits.lsuv(f, tolerance=0.0)
