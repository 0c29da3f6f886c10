"""Ways of calling a probed function: named arguments, donated buffers, accumulation, jvp."""

import functools
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import probes

pytestmark = pytest.mark.loose_promotion


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


W, X = normal(0, 3, 4), normal(1, 8, 3)


def loss(w, x, *, scale=1.0):
    return scale * jnp.sum(jnp.tanh(x @ w) ** 2)


PROBED = probes.value_grad_and_flow(loss)


def close(got, wanted):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def test_named_arguments_are_handed_on():
    value, grads, flow = PROBED(W, X, scale=jnp.float32(2.0))
    close((value, grads), jax.value_and_grad(loss)(W, X, scale=2.0))
    (key,) = flow
    assert probes.gradient_flow(loss)(W, X, scale=2.0)[key].site == flow[key].site
    assert len(probes.sites(loss)(W, X, scale=2.0)) == 1
    close(probes.rewrite(loss, {"tanh": "identity"})(W, X, scale=2.0), 2 * jnp.sum((X @ W) ** 2))


def test_donated_buffers():
    @functools.partial(jax.jit, donate_argnums=0)
    def step(w, x):
        _, grads, flow = PROBED(w, x)
        return w - 0.1 * grads, flow

    w, _ = step(W + 0, X)
    w, _ = step(w, X)
    plain = W
    for _ in range(2):
        plain -= 0.1 * jax.grad(loss)(plain, X)
    close(w, plain)


def test_accumulated_over_micro_batches():
    def accumulated(w, xs):
        zeros = jax.tree.map(
            lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(PROBED, w, xs[0])
        )
        add = lambda total, x: (jax.tree.map(jnp.add, total, PROBED(w, x)), None)  # noqa: E731
        return jax.lax.scan(add, zeros, xs)[0]

    value, grads, flow = jax.jit(accumulated)(W, X.reshape(4, 2, 3))
    whole_value, whole_grads, whole = PROBED(W, X)
    close((value, grads), (whole_value, whole_grads))
    (key,) = whole
    assert float(flow.passes) == 4
    assert float(flow[key].count) == float(whole[key].count)
    close(flow[key].log_gain, whole[key].log_gain)


def test_forwards_and_backwards_over_the_probe():
    def value(w):
        return PROBED(w, X)[0]

    def gradient(w):
        return PROBED(w, X)[1]

    plain = jax.grad(loss)
    tangent = normal(2, 3, 4)
    close(jax.jacfwd(value)(W), plain(W, X))
    close(jax.jvp(gradient, (W,), (tangent,)), jax.jvp(lambda w: plain(w, X), (W,), (tangent,)))
    close(
        jax.grad(lambda w: jnp.sum(gradient(w) ** 2))(W),
        jax.grad(lambda w: jnp.sum(plain(w, X) ** 2))(W),
    )


def test_a_batch_of_no_examples():
    flow = jax.jit(probes.gradient_flow(loss))(W, jnp.zeros((0, 3)))
    (site,) = flow.values()
    assert float(site.count) == 0
    assert "no gradient comes through" in str(flow)


def test_what_is_no_array_is_handed_on_as_it_is():
    def named(w, x, depth, training, shapes, scale):
        h = x
        for k in range(depth):
            h = (jnp.tanh if training and shapes["kind"] == "wide" else jax.nn.relu)(h @ w[k])
        return scale * jnp.sum(h**2), {"last": h, "name": "net", "count": depth, "none": None}

    w = [W, W.T]
    flags = 2, True, {"kind": "wide", "of": jnp.shape}
    options = {"has_aux": True}
    plain = jax.value_and_grad(named, **options)(w, X, *flags, 0.5)
    for probed in (
        probes.value_grad_and_flow(named, **options),
        jax.tree_util.Partial(probes.value_grad_and_flow(named, **options, every=2), 0),
        jax.tree_util.Partial(probes.value_grad_and_flow(named, **options, every=2), 1),
    ):
        ((value, aux), grads, flow) = probed(w, X, *flags, 0.5)
        close((value, grads), (plain[0][0], plain[1]))
        close(aux.pop("last"), plain[0][1]["last"])
        assert aux == {"name": "net", "count": 2, "none": None}
        assert [site.activation for site in flow.sites] == ["tanh", "tanh"]
    static = jax.jit(
        probes.gradient_flow(lambda *args: named(*args, {"kind": "thin"}, 1.0)[0]),
        static_argnums=(2, 3),
    )
    assert [site.activation for site in static(w, X, 1, True).sites] == ["relu"]
    assert len(probes.sites(named)(w, X, *flags, 0.5)) == 2
    value, aux = probes.rewrite(named, {"tanh": "identity"})(w, X, *flags, 0.5)
    close(value, 0.5 * jnp.sum((X @ W @ W.T) ** 2))
    assert aux["name"] == "net"


def test_what_is_printed_is_put_to_no_use(capfd):
    def printing(w, x):
        jax.debug.print("begins")
        h = jnp.tanh(x @ w)
        jax.debug.print("mean {}", h.mean())
        error = (h - 1) ** 2
        jax.debug.print("error {}", error[0, 0])
        return jnp.mean(error)

    value, grads, flow = jax.jit(probes.value_grad_and_flow(printing))(W, X)
    jax.effects_barrier()
    printed = {line.split()[0] for line in capfd.readouterr().out.splitlines()}
    assert printed == {"begins", "mean", "error"}
    plain = lambda w, x: jnp.mean((jnp.tanh(x @ w) - 1) ** 2)  # noqa: E731
    close((value, grads), jax.value_and_grad(plain)(W, X))
    assert [site.activation for site in flow.sites] == ["tanh"]


def test_complex_parameters():
    def of_complex(w, x):
        return jnp.sum(jnp.tanh((x @ w).real) ** 2)

    w = W + 0.5j * normal(3, 3, 4)
    value, grads, flow = jax.jit(probes.value_grad_and_flow(of_complex))(w, X)
    close((value, grads), jax.value_and_grad(of_complex)(w, X))
    assert [site.activation for site in flow.sites] == ["tanh"]


def test_nothing_comes_through_integers_and_keys():
    def dropped(w, x, key):
        h = jax.nn.relu(x @ w)
        return jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, h.shape), h, 0.0))

    # uniform numbers have a relu in them; it stays as it is
    key = jax.random.key(5)
    assert len(probes.sites(dropped)(W, X, key)) == 1
    kept = jax.random.bernoulli(key, 0.5, (8, 4))
    rewritten = probes.rewrite(dropped, {"relu": "tanh"})
    close(rewritten(W, X, key), jnp.sum(jnp.where(kept, jnp.tanh(X @ W), 0.0)))
    with pytest.raises(TypeError, match=r"argument 0 holds int32\[3, 4\]"):
        probes.value_grad_and_flow(loss)(jnp.ones((3, 4), jnp.int32), X)


@pytest.mark.parametrize("devices", [1, 8])
def test_no_trace_outlives_its_function(monkeypatch, devices):
    monkeypatch.setattr(jax, "device_count", lambda: devices)

    def probed_once():
        jax.block_until_ready(probes.value_grad_and_flow(lambda w, x: loss(w, x))(W, X))

    def alive():
        gc.collect()
        return sum(type(x).__name__ in {"Jaxpr", "PjitInfo"} for x in gc.get_objects())

    probed_once()
    before = alive()
    for _ in range(3):
        probed_once()
    assert alive() <= before
