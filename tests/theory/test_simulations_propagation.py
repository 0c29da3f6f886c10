"""What the reference file says of finite random networks, measured by the probe."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from theory_reference import GROUPS, activation, cases, check

from jgrad import activations, inits, probes, theory

pytestmark = pytest.mark.slow


def parameters(group):
    """The settings of a group's simulations, each once, whatever was measured in it."""
    seen = {}
    for case in GROUPS[group]["cases"]:
        p = {k: v for k, v in case["params"].items() if k != "stat"}
        if "measured" in case:
            seen.setdefault(repr(p), p)
    return list(seen.values())


def named(p):
    return "-".join(str(v) for v in p.values())


def chain(phi, depth, width, key, *, init="lecun_normal", scale=1.0, sigma_b=0.0, keep=1.0):
    """The function z0 [batch, width] -> (loss, last z) of `depth` layers z = W φ(z') + b.

    Weights are drawn where they are used, and again on the way back: a network of 60 layers of a
    million weights is never in memory. The loss is a random linear function of the last z.
    """
    phi = activations.get(phi) if isinstance(phi, str) else phi
    draw = inits.get(init)

    @jax.checkpoint
    def layer(z, key):
        of_w, of_b, of_mask = jax.random.split(key, 3)
        a = phi(z)
        if keep < 1:
            a = jnp.where(jax.random.bernoulli(of_mask, keep, a.shape), a / keep, 0.0)
        w = scale * draw(of_w, (width, width), jnp.float32)
        b = sigma_b * jax.random.normal(of_b, (1, width))
        return a @ w + b, None

    def loss(z, towards):
        z, _ = jax.lax.scan(layer, z, jax.random.split(key, depth))
        return jnp.sum(z * towards), z

    return loss


def tapped_identity(z):
    return probes.tap(z, "identity")


def gains(flow):
    """The ln ‖δz‖²/‖δz above‖² between neighbouring sites, [nets, depth - 1], input side first."""
    dz = np.asarray(flow.profile("log_dz"), np.float64)
    return 2 * (dz[:, :-1] - dz[:, 1:])


def simulated(loss_of, start, nets, *, at_a_time=None):
    """The last z and the flow of every network, one key each."""

    def one(key):
        of_net, of_start, of_end = jax.random.split(key, 3)
        z = start(of_start)
        towards = jax.random.normal(of_end, z.shape)
        probed = probes.value_grad_and_flow(loss_of(of_net), has_aux=True)
        (_, last), g, flow = probed(z, towards)
        ratio = jnp.log(jnp.sum(g**2)) - jnp.log(jnp.sum(towards**2))
        return last, ratio, flow

    keys = jax.random.split(jax.random.key(7), nets)
    return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=at_a_time))(keys)


@pytest.mark.parametrize("p", parameters("meanfield_mc"), ids=named)
def test_fixed_points(p):
    act, sigma_w, sigma_b = (part.split("=")[-1] for part in p["net"].split("|"))
    network = functools.partial(
        chain, act, p["L"], p["N"], scale=float(sigma_w), sigma_b=float(sigma_b)
    )
    last, _, flow = simulated(network, lambda key: jax.random.normal(key, (2, p["N"])), p["seeds"])
    last = np.asarray(last, np.float64)
    dot, squares = (last[:, 0] * last[:, 1]).mean(-1), (last**2).mean(-1)
    settled = gains(flow)[:, p["L"] // 4 :]
    got = {
        "q": squares.mean(),
        "c_L": (dot / np.sqrt(squares.prod(-1))).mean(),
        "chi": math.exp(settled.mean()),
    }
    for case in cases("meanfield_mc", net=p["net"]):
        check(case, got[case["params"]["stat"]])


@pytest.mark.parametrize("p", parameters("torch_gain_and_defaults"), ids=named)
def test_factors_of_common_initialisers(p):
    init, phi = {
        "torch_default_relu": ("torch_default", "relu"),
        "glorot2010_standard_linear": ("torch_default", tapped_identity),
        "flax_lecun_relu": ("lecun_normal", "relu"),
        "keras_glorot_uniform_relu": ("xavier_uniform", "relu"),
        "he_relu": ("he_normal", "relu"),
    }[p["init"]]
    network = functools.partial(chain, phi, p["L"], p["N"], init=init)
    _, _, flow = simulated(network, lambda key: jax.random.normal(key, (4, p["N"])), p["seeds"])
    (case,) = cases("torch_gain_and_defaults", init=p["init"])
    check(case, math.exp(gains(flow).mean()))


@pytest.mark.parametrize("p", parameters("lognorm_variance"), ids=named)
def test_log_norms(p):
    phi, scale = ("relu", math.sqrt(2)) if p["act"] == "relu" else (tapped_identity, 1.0)
    network = functools.partial(chain, phi, p["L"], p["n"], scale=scale)
    # By layer: φ' of a generic z, then Wᵀ; the same law as D W upwards.
    _, log_ratio, _ = simulated(
        network,
        lambda key: jax.random.normal(key, (1, p["n"])),
        p["nets"],
        at_a_time=250,
    )
    log_ratio = np.asarray(log_ratio, np.float64)
    got = {"Var log|Ju|^2": log_ratio.var(ddof=1), "E log|Ju|^2": log_ratio.mean()}
    for case in cases("lognorm_variance", **p):
        check(case, got[case["params"]["stat"]])


@pytest.mark.parametrize("p", parameters("dropout_relu_critical"), ids=named)
def test_dropout(p):
    network = functools.partial(
        chain, "relu", p["L"], p["N"], scale=math.sqrt(2 * p["p"]), keep=p["p"]
    )
    last, _, flow = simulated(network, lambda key: jax.random.normal(key, (8, p["N"])), p["seeds"])
    (case,) = cases("dropout_relu_critical", p=p["p"])
    first = np.asarray(flow.profile("z_second"))[:, 0]
    check(case, float((np.asarray(last) ** 2).mean((1, 2)).mean() / first.mean()))


@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_dead_networks(width):
    nets, depth = 100_000, 50
    network = functools.partial(chain, "relu", depth, width, scale=math.sqrt(2))

    def one(key):
        of_net, of_start = jax.random.split(key)
        z = jax.random.normal(of_start, (1, width))
        flow = probes.gradient_flow(network(of_net), has_aux=True)(z, jnp.ones_like(z))
        return flow.profile("zero_slope_share") == 1

    keys = jax.random.split(jax.random.key(3), nets)
    dead = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=20_000))(keys))
    for case in cases("dying_relu_point", N=width):
        check(case, float(dead[:, case["params"]["H"] - 1].mean()))


