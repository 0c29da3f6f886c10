"""Forecasts against their own definitions, exact maps, and finite random networks."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import activations, theory


@pytest.mark.parametrize("phi", ["elu", jax.nn.hard_tanh])
def test_correlations_against_the_exact_map(phi):
    f = theory.forecast(theory.Plain(phi=phi, depth=12, sigma_w=1.3, sigma_b=0.2, q0=2.0, c0=0.1))
    c, q = 0.1, 2.0
    for layer in range(12):
        assert f.q[layer] == pytest.approx(q, rel=1e-10)
        assert f.apart[layer] == pytest.approx(1 - c, rel=1e-4)
        c = theory.correlation_map(phi, 1.3, 0.2, q=q)(c)
        q = theory.variance_map(phi, 1.3, 0.2)(q)


def test_gains_add_up():
    f = theory.forecast(theory.Plain(phi="silu", depth=9, sigma_w=1.4, sigma_b=0.3))
    assert math.isnan(f.linear_log_gain[0])
    assert f.linear_log_gain[1:] == pytest.approx(math.log(1.4), rel=1e-12)
    assert f.total_log_gain == pytest.approx(f.gradient_log_norm[0] + f.log_gain[-1], rel=1e-12)


def test_beyond_float64_the_logarithms_go_on():
    f = theory.forecast(theory.Plain(phi="relu", depth=1000, sigma_w=0.5, q0=1.0))
    assert f.q[-1] == 0
    assert f.log_q[-1] == pytest.approx(999 * math.log(0.125), rel=1e-12)
    assert f.total_log_gain == pytest.approx(1000 * 0.5 * math.log(0.5) + 999 * math.log(0.5))


def test_layer_norm_does_not_subtract_the_mean_but_batch_norm_does():
    m = theory.moments("relu")
    layer = theory.forecast(theory.LayerNorm(phi="relu", depth=2, sigma_w=0.3))
    batch = theory.forecast(theory.BatchNorm(phi="relu", depth=2))
    assert 2 * layer.layer_log_gain[0] == pytest.approx(
        math.log(m.correlation_slope_at_one), abs=1e-12
    )
    assert 2 * batch.layer_log_gain[0] == pytest.approx(math.log(m.batch_norm_rate), rel=1e-12)


def test_batch_norm_at_small_batch_against_sampling():
    rng = np.random.default_rng(0)
    B = 6
    h = rng.normal(size=(200_000, B))
    h -= h.mean(1, keepdims=True)
    y = h * math.sqrt(B) / np.linalg.norm(h, axis=1, keepdims=True)
    d, f, G = 1 - np.tanh(y) ** 2, np.tanh(y), np.eye(B) - 1 / B
    apart = (f**2).mean() - ((f.sum(1) ** 2 - (f**2).sum(1)) / (B * (B - 1))).mean()
    P = G - y[:, :, None] * y[:, None, :] / B
    trace = np.einsum("nij,nj,ji,ni->n", P, d, G, d).mean()
    expected = B / ((B - 3) * apart) * trace / (B - 1)
    assert theory.batch_norm_rate("tanh", B) == pytest.approx(expected, rel=5e-3)


def test_finite_width_and_residual_blocks_against_a_random_network():
    rng = np.random.default_rng(1)
    n, depth, nets = 300, 6, 30
    network = theory.Residual(phi="tanh", depth=depth, sigma_w=1.5, scale=0.7, q0=1.0)
    f = theory.forecast(network)
    found = []
    for _ in range(nets):
        x, slopes, weights = rng.normal(size=n), [], []
        for _ in range(depth):
            w = 1.5 * rng.normal(size=(n, n)) / math.sqrt(n)
            slopes.append(1 - np.tanh(x) ** 2)
            weights.append(w)
            x = x + 0.7 * w @ np.tanh(x)
        g = rng.normal(size=n)
        top = np.linalg.norm(g)
        for w, d in zip(weights[::-1], slopes[::-1], strict=True):
            g = g + 0.7 * d * (w.T @ g)
        found.append(math.log(np.linalg.norm(g) / top))
    error = np.std(found) / math.sqrt(nets)
    assert abs(np.mean(found) - f.layer_log_gain.sum()) < 4 * error + 0.02
    assert np.mean(x**2) == pytest.approx(f.q[-1] + 0.49 * 2.25 * 0.5, rel=0.4)


def test_spectra_and_spreads_around_a_skip_against_random_networks():
    rng = np.random.default_rng(2)
    n, depth, nets, scale = 100, 6, 60, 0.7
    network = theory.Residual(
        phi="relu", depth=depth, sigma_w=1.2, sigma_v=1.1, scale=scale, branch="two", width=float(n)
    )
    f = theory.forecast(network)
    variances, edges, logs = [], [], []
    for _ in range(nets):
        x, jacobian = rng.normal(size=n), np.eye(n)
        for _ in range(depth):
            w, v = rng.normal(size=(2, n, n)) / math.sqrt(n)
            z = 1.2 * w @ x
            jacobian = jacobian + scale * 1.1 * 1.2 * (v * (z > 0)) @ (w @ jacobian)
            x = x + scale * 1.1 * v @ np.maximum(z, 0)
        squared = np.linalg.svd(jacobian, compute_uv=False) ** 2
        variances.append(squared.var() / squared.mean() ** 2)
        edges.append(squared.max() / squared.mean())
        g = rng.normal(size=(8, n))
        logs.extend(np.log(np.linalg.norm(g @ jacobian, axis=1) / np.linalg.norm(g, axis=1)))
    # Finite widths lie above in the variance and below at the edge, by about depth/n.
    assert np.mean(variances) == pytest.approx(f.jacobian_variance, rel=0.06)
    edge = math.exp(2 * f.log_largest_singular_value - f.jacobian_log_mean)
    assert 0.8 * edge < np.mean(edges) < 1.02 * edge
    # A standard deviation of 480 samples is known to 3 %; the first layer's is not in the spread.
    assert np.std(logs) == pytest.approx(math.sqrt(f.log_variance.sum()), rel=0.09)
    assert f.gradient_log_spread[0] == pytest.approx(math.sqrt(f.log_variance[1:].sum()))


@pytest.mark.parametrize(("phi", "scale", "apart"), [("relu", 0.3, 0.19), ("tanh", 1.0, 0.21)])
def test_blocks_that_see_one_stream_against_random_networks(phi, scale, apart):
    """Spectra and spreads of x + s W φ(x): wider than of independent blocks, by `apart`."""
    rng = np.random.default_rng(5)
    n, depth, nets, σ = 128, 10, 40, 1.5
    f = theory.forecast(
        theory.Residual(phi=phi, depth=depth, sigma_w=σ, scale=scale, width=float(n))
    )
    act, slope = {
        "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
        "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    }[phi]
    variances, logs = [], []
    for _ in range(nets):
        x, jacobian = rng.normal(size=n), np.eye(n)
        for _ in range(depth):
            w = scale * σ * rng.normal(size=(n, n)) / math.sqrt(n)
            jacobian = jacobian + (w * slope(x)) @ jacobian
            x = x + w @ act(x)
        squares = jacobian @ jacobian.T
        variances.append(n * (squares**2).sum() / np.trace(squares) ** 2 - 1)
        g = rng.normal(size=(20, n))
        logs.extend(np.log(np.linalg.norm(g @ jacobian, axis=1) / np.linalg.norm(g, axis=1)))
    error = np.std(variances) / math.sqrt(nets)
    # Finite width adds 2 to 4 %.
    assert abs(np.mean(variances) - f.jacobian_variance) < 3 * error + 0.04 * f.jacobian_variance
    assert np.std(logs) == pytest.approx(math.sqrt(f.log_variance.sum()), rel=0.09)
    # Independent blocks, of the same gains, are off by many errors.
    m = np.expm1(2 * f.layer_log_gain)
    spread = theory.average(phi, f.q, lambda at: at.slope**2, lambda at: at.slope**4)
    alone = ((2 * m + m**2 * spread[1] / spread[0] ** 2) / (1 + m) ** 2).sum()
    assert f.jacobian_variance / alone - 1 == pytest.approx(apart, abs=0.03)


@pytest.mark.parametrize(("sigma_w", "weights"), [(1.5, "gaussian"), (2.5, "orthogonal")])
def test_spreads_of_a_chain_whose_variance_wanders(sigma_w, weights):
    """Ln of the gradient's norm over random tanh networks: φ' follows the z's own variance."""
    rng = np.random.default_rng(6)
    n, depth, nets = 64, 10, 800
    f = theory.forecast(
        theory.Plain(
            phi="tanh", depth=depth, sigma_w=sigma_w, sigma_b=0.2, weights=weights, width=float(n)
        )
    )

    def drawn():
        w = rng.normal(size=(n, n)) / math.sqrt(n)
        return sigma_w * (np.linalg.qr(w)[0] if weights == "orthogonal" else w)

    logs = []
    x = rng.normal(size=n)
    x *= math.sqrt(n) / np.linalg.norm(x)
    for _ in range(nets):
        w = [drawn() for _ in range(depth)]
        z = [w[0] @ x + 0.2 * rng.normal(size=n)]
        for layer in w[1:]:
            z.append(layer @ np.tanh(z[-1]) + 0.2 * rng.normal(size=n))
        g = rng.normal(size=n)
        g *= math.sqrt(n) / np.linalg.norm(g)
        for layer, at in zip(w[:0:-1], z[-2::-1], strict=True):
            g = (1 - np.tanh(at) ** 2) * (layer.T @ g)
        logs.append(math.log(np.linalg.norm(g) / math.sqrt(n)))
    # A standard deviation of 800 samples is known to 2.5 %, and the forecast to order 1/n.
    assert np.std(logs) == pytest.approx(f.gradient_log_spread[0], rel=0.08)
    if weights == "gaussian":  # with layers that err by themselves it would be this
        steep, fourth = theory.average("tanh", f.q, lambda at: at.slope**2, lambda at: at.slope**4)
        without = (3 * fourth / steep**2 - 1)[:-1].sum() / (4 * n)
        assert np.std(logs) > 1.1 * math.sqrt(without)


