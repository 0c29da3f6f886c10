"""Measures equal those by hand from an explicitly perturbed copy; flows add and read right."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import activations, probes
from jgrad.probes._packed import read_count

pytestmark = pytest.mark.loose_promotion


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


X, W1, W2 = normal(0, 7, 5), 0.4 * normal(1, 5, 6), 0.4 * normal(2, 6, 3)


def perturbed(w1, w2, x, at_z1, at_a1, at_z2, at_a2):
    """The network with zeros added on both sides of its activations; their gradients are the δ."""
    a1 = jax.nn.relu(x @ w1 + at_z1) + at_a1
    a2 = jnp.tanh(a1 @ w2 + at_z2) + at_a2
    return jnp.mean(a2**3)


def loss(w, x):
    return perturbed(*w, x, 0.0, 0.0, 0.0, 0.0)


PROBED = jax.jit(probes.gradient_flow(loss))


def by_hand(dtype=jnp.float32):
    w1, w2, x = (v.astype(dtype) for v in (W1, W2, X))
    zeros = [jnp.zeros(shape, dtype) for shape in ((7, 6), (7, 6), (7, 3), (7, 3))]
    deltas = jax.grad(perturbed, argnums=(3, 4, 5, 6))(w1, w2, x, *zeros)
    dz1, da1, dz2, da2 = (np.asarray(d, np.float64) for d in deltas)
    z1 = np.asarray(x @ w1, np.float64)
    a1 = np.maximum(z1, 0)
    z2 = np.asarray(jnp.asarray(a1, dtype) @ w2, np.float64)
    return [(z1, a1, (z1 > 0) * 1.0, da1, dz1), (z2, np.tanh(z2), 1 - np.tanh(z2) ** 2, da2, dz2)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_measures_equal_those_by_hand(dtype):
    cast = jax.tree.map(lambda v: v.astype(dtype), ((W1, W2), X))
    flow = jax.jit(probes.gradient_flow(loss, measures="all"))(*cast)
    rtol = 2e-5 if dtype == jnp.float32 else 0.03
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)  # noqa: E731
    for key, (z, a, slope, da, dz) in zip(flow, by_hand(dtype), strict=True):
        site = flow[key]
        assert float(site.count) == z.size
        close(site.z_mean, z.mean())
        close(site.z_second, (z**2).mean())
        close(site.a_mean, a.mean())
        close(site.a_second, (a**2).mean())
        close(site.slope_mean, slope.mean())
        close(site.slope_second, (slope**2).mean())
        close(site.log_da, np.log(np.linalg.norm(da)))
        close(site.log_dz, np.log(np.linalg.norm(dz)))
        close(site.sums["da"], da.sum())
        close(site.sums["dz"], dz.sum())
        close(site.zero_slope_share, (slope == 0).mean())
        close(site.zero_gradient_share, (dz == 0).mean())
        assert (np.asarray(site.dead) == (slope == 0).all(0)).all()
        assert (np.asarray(site.unfed) == (dz == 0).all(0)).all()
        assert float(site.nonfinite) == 0
        close(site.mean_log_slope, np.log(slope[slope > 0]).mean())


def test_flows_sum():
    flow = PROBED((W1, W2), X)
    wanted = jax.tree.leaves(flow + flow)
    for got, twice in zip(jax.tree.leaves(sum([flow, flow])), wanted, strict=True):
        np.testing.assert_array_equal(got, twice)
    with pytest.raises(TypeError, match="unsupported"):
        1 + flow


def test_log_gains_add_up_along_the_main_path():
    flow = PROBED((W1, W2), X)
    gains, linear = flow.profile("log_gain"), flow.profile("linear_log_gain")
    (_, _, _, da1, dz1), (_, _, _, da2, dz2) = by_hand()
    np.testing.assert_allclose(linear[1], np.log(np.linalg.norm(da1) / np.linalg.norm(dz2)), 1e-4)
    np.testing.assert_allclose(gains.sum() + jnp.nansum(linear), flow.total_log_gain, 1e-5)
    np.testing.assert_allclose(
        flow.total_log_gain, np.log(np.linalg.norm(dz1) / np.linalg.norm(da2)), 1e-4
    )


def test_steps_of_a_scan_are_those_of_the_loop():
    ws = normal(3, 4, 5, 5)

    def scanned(ws, x, *, reverse=False):
        h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, ws, reverse=reverse)
        return jnp.sum(h**2)

    def looped(ws, x):
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(x**2)

    in_scan = jax.jit(probes.gradient_flow(scanned))(ws, X)
    in_loop = jax.jit(probes.gradient_flow(looped))(ws, X)
    for name in ("log_gain", "linear_log_gain", "slope_mean", "a_second"):
        np.testing.assert_allclose(in_scan.profile(name), in_loop.profile(name), rtol=1e-4)
    assert len(in_scan.profile_names()) == 4
    backwards = jax.jit(probes.gradient_flow(functools.partial(scanned, reverse=True)))(ws[::-1], X)
    np.testing.assert_allclose(
        backwards.profile("log_gain"), in_loop.profile("log_gain"), rtol=1e-4
    )
    (key,) = in_scan
    np.testing.assert_allclose(
        in_scan[key].linear_log_gain, in_loop.profile("linear_log_gain"), rtol=1e-4
    )
    summed = jax.jit(probes.gradient_flow(scanned, steps="sum"))(ws, X)
    np.testing.assert_allclose(summed[key].sums["dz2"], in_scan[key].sums["dz2"].sum(0), rtol=1e-5)


def test_parents_and_the_main_path():
    def residual(w, x):
        for _ in range(3):
            x = x + jax.nn.relu(x @ w)
        return jnp.sum(jnp.tanh(x @ w))

    flow = jax.eval_shape(probes.gradient_flow(residual), normal(4, 5, 5), X)
    assert [site.parents for site in flow.sites] == [(), (0,), (0, 1), (0, 1, 2)]
    assert len(flow.main_path) == 4


@pytest.mark.parametrize("shape", [(1,), (3, 2), ()])
@pytest.mark.parametrize("size", [1e-30, 1e-25, 1.0, 1e30])
def test_gradients_of_any_size_read_right(size, shape):
    def tiny(x):
        return jnp.sum(jnp.tanh(x)) * jnp.float32(size)

    flow = jax.jit(probes.gradient_flow(tiny))(jnp.full(shape, 0.5))
    (site,) = flow.values()
    n = int(np.prod(shape))
    np.testing.assert_allclose(site.log_da, np.log(size) + 0.5 * np.log(n), rtol=1e-5)
    np.testing.assert_allclose(site.log_gain, np.log(1 - np.tanh(0.5) ** 2), rtol=1e-4)


def test_a_sum_over_passes_and_a_scaled_loss():
    probed = PROBED
    whole, halves = probed((W1, W2), X[:6]), [probed((W1, W2), X[k : k + 3]) for k in (0, 3)]
    # A mean over half of the batch has a δ twice as large.
    both = halves[0].scale(0.5) + halves[1].scale(0.5)
    assert float(both.passes) == 2
    for key in whole:
        for name in ("log_da", "log_dz", "a_second", "zero_slope_share", "count"):
            np.testing.assert_allclose(
                getattr(both[key], name), getattr(whole[key], name), rtol=1e-5
            )


def test_counts_are_exact_past_two_to_the_24():
    (sums,) = probes.gradient_flow(lambda x: jnp.sum(jax.nn.relu(x)))(
        jnp.array([1.0, -1.0])
    ).values()
    limbs = sums.sums["sloped"]
    many = jax.tree.map(lambda n: n * 4095, limbs)  # as if 4,095 such passes had been added
    assert np.asarray(read_count(many, -2)).tolist() == [4095, 0]
    n = 3 * 2**24 + 5
    limbs = jnp.array([n % 4096, n // 4096], jnp.float32)  # each exact, however often added to
    assert abs(float(read_count(limbs, -1)) - n) <= 4


def test_the_three_kinds_of_zero_are_told_apart():
    def lost(z):
        return jnp.sum(jnp.tanh(z))  # at z = 20 autodiff's slope is 0, the true one is not

    (site,) = probes.gradient_flow(lost, measures="all")(jnp.full(4, 20.0)).values()
    assert float(site.zero_slope_share) == 1
    np.testing.assert_allclose(site.mean_log_slope, np.log(4) - 40, rtol=1e-6)

    def dead(z):
        return jnp.sum(jax.nn.relu(z))

    (site,) = probes.gradient_flow(dead, measures="all")(jnp.full(4, -1.0)).values()
    assert float(site.zero_slope_share) == 1
    assert float(site.sums["log_sloped"].sum()) == 0

    def underflows(z):
        return jnp.sum(activations.sigmoid(z) * jnp.float32(1e-37))

    (site,) = probes.gradient_flow(underflows, measures="all")(jnp.full(4, 9.0)).values()
    assert float(site.zero_slope_share) == 0
    assert float(read_count(site.sums["underflowed"], -1)) == 4


def test_a_measure_of_ones_own():
    def largest_is_no_sum(view):
        return {"da4": view.da**4}

    mine = probes.Measure(largest_is_no_sum, "backward", order=4)
    flow = probes.gradient_flow(loss, measures=["gains", mine])((W1, W2), X)
    key = next(iter(flow))
    da1 = by_hand()[0][3]
    np.testing.assert_allclose(flow[key].sums["da4"], (da1**4).sum(), rtol=1e-4)
    np.testing.assert_allclose(flow.scale(2.0)[key].sums["da4"], 16 * (da1**4).sum(), rtol=1e-4)
    with pytest.raises(ValueError, match=r"ask for measures=.*moments"):
        _ = flow[key].slope_mean


def test_it_prints_and_logs():
    flow = PROBED((W1, W2), X)
    text = str(flow)
    assert "relu" in text
    assert "the gradient's norm" in text
    assert "<table>" in flow._repr_html_()
    scalars = jax.jit(lambda flow: flow.scalars("probe/"))(flow)
    assert set(scalars) >= {f"probe/{key}/log_gain" for key in flow}
    with pytest.raises(KeyError, match="unknown site 'nowhere'"):
        flow["nowhere"]


def test_on_the_host_it_reads_the_same_and_compiles_nothing():
    # Two axes in front, so that no shape here was met before.
    ws = jax.tree.map(lambda w: jnp.stack([w, 0.5 * w, -w]), (W1, W2))
    probed = probes.gradient_flow(loss, measures="all")
    flow = jax.vmap(jax.vmap(probed, (None, 0)), (0, None))(ws, jnp.stack([X, 2 * X]))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event)
    )
    try:
        host = flow.on_host()
        text = str(flow)
        read = {
            name: np.asarray(host.profile(name))
            for name in ("log_gain", "linear_log_gain", "dead_share", "zero_gradient_share")
        }
        assert not [event for event in compiled if "compile" in event]
    finally:
        jax.monitoring.clear_event_listeners()
    assert "relu" in text
    for name, values in read.items():
        np.testing.assert_allclose(values, flow.profile(name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("devices", "arrays"), [(1, 2), (8, 12)])
def test_few_arrays_leave_a_deep_network(devices, arrays, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: devices)

    def deep(ws, x):
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(x)

    ws = [jnp.eye(4)] * 6
    flow = jax.eval_shape(probes.gradient_flow(deep, measures="all"), ws, jnp.ones((3, 4)))
    assert len(jax.tree.leaves(flow.packed)) == arrays


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda w, x: x @ w[0], TypeError, r"real scalar; it returned float32\[7, 6\]"),
        (lambda w, x: (jnp.sum(x), x), TypeError, "one scalar"),
        (lambda w, x: jnp.sum(x @ w[0]), ValueError, "no activation was found"),
    ],
)
def test_wrong_losses_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        probes.value_grad_and_flow(bad)((W1, W2), X)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="unknown measure 'moment'; did you mean 'moments'"):
        probes.gradient_flow(loss, measures=["moment"])((W1, W2), X)
    with pytest.raises(ValueError, match="argnums=3 for a call with 2 arguments"):
        probes.gradient_flow(loss, argnums=3)((W1, W2), X)


def test_the_users_own_errors_come_through():
    def broken(w, x):
        return jnp.sum(jnp.tanh(x @ w[1]))

    with pytest.raises(TypeError, match="contracting dimensions"):
        probes.gradient_flow(broken)((W1, W2), X)


def test_an_auxiliary_result():
    def with_aux(w, x):
        value = loss(w, x)
        return value, {"twice": 2 * value}

    (value, aux), _, _ = probes.value_grad_and_flow(with_aux, has_aux=True)((W1, W2), X)
    assert float(aux["twice"]) == 2 * float(value)


def test_nonfinite_numbers_are_counted():
    def overflows(x):
        return jnp.sum(jnp.tanh(x * jnp.inf))

    (site,) = probes.gradient_flow(overflows)(jnp.array([0.0, 1.0, -2.0])).values()
    assert float(read_count(site.sums["nonfinite_z"], -1)) == 3


def test_off_the_logging_steps_nothing_is_measured():
    step = jax.jit(probes.value_grad_and_flow(loss, every=3))
    flows = [step(k, (W1, W2), X) for k in range(4)]
    assert [float(flow.passes) for _, _, flow in flows] == [1, 0, 0, 1]
    for value, grads, _ in flows:
        plain_value, plain_grads = jax.value_and_grad(loss)((W1, W2), X)
        np.testing.assert_allclose(value, plain_value, rtol=1e-6)
        for a, b in zip(grads, plain_grads, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert not any(np.any(sum_) for sum_ in jax.tree.leaves(flows[1][2].packed))
    again = PROBED((W1, W2), X)
    for a, b in zip(jax.tree.leaves(flows[0][2]), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="every=0, wanted"):
        probes.value_grad_and_flow(loss, every=0)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="left to XLA elsewhere")
def test_off_the_logging_steps_convolutions_have_the_usual_layout():
    """In a branch, as in a scan, XLA's CPU compiler is many times slower with any other."""

    def convolved(kernel, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return jnp.sum(jnp.tanh(y) ** 2)

    kernel, x = normal(1, 3, 3, 2, 4), normal(2, 2, 5, 6, 2)
    sometimes = probes.value_grad_and_flow(convolved, every=3)
    for step in (3, 4):
        _, grads, _ = sometimes(step, kernel, x)
        np.testing.assert_allclose(grads, jax.grad(convolved)(kernel, x), rtol=1e-5, atol=1e-5)
    text = str(jax.make_jaxpr(sometimes)(0, kernel, x))
    assert text.count("conv_general_dilated[") == 4
    assert text.count("lhs_spec=(0, 3, 1, 2)") == 4


@pytest.mark.parametrize("steps", ["each", "sum"])
def test_every_reaches_into_scans(steps):
    def scanned(w, x):
        carry, _ = jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), x, length=3)
        return jnp.sum(carry)

    w = W1 @ W2 @ normal(3, 3, 5)
    wanted = probes.gradient_flow(scanned, steps=steps)(w, X)
    on, off = (probes.gradient_flow(scanned, steps=steps, every=2)(k, w, X) for k in (4, 5))
    for a, b in zip(jax.tree.leaves(on), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert not any(np.any(x) for x in jax.tree.leaves(off))


def test_an_optimiser_remembers():
    probed = probes.value_grad_and_flow(loss)
    shapes = jax.eval_shape(probed, (W1, W2), X)[2]
    optimizer = probes.remember(optax.adam(0.1), flow=shapes)

    def step(carry, _):
        params, state = carry
        _, grads, flow = probed(params, X)
        updates, state = optimizer.update(grads, state, params, flow=flow)
        return (optax.apply_updates(params, updates), state), state.scalars["total/grad_norm"]

    start = (W1, W2), optimizer.init((W1, W2))
    (_, state), norms = jax.jit(lambda start: jax.lax.scan(step, start, None, length=2))(start)
    first = jax.grad(loss)((W1, W2), X)
    np.testing.assert_allclose(norms[0], optax.tree.norm(first), rtol=1e-5)
    np.testing.assert_allclose(state.scalars["total/grad_norm"], norms[1])
    assert float(state.flow.passes) == 1
    plain, _ = optax.adam(0.1).update(first, optax.adam(0.1).init((W1, W2)), (W1, W2))
    mine, _ = optimizer.update(first, optimizer.init((W1, W2)), (W1, W2))
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b)


def test_a_costly_measure_of_ones_own_is_summed_apart():
    rare = probes.Measure(lambda view: {"erf": probes.Apart(jax.lax.erf(view.z))}, "forward")
    (site,) = probes.gradient_flow(lambda x: jnp.sum(jnp.tanh(x)), measures=[rare])(X).values()
    together = probes.Measure(lambda view: {"erf": jax.lax.erf(view.z)}, "forward")
    (other,) = probes.gradient_flow(lambda x: jnp.sum(jnp.tanh(x)), measures=[together])(X).values()
    np.testing.assert_allclose(site.sums["erf"], other.sums["erf"], rtol=1e-5)


def test_no_gradient_at_all_is_read_without_a_warning():
    def constant(params, x):
        return 0.0 * loss(params, x)

    flow = probes.gradient_flow(constant)((W1, W2), X).on_host()
    assert np.isnan(flow.total_log_gain)
    assert np.isnan(flow.profile("log_gain")).all()
