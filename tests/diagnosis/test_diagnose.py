"""The criteria against nets whose fault is known, and against healthy nets that look faulty."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_by_hand import hand, named

from jgrad import diagnosis, probes
from jgrad.diagnosis import History, diagnose


def symptoms(found):
    return {finding.symptom for finding in found if finding.fault}


def only(found, symptom):
    [finding] = [finding for finding in found if finding.symptom == symptom]
    return finding


# The faults


def test_a_deep_sigmoid_net_vanishes_and_its_activation_is_to_blame():
    flow = named(hand("sigmoid", gain=1.0), "sigmoid")
    finding = only(diagnose(flow), "vanishing")
    # φ' ≤ 1/4, and the mean of the weights' part is ln(gain) = 0: e^1.39 a layer at least.
    assert finding.numbers["rate"] < -math.log(4) + 0.1
    assert finding.numbers["activation"] / finding.numbers["log_gain"] > 0.9
    assert "the activation does" in finding.cause
    assert finding.sites[0] == "hidden[0]"
    assert any("at most 0.25" in remedy for remedy in finding.remedies)


def test_an_identity_net_with_small_weights_vanishes_by_its_linear_maps():
    gain = 0.6
    finding = only(diagnose(hand("identity", gain=gain)), "vanishing")
    assert finding.numbers["activation"] == pytest.approx(0.0, abs=1e-12)
    assert finding.numbers["linear"] == pytest.approx(29 * math.log(gain), abs=1.5)
    assert "the linear maps do 100 % of it" in finding.cause
    [weights] = [r for r in finding.remedies if r.startswith("weights")]
    assert float(weights.split()[2]) == pytest.approx(1 / gain, rel=0.1)


def test_a_relu_net_with_large_weights_explodes():
    gain = 3.0
    finding = only(diagnose(hand("relu", gain=gain, width=200)), "exploding")
    assert finding.numbers["rate"] == pytest.approx(math.log(gain / math.sqrt(2)), abs=0.05)
    assert "clipping by the global norm" in finding.remedies[-1]
    assert symptoms(diagnose(hand("relu", gain=gain, width=200))) == {"exploding"}


def test_a_layer_pushed_off_is_dead_and_not_also_vanishing():
    flow = named(hand("relu", depth=4, gain=0.5, bias=-9.0), "relu")
    found = diagnose(flow)
    assert symptoms(found) == {"dead"}
    assert "100 % of the units" in only(found, "dead").evidence
    assert "relu passes nothing there" in only(found, "dead").cause
    assert any("leaky_relu" in remedy for remedy in only(found, "dead").remedies)


def test_a_tanh_net_with_huge_weights_is_saturated():
    flow = named(hand("tanh", depth=3, gain=12.0), "tanh")
    finding = only(diagnose(flow), "saturated")
    assert finding.numbers["rms_input"] > 5.3
    assert finding.sites == ("hidden[0]", "hidden[1]", "hidden[2]")


def test_tanh_lost_to_rounding_is_told_from_a_dead_relu():
    flow = hand("tanh", depth=3, gain=1.0)
    for name in ("zero_slope_share", "dead_share"):
        flow.values[name][:, 1] = 1.0
    dead = only(diagnose(named(flow, "tanh")), "dead")
    assert "lost to rounding" in dead.cause
    assert "relu passes nothing" in only(diagnose(named(flow, "relu")), "dead").cause


def test_a_nan_is_located_and_forward_is_told_from_backward():
    flow = hand("tanh", depth=5)
    flow.values["nonfinite"][:, 3:] = 7
    assert "the gradient breaks at or above hidden[4]" in only(diagnose(flow), "non-finite").cause
    flow.values["z_second"][:, 3:] = np.nan
    assert "first to break, at hidden[3]" in only(diagnose(flow), "non-finite").cause


def test_a_gradient_that_comes_from_the_loss_infinite_is_a_finding():
    flow = hand("tanh", depth=3)
    flow.values["log_da"][:, 2] = math.inf
    flow.values["log_gain"][:, 2] = -math.inf
    assert only(diagnose(flow), "non-finite").sites == ("hidden[2]",)
    assert "reaches the last of 3 activations is not finite" in diagnosis.headline(flow)
    assert diagnosis.narrowest(flow).startswith(("hidden[0]", "hidden[1]"))


def test_a_loss_that_breaks_is_a_finding():
    found = diagnose(hand("tanh", depth=2), history=[2.3, 2.2, math.nan, math.nan])
    assert "from record 2 on" in only(found, "non-finite").evidence


def test_a_gradient_that_becomes_zero_by_underflow_vanishes():
    flow = hand("identity", depth=6)
    flow.values["log_da"][:, :3] = -math.inf
    flow.values["log_dz"][:, :3] = -math.inf
    flow.values["linear_log_gain"][:, 3] = -math.inf
    flow.values["log_gain"][:, :3] = math.nan
    flow.values["linear_log_gain"][:, 1:3] = math.nan
    finding = only(diagnose(flow), "vanishing")
    assert "exactly 0 at hidden[2]" in finding.evidence
    assert finding.cause == "the linear maps let nothing through"


def test_a_biased_tanh_of_moderate_input_is_not_saturated():
    flow = hand("tanh", depth=2, gain=0.2, bias=1.7)
    assert flow.values["slope_second"].max() < 0.1
    assert diagnose(named(flow, "tanh")) == ()


# Healthy, or not to be told: no alarm


@pytest.mark.parametrize(
    ("activation", "gain"), [("relu", math.sqrt(2)), ("tanh", 1.0), ("identity", 1.0)]
)
def test_a_critical_net_has_no_finding(activation, gain):
    flow = named(hand(activation, gain=gain, width=128, seeds=2), activation)
    assert diagnose(flow) == ()


def test_state_gradients_see_what_weight_gradients_hide():
    """ReLU: scaling layer 1 by c and layer 2 by 1/c changes every weight gradient, not the net.

    Forward and backward shrink together at gain 1 (a factor √½ a layer each), so the norm of the
    weight gradients, |a| · |δ|, is flat in depth, and a rule on their ratio sees nothing.
    """
    flow = hand("relu", gain=1.0, width=128)
    a_second = 0.5 * flow.values["z_second"][0]
    weight_norm = 0.5 * np.log(a_second[:-1]) + flow.values["log_dz"][0, 1:]
    assert abs(weight_norm[0] - weight_norm[-1]) < math.log(4)
    assert symptoms(diagnose(flow)) == {"vanishing"}


def test_scaling_the_loss_changes_no_finding():
    flow, scaled = hand("sigmoid"), hand("sigmoid")
    scaled.values["log_da"] += 40.0
    scaled.values["log_dz"] += 40.0
    assert [str(f) for f in diagnose(flow)] == [str(f) for f in diagnose(scaled)]


def test_a_zero_output_layer_is_no_fault():
    found = diagnose(hand("relu", gain=math.sqrt(2), output_scale=0.0))
    assert symptoms(found) == set()
    assert "output layer starts at zero" in only(found, "unmeasured").cause


def test_a_batch_of_zeros_is_no_dead_net():
    found = diagnose(hand("relu", inputs=0.0))
    assert symptoms(found) == set()
    assert only(found, "unmeasured").cause == "every input it has seen is exactly 0"


def test_perfect_convergence_is_no_death():
    flow = hand("relu", gain=math.sqrt(2), output_scale=0.0)
    history = np.geomspace(2.3, 1e-9, 40)
    assert diagnose(flow, history=history) == ()
    assert diagnose(flow, history=np.full(40, 2.3)) != ()


def test_half_a_dead_first_layer_is_healthy():
    flow = hand("relu", gain=math.sqrt(2), width=128)
    flow.values["dead_share"][:, 0] = flow.values["zero_slope_share"][:, 0] = 0.5
    assert diagnose(named(flow, "relu")) == ()


def test_units_without_gradient_but_with_slope_are_not_dead():
    flow = hand("tanh", depth=3)
    flow.values["dead_share"][:] = 1.0  # δz = 0 everywhere, φ' nowhere
    assert diagnose(flow) == ()


def test_a_steep_net_that_learns_is_left_alone():
    """Ratios of 7e-4 do not stop an LSTM; steepness alone is AutoTrainer's false alarm."""
    flow = hand("sigmoid")
    learned = History(np.linspace(2.3, 0.2, 50), baseline=math.log(10))
    stuck = History(np.full(50, 2.3), baseline=math.log(10))
    assert diagnose(flow, history=learned) == ()
    assert symptoms(diagnose(flow, history=stuck)) == {"vanishing"}