def test_a_skip_of_scale_zero_is_the_identity():
    f = theory.forecast(theory.Residual(phi="silu", depth=7, scale=0.0, width=50.0))
    assert (f.layer_log_gain == 0).all()
    assert (f.jacobian_variance, f.log_largest_singular_value) == (0.0, 0.0)
    assert f.trainable_depth == math.inf


def test_trainable_depth():
    plain = {"phi": "tanh", "depth": 5, "sigma_b": 0.3}
    for sigma_w in (0.9, 2.5):  # order and chaos, six times the reference file's depth scales
        point = theory.fixed_point("tanh", sigma_w, 0.3)
        f = theory.forecast(theory.Plain(**plain, sigma_w=sigma_w))
        assert f.trainable_depth == pytest.approx(6 * point.xi_c, rel=1e-9)
    ((critical, q),) = theory.critical("tanh", 0.3)
    f = theory.forecast(theory.Plain(**plain, sigma_w=critical, q0=q))
    assert f.trainable_depth > 1e6
    # By gradients: relu at σ_w² = 2 χ, batch norm, and a rate that is reached after a while.
    for chi in (0.7, 1.6):
        f = theory.forecast(theory.Plain(phi="relu", depth=4, sigma_w=math.sqrt(2 * chi)))
        assert f.trainable_depth == pytest.approx(6 / abs(math.log(chi)))
    f = theory.forecast(theory.BatchNorm(phi="relu", depth=50))
    assert f.trainable_depth == pytest.approx(6 / math.log(math.pi / (math.pi - 1)))
    f = theory.forecast(theory.Plain(phi="relu", depth=4, sigma_w=math.sqrt(2.0)))
    assert f.trainable_depth == math.inf


