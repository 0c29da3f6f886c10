"""What each elementwise part of a function is for: a table of losses, norms and activations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import probes

pytestmark = pytest.mark.loose_promotion

X = jax.random.normal(jax.random.key(0), (5, 6))
S = jnp.sign(X)
W = jax.random.normal(jax.random.key(1), (6, 6))


def new(h):
    """An activation that no catalogue knows."""
    return h * jnp.exp(-(h**2)) + 0.1 * h


def rms_normed(h):
    return h * jax.lax.rsqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-5)


#: name → (loss of W and X, its activations, the roles of all else, sorted)
TABLE = {
    "new, summed": (lambda w, x: jnp.mean(new(x @ w)), ["custom"], []),
    "new, squared": (lambda w, x: jnp.mean(new(x @ w) ** 2), ["custom"], ["loss"]),
    "new, sliced": (lambda w, x: jnp.sum(new(x @ w)[:, 1:] @ w[1:]), ["custom"], []),
    "new, pooled before a head": (
        lambda w, x: jnp.mean((new(x @ w).mean(0) @ w) ** 2),
        ["custom"],
        ["loss"],
    ),
    "new, squeezed and excited": (
        lambda w, x: (lambda h: jnp.sum(h * jax.nn.sigmoid(h.mean(0) @ w) * x))(new(x @ w)),
        ["custom", "sigmoid"],
        [],
    ),
    "normalised after": (
        lambda w, x: jnp.sum(rms_normed(jax.nn.silu(x @ w)) * x),
        ["silu"],
        ["normaliser", "normaliser"],
    ),
    "two that share a link": (
        lambda w, x: (lambda h: jnp.sum(jax.nn.relu(h) * x + jax.nn.sigmoid(-h) * (1 - x)))(
            jnp.tanh(x @ w)
        ),
        ["tanh", "relu", "sigmoid"],
        [],
    ),
    "logarithms of a softmax, squared": (
        lambda w, x: jnp.mean(jax.nn.log_softmax(jnp.tanh(x @ w).mean(0) @ w) ** 2),
        ["tanh"],
        ["loss", "normaliser", "softmax"],
    ),
    "squared error": (
        lambda w, x: jnp.mean((jnp.tanh(x @ w) - x) ** 2),
        ["tanh"],
        ["loss"],
    ),
    "absolute error": (
        lambda w, x: jnp.mean(jnp.abs(jnp.tanh(x @ w) - x)),
        ["tanh"],
        ["loss"],
    ),
    "cubes": (lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 3), ["tanh"], ["loss"]),
    "Huber": (
        lambda w, x: jnp.mean(optax.huber_loss(jnp.tanh(x @ w), x)),
        ["tanh"],
        ["loss", "loss"],
    ),
    "log cosh": (lambda w, x: jnp.mean(optax.log_cosh(jnp.tanh(x @ w), x)), ["tanh"], ["loss"]),
    "binary cross-entropy": (
        lambda w, x: jnp.mean(optax.sigmoid_binary_cross_entropy(jnp.tanh(x @ w), 1.0 * (x > 0))),
        ["tanh"],
        ["loss", "loss"],
    ),
    "binary cross-entropy, by hand": (
        lambda w, x: (
            lambda z: jnp.mean(jnp.maximum(z, 0) - z * x + jnp.log1p(jnp.exp(-jnp.abs(z))))
        )(jnp.tanh(x @ w) @ w),
        ["tanh"],
        ["loss", "loss", "loss"],
    ),
    "a ReLU beside a penalty on what it is of": (
        lambda w, x: (
            lambda z: jnp.mean(jax.nn.relu(z) * x + jnp.log1p(0.5 * jnp.exp(-jnp.abs(z))))
        )(jnp.tanh(x @ w) @ w),
        ["tanh", "relu"],
        ["loss", "loss", "loss"],
    ),
    "errors past a width": (
        lambda w, x: jnp.mean(jax.nn.relu(jnp.abs(jnp.tanh(x @ w) @ w - x) - 0.1)),
        ["tanh"],
        ["loss", "loss"],
    ),
    "sparsemax": (
        lambda w, x: jnp.mean(optax.losses.sparsemax_loss(jnp.tanh(x @ w) @ w, x > 0)),
        ["tanh"],
        ["loss"],
    ),
    "negative log-likelihood": (
        lambda w, x: (
            -jnp.mean(jnp.log(jax.nn.softmax(jnp.tanh(x @ w))[jnp.arange(5), jnp.arange(5)]))
        ),
        ["tanh"],
        ["loss", "softmax"],
    ),
    "hinge": (
        lambda w, x: jnp.mean(optax.hinge_loss(jnp.tanh(x @ w) @ w, S)),
        ["tanh"],
        ["loss"],
    ),
    "hinge, squared": (
        lambda w, x: jnp.mean(jax.nn.relu(1 - S * (jnp.tanh(x @ w) @ w)) ** 2),
        ["tanh"],
        ["loss", "loss"],
    ),
    "hinges of an adversary": (
        lambda w, x: (lambda d: jnp.mean(jax.nn.relu(1 + d)) + jnp.mean(jax.nn.relu(1 - d)))(
            jnp.tanh(x @ w) @ w[0]
        ),
        ["tanh"],
        ["loss", "loss"],
    ),
    "hinge on distances": (
        lambda w, x: (lambda h: jnp.mean(jnp.maximum(0, h[0] - h[1] + 0.2)))(
            jnp.sum((jnp.tanh(x @ w) - jnp.stack([x, -x])) ** 2, axis=-1)
        ),
        ["tanh"],
        ["loss", "loss"],
    ),
    "a ReLU last, with a number for a bias": (
        lambda w, x: jnp.mean(jax.nn.relu(jnp.tanh(x @ w) @ w + 0.5)),
        ["tanh", "relu"],
        [],
    ),
    "a ReLU of a margin before weights": (
        lambda w, x: jnp.mean((jax.nn.relu(1 - x @ w) @ w) ** 2),
        ["relu"],
        ["loss"],
    ),
    "ratio of probabilities, clipped": (
        lambda w, x: (lambda r: -jnp.mean(jnp.minimum(r * x[0, 0], jnp.clip(r, 0.8, 1.2))))(
            jnp.exp(jax.nn.log_softmax(jnp.tanh(x @ w))[:, 1] + 1.5)
        ),
        ["tanh"],
        ["loss", "loss", "normaliser", "softmax"],
    ),
    "probability, clipped": (
        lambda w, x: -jnp.mean(jnp.log(jnp.clip(jax.nn.sigmoid(x @ w), 1e-6, 1 - 1e-6))),
        ["sigmoid"],
        ["loss", "loss"],
    ),
    "clipped to pixels": (
        lambda w, x: jnp.mean((jnp.clip(x @ w, 0, 1) - x) ** 2),
        ["hard_tanh(min_val=0)"],
        ["loss"],
    ),
    "softmax, step by step": (
        lambda w, x: (
            lambda h: (lambda m: jnp.sum(x * jnp.exp(h - m) + jnp.exp(x - m)))(jnp.maximum(h, x))
        )(jnp.tanh(x @ w) @ w),
        ["tanh"],
        ["softmax", "softmax"],
    ),
    "log-sum-exp of two": (
        lambda w, x: jnp.mean(jnp.logaddexp(jnp.tanh(x @ w) @ w, x) @ w),
        ["tanh"],
        ["passed over", "passed over"],
    ),
    "log-sum-exp": (
        lambda w, x: jnp.mean(jax.nn.logsumexp(jnp.tanh(x @ w), -1)),
        ["tanh"],
        ["loss", "loss", "softmax"],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_roles(name):
    loss, activations, others = TABLE[name]
    listed, within_a_trace = probes.sites(lambda w: loss(w, X), all=True), []
    jax.eval_shape(lambda w: within_a_trace.extend(listed(w)), W)
    found = listed(W)
    assert [site.activation for site in found if site.role == "activation"] == activations
    assert sorted(site.role for site in found if site.role != "activation") == others
    assert list(found) == within_a_trace


def test_a_log_sum_exp_of_two_is_run_as_it_is():
    def loss(w, x):
        return jnp.mean(jnp.logaddexp(jnp.tanh(x @ w), x) @ w)

    value, grads, flow = probes.value_grad_and_flow(loss)(W, X)
    np.testing.assert_allclose(value, loss(W, X), rtol=1e-6)
    np.testing.assert_allclose(grads, jax.grad(loss)(W, X), rtol=1e-5, atol=1e-6)
    assert [site.activation for site in flow.sites] == ["tanh"]


def test_the_caller_knows_better():
    def loss(w, x):
        return jnp.mean((x @ w) ** 4)

    def as_activation(site):
        return dataclasses.replace(site, role="activation", unit_axis=0)

    with pytest.raises(ValueError, match=r"no activation was found.*custom.*loss"):
        probes.gradient_flow(loss)(W, X)
    (site,) = probes.gradient_flow(loss, amend=as_activation)(W, X).values()
    np.testing.assert_allclose(site.slope_mean, (4 * (X @ W) ** 3).mean(), rtol=1e-4)
    assert site.dead.shape == (5,)
    rewritten = probes.rewrite(loss, {"custom": jnp.tanh}, amend=as_activation)
    np.testing.assert_allclose(rewritten(W, X), jnp.tanh(X @ W).mean(), rtol=1e-5)


def test_wrong_amendments_are_refused():
    def far_axis(site):
        return dataclasses.replace(site, unit_axis=2)

    def wrong_role(site):
        object.__setattr__(site, "role", "activated")
        return site

    with pytest.raises(ValueError, match="role='activated', wanted 'activation' or"):
        probes.sites(jnp.tanh, amend=wrong_role)(X)
    with pytest.raises(ValueError, match=r"unit_axis=2 for the site 'tanh' of shape \[5, 6\]"):
        probes.sites(jnp.tanh, amend=far_axis)(X)
    with pytest.raises(TypeError, match=r"amend must return the Site.*got None"):
        probes.sites(jnp.tanh, amend=lambda site: None)(X)


def test_branches_turned_into_a_select_are_marked():
    def branch(row, w):
        def on(row):
            row, _ = jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), row, None, length=2)
            return row

        return jax.lax.cond(row.sum() > 0, lambda row: jax.nn.relu(row @ w), on, row)

    def loss(w, x):
        taken = jax.vmap(branch, (0, None))(jnp.sin(x @ w), w)
        return jnp.sum(jax.nn.sigmoid(taken))

    flow = jax.jit(probes.gradient_flow(loss))(W, X)
    marks = {site.activation: site.select for site in flow.sites}
    assert marks == {"sin": False, "tanh": True, "relu": True, "sigmoid": False}
    assert "relu (select)" in str(flow)
    # Both branches see all examples, and the gradient of those that were not taken is 0.
    (relu,) = (flow[key] for key in flow if flow[key].site.activation == "relu")
    taken = int((jnp.sin(X @ W).sum(-1) > 0).sum())
    assert float(relu.count) == 30
    assert float(relu.zero_gradient_share) >= 1 - taken / 5


def test_a_select_of_ones_own_is_no_branch():
    def loss(w, x):
        h = x @ w
        kept = jnp.where(x[:, :1] > 0, jax.lax.stop_gradient(h), h)
        return jnp.sum(jnp.tanh(kept) * jnp.where(x > 0, jax.nn.relu(h), 0.0))

    assert not any(site.select for site in probes.sites(loss)(W, X))


def test_a_learnt_parameter_is_told_from_a_number():
    def loss(params, x):
        w, slope = params
        h = jax.nn.elu(x @ w) @ w
        return jnp.sum(jnp.where(h > 0, h, slope * h) @ w)

    found = probes.sites(loss)((W, jnp.float32(0.3)), X)
    assert [(s.activation, s.traced) for s in found] == [("elu", False), ("leaky_relu", True)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_numbers_are_named_as_they_were_written(dtype):
    def loss(w, x):
        h = jax.nn.leaky_relu(x @ w, 0.2) @ w
        h = jax.nn.elu(h, 0.7) @ w
        return jnp.sum(jnp.clip(h, -0.3, 1.25) @ w, dtype=jnp.float32)

    found = probes.sites(loss)(W.astype(dtype), X.astype(dtype))
    assert [site.activation for site in found] == [
        "leaky_relu(negative_slope=0.2)",
        "elu(alpha=0.7)",
        "hard_tanh(min_val=-0.3, max_val=1.25)",
    ]