def test_a_loss_falling_from_far_above_chance_has_not_learned():
    falling = np.geomspace(400.0, 2.3, 50)
    assert diagnose(hand("sigmoid"), history=History(falling, baseline=math.log(10))) != ()


def test_a_fault_of_some_seeds_says_of_how_many():
    flow = hand("relu", depth=5, gain=math.sqrt(2), width=64, seeds=5)
    for name in ("zero_slope_share", "dead_share"):
        flow.values[name][1:3, 2] = 1.0
    finding = only(diagnose(named(flow, "relu")), "dead")
    assert "in 2 of 5 runs" in finding.evidence
    assert finding.numbers["runs"] == pytest.approx(0.4)


# Words, forecasts, wrong input


def test_a_finding_is_one_sentence_with_its_numbers():
    [finding] = diagnose(named(hand("sigmoid", gain=1.0), "sigmoid"))
    sentence = str(finding)
    assert sentence.startswith("vanishing: the gradient falls by e^1.4")
    assert "a layer over 30 activations, to 1" in sentence
    assert "\n" not in sentence


def test_the_forecast_stands_beside():
    forecast = SimpleNamespace(log_gain=np.full(30, -1.5), linear_log_gain=np.zeros(30))
    finding = only(diagnose(hand("sigmoid"), forecast=forecast), "vanishing")
    assert "(theory: falls by e^1.5 a layer)" in finding.evidence
    assert finding.numbers["predicted_rate"] == pytest.approx(-1.5)