def test_dropout_forgets_inputs_at_criticality():
    # Where layers lead, and how fast, by going there.
    given = {"sigma_w": 1.3, "sigma_b": 0.3, "keep": 0.9}
    f = theory.forecast(theory.Plain(phi="tanh", depth=60, **given, c0=0.3))
    point = theory.fixed_point("tanh", 1.3, 0.3, keep=0.9)
    assert point.q == pytest.approx(f.q[-1], rel=1e-9)
    assert point.c == pytest.approx(f.c[-1], rel=1e-5)
    left = f.c - point.c
    assert point.chi_c == pytest.approx(left[20] / left[19], rel=1e-3)
    assert point.chi1 == pytest.approx(math.exp(2 * f.layer_log_gain[-1]), rel=1e-9)
    assert f.trainable_depth == pytest.approx(6 * point.xi_c, rel=1e-9)
    with pytest.raises(ValueError, match="keep"):
        theory.fixed_point("tanh", 1.3, keep=1.1)


def test_recurrent_exponent_is_half_the_log_of_chi():
    f = theory.forecast(theory.Recurrent(phi="tanh", steps=200, sigma_w=1.6, sigma_u=0.3))
    point = theory.fixed_point("tanh", 1.6, 0.3)
    assert f.lyapunov_exponent == pytest.approx(0.5 * math.log(point.chi1), rel=1e-9)


def test_orthogonal_weights_spread_less():
    given = {"phi": "tanh", "depth": 20, "sigma_w": 1.05, "sigma_b": 0.0045, "width": 400.0}
    loose = theory.forecast(theory.Plain(**given))
    tight = theory.forecast(theory.Plain(**given, weights="orthogonal"))
    assert loose.jacobian_variance - tight.jacobian_variance == pytest.approx(20)
    assert tight.log_largest_singular_value < loose.log_largest_singular_value
    assert tight.gradient_log_spread[0] < loose.gradient_log_spread[0]