@pytest.mark.parametrize("p", parameters("resnet_growth"), ids=named)
def test_residual_growth(p):
    draw, scale = inits.get("lecun_normal"), math.sqrt(p["a2"])

    def network(key):
        def block(x, key):
            w, v = (draw(k, (p["N"], p["N"]), jnp.float32) for k in jax.random.split(key))
            return x + scale * (jax.nn.relu(x @ (math.sqrt(2) * w)) @ v), None

        def loss(x, towards):
            x, _ = jax.lax.scan(block, probes.tap(x, "in"), jax.random.split(key, p["L"]))
            return jnp.sum(probes.tap(x, "out") * towards), x

        return loss

    _, _, flow = simulated(network, lambda key: jax.random.normal(key, (8, p["N"])), p["nets"])
    grown = 2 * (np.asarray(flow["in"].log_dz) - np.asarray(flow["out"].log_dz))
    (case,) = cases("resnet_growth", L=p["L"], a2=p["a2"])
    check(case, float(np.exp(grown).mean()))


@pytest.mark.parametrize("p", parameters("bn_gradient_rate"), ids=named)
def test_batch_norm_rates(p):
    phi = activations.get({"linear": "identity"}.get(p["act"], p["act"]))
    draw = inits.get("lecun_normal")

    def network(key):
        def layer(h, key):
            z = h @ draw(key, (p["N"], p["N"]), jnp.float32)
            z = (z - z.mean(0, keepdims=True)) / z.std(0, keepdims=True)
            return phi(probes.tap(z, "z")), None

        def loss(h, towards):
            h, _ = jax.lax.scan(layer, h, jax.random.split(key, p["L"]))
            return jnp.sum(h * towards), h

        return loss

    _, _, flow = simulated(
        network, lambda key: jax.random.normal(key, (p["B"], p["N"])), p["seeds"]
    )
    dz = 2 * np.asarray(flow["z"].log_dz, np.float64)
    rate = math.exp(((dz[:, 5] - dz[:, 19]) / 14).mean())
    (case,) = cases("bn_gradient_rate", **p)
    check(case, rate)
    assert rate == pytest.approx(theory.batch_norm_rate(activation(p["act"]), p["B"]), rel=0.015)


@pytest.mark.parametrize("p", parameters("shattered_bn_plain"), ids=named)
def test_shattered_gradients(p):
    """Correlations between examples are no measure of the probe's: by autodiff alone."""
    batch, nets = p.get("B", 16), p.get("seeds", p.get("nets"))
    normed, skip = "BN" in p["net"], "resnet" in p["net"]
    draw = inits.get("lecun_normal")

    def one(key):
        of_net, of_x, of_end = jax.random.split(key, 3)

        def layer(h, key):
            of_w, of_v, of_gate = jax.random.split(key, 3)
            z = h @ draw(of_w, (p["N"], p["N"]), jnp.float32)
            if normed:
                of_batch = z.mean(0, keepdims=True), z.std(0, keepdims=True)
                mean, deviation = jax.lax.stop_gradient(of_batch)
                return math.sqrt(2) * jax.nn.relu((z - mean) / deviation), None
            out = jnp.where(jax.random.bernoulli(of_gate, 0.5, z.shape), math.sqrt(2) * z, 0.0)
            v = draw(of_v, (p["N"], p["N"]), jnp.float32)
            return (h + out @ v if skip else out), None

        end = jax.random.normal(of_end, (p["N"],))

        def f(x):
            h, _ = jax.lax.scan(layer, x, jax.random.split(of_net, p["L"]))
            return h.sum(0) @ end

        g = jax.grad(f)(jax.random.normal(of_x, (batch, p["N"])))
        squares = jnp.sum(g**2)
        return jnp.sum(g.sum(0) ** 2) - squares, (batch - 1) * squares

    keys = jax.random.split(jax.random.key(1), nets)
    products, squares = jax.jit(lambda keys: jax.lax.map(one, keys))(keys)
    (case,) = cases("shattered_bn_plain", **p)
    check(case, float(products.sum() / squares.sum()))