def test_headline():
    assert diagnosis.headline(hand("sigmoid")).startswith(
        "Over 30 activations the gradient norm falls by e^1.4"
    )
    assert "No gradient reaches" in diagnosis.headline(hand("tanh", output_scale=0.0))
    forecast = SimpleNamespace(log_gain=np.full(30, -1.5), linear_log_gain=np.zeros(30))
    assert diagnosis.headline(hand("sigmoid"), forecast).endswith(
        "theory predicts that it falls by e^1.5 a layer."
    )


def test_wrong_input():
    with pytest.raises(TypeError, match=r"[Ff]low"):
        diagnose({"a": 1})
    with pytest.raises(ValueError, match="2 runs of losses, the flow holds 3"):
        diagnose(hand("tanh", depth=2, seeds=3), history=np.ones((2, 5)))
    with pytest.raises(ValueError, match="at least one recorded step"):
        diagnose(hand("tanh", depth=2), history=[])
    with pytest.raises(ValueError, match="no site on its main path"):
        diagnose(SimpleNamespace(profile=lambda name: None, profile_names=lambda: ()))


def test_a_flow_of_the_probe_with_two_sites_in_a_scan():
    """Depth positions alternate between the two; each keeps the name of its own activation."""
    weights = jax.random.normal(jax.random.key(0), (9, 16, 16)) / 4

    def loss(weights, x):
        def block(h, w):
            return jnp.tanh(jax.nn.sigmoid(h @ w) @ w), None

        return jnp.mean(jax.lax.scan(block, x, weights)[0] ** 2)

    flow = probes.gradient_flow(loss)(weights, jnp.ones((4, 16)))
    profile = diagnosis.Profile.of(flow)
    assert profile.depth == 18
    assert profile.activations[:4] == ("sigmoid", "tanh", "sigmoid", "tanh")
    assert symptoms(diagnose(flow)) == {"vanishing"}
    assert float(profile.path("log_dz")[0, 0] - profile.path("log_da")[0, -1]) == pytest.approx(
        float(flow.total_log_gain), rel=1e-5
    )


def test_a_gate_on_the_state_0_is_passed_by():
    keys = jax.random.split(jax.random.key(3), 4)
    w = [jax.random.normal(key, (7, 4)) * 0.8 for key in keys[:3]]
    xs = jax.random.normal(keys[3], (3, 5, 3))

    def loss(w):
        def step(h, x):
            seen = jnp.concatenate([h, x], -1)
            kept, reset = jax.nn.sigmoid(seen @ w[0]), jax.nn.sigmoid(seen @ w[1])
            new = jnp.tanh(jnp.concatenate([reset * h, x], -1) @ w[2])
            return (1 - kept) * h + kept * new, None

        return jnp.sum(jax.lax.scan(step, jnp.zeros((5, 4)), xs)[0] ** 2)

    flow = probes.gradient_flow(loss)(w)
    # The reset gate multiplies 0 at the first step, so nothing comes to it.
    assert np.isinf(flow.profile("log_da")).sum() == 1
    assert "vanishing" not in symptoms(diagnose(flow))
    assert "nothing through" not in diagnosis.headline(flow)
