"""Every analytic number of tests/data/theory.json, reproduced within its tolerance."""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from theory_reference import GROUPS, activation, cases, check

from jgrad import activations, inits, jacobians, optim, theory

MOMENTS = {
    "E_phi": "mean",
    "E_phi2": "second",
    "var_phi": "variance",
    "E_dphi": "slope_mean",
    "E_dphi2": "slope_second",
    "E_dphi4": "slope_fourth",
    "gain_fwd": "gain_forward",
    "gain_bwd": "gain_backward",
    "gain_nfnet": "gain_variance",
    "nlc": "nlc",
    "bn_rate_inf": "batch_norm_rate",
    "cmap0": "correlation_at_zero",
    "cslope1": "correlation_slope_at_one",
    "lin_frac": "linear_fraction",
}
WEIGHTS = {"gauss": "gaussian", "orth": "orthogonal"}


def values(group, key):
    return sorted({case["params"][key] for case in GROUPS[group]["cases"]}, key=str)


@pytest.mark.parametrize("act", values("gaussian_moments", "act"))
def test_gaussian_moments(act):
    found = theory.moments(activation(act))
    for case in cases("gaussian_moments", act=act):
        got = getattr(found, MOMENTS[case["params"]["stat"]])
        check(case, got)
        # The file's tolerance is a promise's floor; ours is 1e-10.
        assert got == pytest.approx(case["value"], rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("act", values("meanfield_fixed_points", "act"))
def test_fixed_points(act):
    names = {"qstar": "q", "cstar": "c", "xi_grad": "xi_gradient"}
    point = functools.cache(functools.partial(theory.fixed_point, activation(act)))
    for case in cases("meanfield_fixed_points", act=act):
        p = case["params"]
        stat = names.get(p["stat"], p["stat"])
        check(case, getattr(point(p["sigma_w"], float(p["sigma_b"])), stat))


@pytest.mark.parametrize("net", values("meanfield_mc", "net"))
def test_deep_limits(net):
    act, sigma_w, sigma_b = (part.split("=")[-1] for part in net.split("|"))
    for case in cases("meanfield_mc", net=net):
        p = case["params"]
        f = theory.forecast(
            theory.Plain(
                phi=act,
                depth=p["L"] + 1,
                sigma_w=float(sigma_w),
                sigma_b=float(sigma_b),
                q0=float(p["q0"]),
                c0=float(p["c0"]),
            )
        )
        got = {"q": f.q[-1], "c_L": f.c[-1], "chi": math.exp(2 * f.layer_log_gain[-1])}[p["stat"]]
        # The file's value is the limit; at depth 40 the slowest of these has 1e-4 to go.
        assert got == pytest.approx(case["value"], rel=2e-6 if p["stat"] != "c_L" else 1e-6)


@pytest.mark.parametrize("act", values("eoc", "act"))
def test_edge_of_chaos(act):
    phi = activation({"atan": "arctan"}.get(act, act))
    points = functools.cache(functools.partial(theory.critical, phi))
    for case in cases("eoc", act=act):
        p = case["params"]
        sigma_b = float(p["sigma_b"])
        ((sigma_w, q),) = points(sigma_b)
        if p["stat"] == "chi_q":
            check(case, theory.fixed_point(phi, sigma_w, sigma_b, q0=q).chi_q)
        else:
            check(case, {"sigma_w": sigma_w, "qstar": q}[p["stat"]])


def test_edge_of_chaos_limits_at_zero():
    # The group's note: q → 0 at σ_b = 0.
    λ, α = 1.0507009873554805, 1.6732632423543772
    assert theory.critical("elu")[0] == pytest.approx((1.0, 0.0), abs=1e-12)
    expected = math.sqrt(2 / (λ**2 * (1 + α**2)))
    assert theory.critical("selu")[0] == pytest.approx((expected, 0.0), abs=1e-12)


def test_critical_points_printed_in_the_literature():
    for case in GROUPS["eoc_special"]["cases"]:
        p = case["params"]
        if p.get("given") == "sigma_w2=1.05":
            # σ_b where the tanh network at this σ_w is critical.
            low, high = 1e-3, 1e-2
            for _ in range(60):
                middle = (low + high) / 2
                above = theory.critical("tanh", middle)[-1][0] ** 2 > 1.05
                low, high = (low, middle) if above else (middle, high)
            check(case, low**2)
        elif p["act"] == "tanh":
            ((sigma_w, q),) = theory.critical("tanh", math.sqrt(0.05))
            check(case, {"sigma_w2": sigma_w**2, "qstar": q}[p["stat"]])
        else:
            check(case, theory.critical("relu")[0][0])


@pytest.mark.parametrize(
    "group", ["common_init_recursion", "critical_powerlaw_tanh", "critical_powerlaw_other"]
)
def test_recursions(group):
    for case in GROUPS[group]["cases"]:
        p = case["params"]
        act = p.get("act", p.get("act_init")).split("|")[0]
        f = theory.forecast(
            theory.Plain(
                phi=activation(act),
                depth=p["L"] + 1,
                sigma_w=math.sqrt(p.get("sigma_w2", 1.0)),
                q0=1.0,
            )
        )
        total = 2 * float((f.log_gain[:-1] + f.linear_log_gain[1:]).sum())
        if case["value"] == 0:
            assert abs(total) < 1e-12
        else:
            check(case, {"q": f.q[-1], "L*K_L": p["L"] * f.q[-1], "sum_log_chi": total}[p["stat"]])


def test_relu_correlation_map():
    step = theory.correlation_map("relu", math.sqrt(2.0), q=1.0)
    f = theory.forecast(theory.Plain(phi="relu", depth=101, sigma_w=math.sqrt(2.0)))
    c, found = 0.0, [0.0]
    for _ in range(100):
        c = step(c)
        found.append(c)
    for case in GROUPS["relu_cmap"]["cases"]:
        check(case, found[case["params"]["L"]])
        check(case, f.c[case["params"]["L"]])


def test_jacobian_spectra():
    for case in GROUPS["jacobian_spectrum_variance"]["cases"]:
        p = case["params"]
        got = theory.spectrum_variance(
            activation(p["act"]), p["L"], q=float(p["q"]), weights=WEIGHTS[p["weights"]]
        )
        assert got == pytest.approx(case["value"], rel=1e-10)
    for case in GROUPS["jacobian_lambda_max"]["cases"]:
        p = case["params"]
        check(
            case,
            theory.largest_eigenvalue(activation(p["act"]), p["L"], weights=WEIGHTS[p["weights"]]),
        )
    for case in GROUPS["fuss_catalan_moments"]["cases"]:
        assert theory.fuss_catalan(case["params"]["L"], case["params"]["k"]) == case["value"]


def test_batch_norm_rates():
    for case in GROUPS["bn_gradient_rate"]["cases"]:
        p = case["params"]
        batch = math.inf if p["B"] == "inf" else p["B"]
        got = theory.batch_norm_rate(activation(p["act"]), batch)
        if p.get("stat") == "MC" and p["act"] == "relu":
            # The file compares its simulation at batch 128 with the limit; the exact rate is nearer
            # to what it measured.
            assert abs(got - case["measured"]) < abs(case["value"] - case["measured"])
        check(case, got)


def test_log_norms():
    for case in GROUPS["lognorm_variance"]["cases"]:
        p = case["params"]
        mean, variance = theory.log_norm_law(activation(p["act"]), p["n"])
        got = {
            "exact var per layer": variance,
            "Var log|Ju|^2": p.get("L", 0) * variance,
            "E log|Ju|^2": p.get("L", 0) * mean,
        }[p["stat"]]
        assert got == pytest.approx(case["value"], rel=1e-9)


def test_shattered_gradients():
    for case in GROUPS["shattered_bn_plain"]["cases"]:
        p = case["params"]
        scale = 1.0 if "resnet" in p["net"] else None
        assert theory.shattering(p["L"], scale) == pytest.approx(case["value"], rel=1e-12)


def test_torch_gains_and_variances_per_layer():
    for case in cases("torch_gain_and_defaults", gain=...):
        name = case["params"]["gain"].removesuffix("2d").split("(")[0]
        if "0.2" in case["params"]["gain"]:
            phi = activation("leaky_relu_0.2")
            check(case, theory.critical(phi)[0][0])
        else:
            check(case, inits.torch_gain(name))
    form = {
        "torch_default_relu": ("torch_default", "relu"),
        "glorot2010_standard_linear": ("torch_default", "identity"),
        "flax_lecun_relu": ("lecun_normal", "relu"),
        "keras_glorot_uniform_relu": ("xavier_uniform", "relu"),
        "he_relu": ("he_normal", "relu"),
    }
    for case in cases("torch_gain_and_defaults", init=...):
        init, act = form[case["params"]["init"]]
        n = case["params"]["N"]
        w = np.asarray(inits.get(init)(jax.random.key(3), (n, n), jnp.float32))
        check(case, n * w.var() * theory.moments(act).slope_second)


def test_he_on_vgg():
    (case,) = GROUPS["he_vgg_factor"]["cases"]
    # He's scale over the paper's 0.01, through the layers between the two gradients compared.
    fans = [9 * c for c in (64, 128, 128, 256, 256, 512, 512, 512, 512)]
    ((gain, _),) = theory.critical("relu")
    check(case, math.prod(gain / math.sqrt(fan) / 0.01 for fan in fans))


def test_dropout():
    for case in GROUPS["dropout_relu_critical"]["cases"]:
        keep, depth = case["params"]["p"], case["params"]["L"]
        f = theory.forecast(
            theory.Plain(
                phi="relu", depth=depth + 1, sigma_w=math.sqrt(2 * keep), keep=keep, q0=1.0
            )
        )
        assert f.q[-1] == pytest.approx(case["value"], rel=1e-12)
        # Two copies of one input part under dropout.
        assert f.c[-1] < 1


def test_derivative_bounds():
    own = {"softsign": "soft_sign"}
    for case in GROUPS["derivative_bounds"]["cases"]:
        act, stat = case["params"]["act"], case["params"]["stat"]
        facts = activations.traits(own.get(act, act))
        check(case, {"sup": facts.slope_upper, "inf": facts.slope_lower}[stat])


def test_dying_relu():
    for case in GROUPS["dying_relu_point"]["cases"]:
        p = case["params"]
        assert theory.dead_probability(p["N"], p["H"]) == pytest.approx(case["value"], rel=1e-12)


def test_transformers():
    for case in GROUPS["preln_postln"]["cases"]:
        p = case["params"]
        f = theory.forecast(theory.Transformer(depth=p["L"], norm=p["kind"]))
        if "ratio" in p["stat"]:
            first = theory.forecast(theory.Transformer(depth=6, norm=p["kind"])).q[-1]
            # Through the last norm, the last block's weight gradient goes as 1/√q.
            got = math.sqrt(f.q[-1] / first)
        else:
            got = f.q[-1]
        assert got == pytest.approx(case["value"], rel=1e-12)


def test_lyapunov_exponents():
    for case in GROUPS["ginibre_lyapunov"]["cases"]:
        p = case["params"]
        got = theory.ginibre_exponents(p["N"])[p["i"] - 1]
        assert got == pytest.approx(case["value"], rel=1e-12)


def test_residual_growth():
    for case in GROUPS["resnet_growth"]["cases"]:
        p = case["params"]
        f = theory.forecast(
            theory.Residual(
                phi="relu",
                depth=p["L"],
                sigma_w=math.sqrt(2.0),
                scale=math.sqrt(p["a2"]),
                branch="two",
            )
        )
        assert math.exp(f.jacobian_log_mean) == pytest.approx(case["value"], rel=1e-12)
        grown = math.exp(f.log_q[-1] - f.log_q[0])
        assert grown == pytest.approx((1 + p["a2"]) ** (p["L"] - 1), rel=1e-12)


def test_selu_constants():
    α, λ = theory.selu_constants()
    slope = theory.moments("selu").slope_second
    for case, got in zip(GROUPS["selu_constants"]["cases"], (α, λ, slope), strict=True):
        check(case, got)


@pytest.mark.parametrize("act", values("dual_activation", "act"))
def test_duals(act):
    pair = theory.dual(activation(act))
    for case in cases("dual_activation", act=act):
        p = case["params"]
        got = pair(p["q11"], p["q22"], p["q12"])[0 if p["stat"] == "K" else 1]
        check(case, got)
        assert got == pytest.approx(case["value"], rel=1e-10)


def test_hermite_coefficients_of_relu():
    found = theory.hermite("relu", 11)
    for case in GROUPS["hermite_relu"]["cases"]:
        check(case, found[case["params"]["k"]])


def test_tailored_relu():
    for case in GROUPS["trelu"]["cases"]:
        p = case["params"]
        a = theory.trelu_slope(p["D"], p["eta"])
        check(case, {"negative_slope": a, "output_scale": math.sqrt(2 / (1 + a * a))}[p["stat"]])


@pytest.mark.parametrize("method", ["DKS", "TAT"])
def test_shaped_activations(method):
    shape = functools.cache({"DKS": theory.dks, "TAT": theory.tat}[method])
    for case in cases("dks_tat", method=method):
        p = case["params"]
        check(case, getattr(shape(activation(p["act"]), p["D"]), p["stat"]))


def test_recurrent_networks_with_shared_weights():
    growth, forgotten = GROUPS["rnn_linear_fixed"]["cases"]
    n, steps = growth["params"]["N"], growth["params"]["T"]
    w = np.random.default_rng(0).normal(size=(n, n)) / math.sqrt(n)
    w = (w + w.T) / 2  # a real largest eigenvalue: the growth settles
    with jax.enable_x64(True):
        exponents = jacobians.lyapunov_exponents(
            lambda h, x: w @ h + x, 1, backward=True, discard=steps // 2
        )
        inputs = jnp.zeros((1, steps, n))
        found = float(exponents(jnp.ones((1, n)), inputs, jax.random.key(0)).value[0, 0])
        check(growth, abs(found - math.log(np.abs(np.linalg.eigvalsh(w)).max())))

        # An LSTM with zero weights: ∂c_T/∂c_0 is the forget gate's sigmoid(1) at every step.
        def last(c):
            for _ in range(10):
                c = activations.sigmoid(jnp.float64(1.0)) * c
            return c

        check(forgotten, float(jax.grad(last)(0.3)))


def test_normalisation_softmax_and_identical_tokens():
    """Exact facts of attention, measured by jgrad's Jacobians."""
    softmax, layer_norm, tokens = GROUPS["attention_exact"]["cases"]
    with jax.enable_x64(True):
        found = jacobians.singular_values(jax.nn.softmax)(jnp.array([[0.3, 0.3]]))
        check(softmax, float(found[0, 0]))

        def norm(x):
            return (x - x.mean()) / jnp.sqrt(((x - x.mean()) ** 2).mean())

        n = layer_norm["params"]["n"]
        x = jax.random.normal(jax.random.key(1), (1, n)) * 1.7 + 0.4
        found = jacobians.singular_values(norm)(x)[0] * x.std()
        for value in found[: n - 2]:
            check(layer_norm, float(value))
        assert np.abs(found[n - 2 :]).max() < 1e-12

        def attend(query, key, value, x):
            scores = jax.nn.softmax((x @ query) @ (x @ key).T / 2.0)
            return jnp.sum(jnp.sin(jnp.arange(20.0).reshape(5, 4)) * (scores @ (x @ value)))

        weights = jax.random.normal(jax.random.key(2), (3, 6, 4))
        alike = jnp.broadcast_to(jax.random.normal(jax.random.key(3), (1, 6)), (5, 6))
        grads = jax.grad(attend, (0, 1, 2))(*weights, alike)
        sizes = [float(jnp.linalg.norm(g)) for g in grads]
        check(tokens, sizes[0] / sizes[2])
        check(tokens, sizes[1] / sizes[2])


@pytest.mark.loose_promotion
def test_conventions_of_clipping():
    ours, theirs = GROUPS["clip_conventions"]["cases"]
    with jax.enable_x64(True):
        grads = {"w": jnp.array([3.0, 4.0])}
        clipped, _ = optim.clip("global_norm:1.0").update(grads, optax.EmptyState())
        assert clipped["w"] == pytest.approx(ours["value"], abs=ours["tol"])
    torch = pytest.importorskip("torch")
    w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    w.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.nn.utils.clip_grad_norm_([w], 1.0)
    # PyTorch adds 1e-6 to the norm: two parts in 10⁷ less than jgrad's and optax's.
    assert w.grad.tolist() == pytest.approx(theirs["value"], abs=theirs["tol"])


def test_every_group_of_the_file_has_a_test():
    source = Path(__file__).read_text()
    assert [g for g in GROUPS if g != "_meta" and f'"{g}"' not in source] == []


def test_orthogonal_initialisers_are_isometries():
    dense, conv = GROUPS["orthogonal_isometry"]["cases"]
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(5), 50)
        product = np.eye(16)
        for key in keys:
            product = np.asarray(inits.get("orthogonal")(key, (16, 16), jnp.float64)) @ product
        check(dense, np.abs(np.linalg.svd(product)[1] - 1).max())

        kernel = inits.get("delta_orthogonal")(keys[0], (3, 3, 4, 6), jnp.float64)
        assert not np.asarray(kernel)[0].any()

        def circular(x):
            wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
            numbers = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(
                wide, kernel, (1, 1), "VALID", dimension_numbers=numbers
            )

        eye = jnp.eye(5 * 4 * 4).reshape(-1, 5, 4, 4)
        matrix = np.asarray(circular(eye)).reshape(5 * 4 * 4, -1)
        check(conv, np.abs(np.linalg.svd(matrix)[1] - 1).max())