WRONG = [
    (theory.Plain, {"depth": 0}, "depth: wanted a whole number ≥ 1, got 0"),
    (theory.Plain, {"sigma_w": 0.0}, "σ_w: wanted a finite number > 0, got 0.0"),
    (theory.Plain, {"sigma_b": -0.1}, "σ_b: wanted a standard deviation"),
    (theory.Plain, {"sigma_b": math.nan}, "σ_b: .*got nan"),
    (theory.Plain, {"q0": 0.0}, "q0, a second moment: wanted a finite number > 0, got 0.0"),
    (theory.Plain, {"c0": 1.5}, "-1 ≤ c0 ≤ 1, got 1.5"),
    (theory.Plain, {"width": 0.0}, "width, in units: wanted a number ≥ 1"),
    (theory.Plain, {"keep": 0.0}, "0 < keep ≤ 1, got 0.0"),
    (theory.Residual, {"scale": math.inf}, "scale: wanted a finite number, got inf"),
    (theory.Residual, {"sigma_v": -1.0}, "σ_v: wanted"),
    (theory.BatchNorm, {"batch": 3}, "from batch 4 on, got batch 3"),
    (theory.BatchNorm, {"batch": 5.5}, "a whole number ≥ 4, got 5.5"),
    (theory.LayerNorm, {"sigma_w": -2.0}, "σ_w: wanted"),
    (theory.Transformer, {"tokens": 0}, "tokens: wanted a whole number ≥ 1"),
]


@pytest.mark.parametrize(("kind", "given", "text"), WRONG)
def test_numbers_out_of_range(kind, given, text):
    with pytest.raises(ValueError, match=text):
        theory.forecast(kind(**{"phi": "tanh", "depth": 3} | given))


def test_what_is_no_network():
    with pytest.raises(TypeError, match="Plain, Residual"):
        theory.forecast("tanh")
    with pytest.raises(ValueError, match="constant: batch normalisation would divide"):
        theory.batch_norm_rate(lambda x: 0.0 * x + 1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "phi"), [("pre", "relu"), ("post", "relu"), ("pre", "elu")])
def test_transformers_against_random_networks(norm, phi):
    """Gradients of the stream at every block's input, of a simulated Transformer, by autodiff."""
    d, tokens, depth, nets = 384, 8, 6, 20
    f = theory.forecast(theory.Transformer(phi=phi, depth=depth, tokens=tokens, norm=norm))
    act = activations.get(phi)

    def layer_norm(x):
        x = x - x.mean(1, keepdims=True)
        return x / jnp.sqrt((x * x).mean(1, keepdims=True))

    def net(shifts, weights, x):
        streams = []
        for shift, (v, o, w1, w2) in zip(shifts, weights, strict=True):
            x = x + shift
            if norm == "pre":
                x = x + layer_norm(x).mean(0, keepdims=True) @ v @ o * jnp.ones((tokens, 1))
                x = x + act(layer_norm(x) @ w1) @ w2
            else:
                x = layer_norm(x + x.mean(0, keepdims=True) @ v @ o * jnp.ones((tokens, 1)))
                x = x + act(x @ w1) @ w2
            streams.append((x * x).mean())
            x = x if norm == "pre" else layer_norm(x)
        return x, jnp.stack(streams)

    @jax.jit
    def run(key):
        keys = jax.random.split(key, 3)
        weights = jax.random.normal(keys[0], (depth, 4, d, d)) / math.sqrt(d)
        x = layer_norm(jax.random.normal(keys[1], (tokens, d)))
        (_, streams), back = jax.vjp(lambda s: net(s, weights, x), jnp.zeros((depth, tokens, d)))
        top = jax.random.normal(keys[2], (tokens, d))
        (shifts,) = back((top, jnp.zeros(depth)))
        return streams, (shifts**2).sum((1, 2)) / (top**2).sum()

    with jax.enable_x64(True), jax.numpy_rank_promotion("allow"):
        found = [run(key) for key in jax.random.split(jax.random.key(0), nets)]
        streams, gradients = (np.stack([np.asarray(part[k]) for part in found]) for k in (0, 1))
    predicted = np.exp(2 * np.cumsum(f.layer_log_gain[::-1])[::-1])
    error = gradients.std(0) / math.sqrt(nets) / predicted
    assert streams.mean(0) == pytest.approx(f.q, rel=0.05)
    assert (np.abs(gradients.mean(0) / predicted - 1) < 4 * error + 0.03).all()
