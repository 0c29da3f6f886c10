"""The probe is transparent: over a table of programs, same value and gradients, sites as told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import ZOO, W, X

from jgrad import probes

pytestmark = pytest.mark.loose_promotion


def same(a, b, ulps):
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    eps = float(jnp.finfo(a.dtype).eps)
    largest = np.max(np.abs(b.astype(np.float64)), initial=0.0)
    apart = np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)), initial=0.0)
    assert apart <= ulps * eps * largest, f"{apart / (eps * largest):.1f} ulp of the largest entry"


@pytest.mark.parametrize("name", ZOO)
def test_transparent_and_found(name):
    loss, args, expected = ZOO[name]
    value, grads, flow = jax.jit(probes.value_grad_and_flow(loss))(*args)
    plain_value, plain_grads = jax.jit(jax.value_and_grad(loss))(*args)
    found = [(site.activation, site.shape, site.steps) for site in flow.sites]
    assert found == expected
    same(value, plain_value, 0 if name != "mixed_precision" else 4)
    jax.tree.map(lambda a, b: same(a, b, 4), grads, plain_grads)


def test_without_jit_it_is_the_same():
    loss, args, _ = ZOO["two_in_one_region"]
    value, grads, _ = probes.value_grad_and_flow(loss)(*args)
    plain_value, plain_grads = jax.value_and_grad(loss)(*args)
    # Here a site is compiled by itself, and the plain program one operation after another.
    same(value, plain_value, 4)
    same(grads, plain_grads, 16)


def test_a_branch_counts_only_when_taken():
    loss, (w, x), _ = ZOO["one_branch"]
    probed = jax.jit(probes.gradient_flow(loss))
    for sign in (1.0, -1.0):
        flow = probed(w, sign * jnp.abs(x) @ jnp.linalg.pinv(w) @ jnp.eye(6))
        counts = {flow[key].site.activation: float(flow[key].count) for key in flow}
        assert sorted(counts.values()) == [0.0, 48.0]
        assert counts["relu" if sign > 0 else "tanh"] == 48.0


def test_vmap_outside_gives_a_flow_for_each():
    loss, (w, x), _ = ZOO["dense"]
    many = jnp.stack([w, 2 * w, -w])
    _, _, flows = jax.jit(jax.vmap(probes.value_grad_and_flow(loss), (0, None)))(many, x)
    (key,) = flows
    alone = jax.jit(probes.gradient_flow(loss))
    for k in range(3):
        one = alone(many[k], x)
        np.testing.assert_allclose(flows[key].log_gain[k], one[key].log_gain, rtol=1e-5)


@jax.custom_vjp
def opaque(x):
    return jnp.tanh(x) @ W


opaque.defvjp(lambda x: (opaque(x), x), lambda x, g: (g @ W.T * (1 - jnp.tanh(x) ** 2),))


def test_what_cannot_be_entered_is_never_lost_in_silence():
    def loss(w, x):
        return jnp.sum(jax.nn.relu(opaque(x @ w)))

    with pytest.raises(ValueError, match=r"custom_vjp_call .*holds tanh"):
        probes.value_grad_and_flow(loss)(W, X)
    value, grads, flow = probes.value_grad_and_flow(loss, opaque="allow")(W, X)
    plain = jax.value_and_grad(loss)(W, X)
    same(value, plain[0], 0)
    same(grads, plain[1], 4)
    assert [site.activation for site in flow.sites] == ["relu"]
    roles = {site.activation: site.role for site in probes.sites(loss, all=True)(W, X)}
    assert roles == {"relu": "activation", "tanh": "passed over"}


@jax.custom_vjp
def settled(w, x):
    return jax.lax.while_loop(
        lambda kept: kept[0] < 3, lambda kept: (kept[0] + 1, jnp.tanh(kept[1] @ w)), (0, x)
    )[1]


settled.defvjp(lambda w, x: (settled(w, x), w), lambda w, g: (jnp.zeros_like(w), g @ w.T))


def test_nor_is_what_stands_in_a_loop_within_it():
    def loss(w, x):
        return jnp.sum(jax.nn.relu(settled(w, x @ w)))

    with pytest.raises(ValueError, match=r"custom_vjp_call .*holds tanh"):
        probes.value_grad_and_flow(loss)(W, X)


def test_where_no_gradient_comes_nothing_is_lost():
    def loss(w, x):
        return jnp.sum(jax.nn.relu(x @ w) * opaque(x))

    value, grads, flow = probes.value_grad_and_flow(loss)(W, X)
    same(value, jax.value_and_grad(loss)(W, X)[0], 0)
    same(grads, jax.grad(loss)(W, X), 4)
    assert [site.activation for site in flow.sites] == ["relu"]


def test_roles_of_what_is_no_activation():
    loss, args, _ = ZOO["layer_norm"]
    roles = [site.role for site in probes.sites(loss, all=True)(*args)]
    assert roles.count("activation") == 1
    assert roles.count("normaliser") >= 2
    assert roles.count("loss") == 1
    loss, args, _ = ZOO["beside_a_softmax"]
    roles = [site.role for site in probes.sites(loss, all=True)(*args)]
    assert sorted(roles) == ["activation", "loss", "softmax"]


def test_frozen_parts_are_no_sites():
    def loss(head, body, x):
        return jnp.sum(jnp.tanh(jax.nn.relu(x @ body) @ head))

    flow = probes.gradient_flow(loss)(W, W, X)
    assert [site.activation for site in flow.sites] == ["tanh"]
    flow = probes.gradient_flow(loss, argnums=(0, 1))(W, W, X)
    assert [site.activation for site in flow.sites] == ["relu", "tanh"]


def test_an_unrolled_deep_net_is_walked_in_linear_time():
    def loss(ws, x):
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    found = probes.sites(loss)([W] * 120, X)
    assert len(found) == 120
    assert found[-1].key.endswith("#120")
