"""Every measure equals NumPy's on an explicitly perturbed copy; counts are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import probes
from jgrad.probes import _sums
from jgrad.probes._packed import log_norm, norm, pack, read_count
from jgrad.probes._sums import DOWN, UP, Apart, Squares, Units, sums

pytestmark = pytest.mark.loose_promotion

# Sixteen examples, so that eight devices hold two each; relu, then a PReLU of two slopes.
X = jax.random.normal(jax.random.key(0), (16, 5))
W1 = 0.7 * jax.random.normal(jax.random.key(1), (5, 6))
W2 = 0.7 * jax.random.normal(jax.random.key(2), (6, 3))
SLOPES = jnp.array([0.125, 0.25, 0.5])
THRESHOLD = 0.2


def perturbed(params, x, at_z1, at_a1, at_z2, at_a2, at_z3, at_a3):
    w1, w2, slopes = params
    a1 = jax.nn.relu(x @ w1 + at_z1) + at_a1
    z2 = a1 @ w2 + at_z2
    a2 = jnp.where(z2 > 0, z2, slopes * z2) + at_a2
    # No tanh here is near 1: whether it rounds to 1 differs from program to program.
    z3 = 0.7 * (a2 @ jnp.eye(3, 4, dtype=x.dtype)) + at_z3
    a3 = jnp.tanh(z3) + at_a3
    return jnp.mean(a3**3) * 0.01, (x @ w1 + at_z1, a1, z2, a2, z3, a3)


def loss(params, x):
    return perturbed(params, x, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)[0]


def by_hand(dtype):
    """z, a, φ', δa, δz of each site in float64, and the program's own rounding of them."""
    params, x = jax.tree.map(lambda v: v.astype(dtype), ((W1, W2, SLOPES), X))
    shapes = ((16, 6), (16, 6), (16, 3), (16, 3), (16, 4), (16, 4))
    zeros = [jnp.zeros(shape, dtype) for shape in shapes]
    grads, seen = jax.grad(perturbed, tuple(range(2, 8)), has_aux=True)(params, x, *zeros)
    dz1, da1, dz2, da2, dz3, da3 = (np.asarray(g, np.float64) for g in grads)
    z1, a1, z2, a2, z3, a3 = (np.asarray(v, np.float64) for v in seen)
    slopes = np.asarray(params[2], np.float64)
    return [
        (z1, a1, (z1 > 0) * 1.0, da1, dz1),
        (z2, a2, np.where(z2 > 0, 1, slopes), da2, dz2),
        (z3, a3, 1 - a3**2, da3, dz3),
    ]


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_every_measure(dtype, devices, monkeypatch):
    with jax.enable_x64(dtype == jnp.float64):
        check_every_measure(dtype, devices, monkeypatch)


def check_every_measure(dtype, devices, monkeypatch):
    params, x = jax.tree.map(lambda v: v.astype(dtype), ((W1, W2, SLOPES), X))
    if devices > len(jax.devices()):
        pytest.skip(f"fewer than {devices} devices")
    if devices > 1:
        mesh = jax.make_mesh((devices,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
        x = jax.device_put(x, jax.NamedSharding(mesh, jax.P("batch")))
    else:  # sums as on a machine with one device, in all their stages
        monkeypatch.setattr(jax, "device_count", lambda: 1)
        monkeypatch.setattr(_sums, "_FEW", 8)
        monkeypatch.setattr(_sums, "_FEW_IN_MEMORY", 16)
    without = [name for name in probes.MEASURES if name != "saturated"]
    measures = [*without, probes.saturated(THRESHOLD)]
    flow = jax.jit(probes.gradient_flow(loss, measures=measures))(params, x)
    assert len(flow) == 3
    rtol = 0.03 if dtype == jnp.bfloat16 else 2e-5

    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-6, np.max(np.abs(b))))

    def counted(share, mask):
        assert round(float(share) * mask.size) == mask.sum()

    for key, (z, a, slope, da, dz) in zip(flow, by_hand(dtype), strict=True):
        site = flow[key]
        assert float(site.count) == z.size
        for name, values in {"z": z, "a": a, "slope": slope}.items():
            size = rtol * np.abs(values).mean()
            np.testing.assert_allclose(getattr(site, f"{name}_mean"), values.mean(), atol=size)
            close(getattr(site, f"{name}_second"), (values**2).mean())
        for name, values in {"da": da, "dz": dz}.items():
            size = rtol * np.abs(values).mean()
            np.testing.assert_allclose(getattr(site, f"{name}_mean"), values.mean(), atol=size)
            close(getattr(site, f"log_{name}"), np.log(np.linalg.norm(values)))
        counted(site.zero_slope_share, (slope == 0))
        counted(site.zero_gradient_share, (dz == 0))
        assert np.asarray(site.dead).tolist() == (slope == 0).all(0).tolist()
        assert np.asarray(site.unfed).tolist() == (dz == 0).all(0).tolist()
        assert float(site.nonfinite) == 0
        counted(site.saturated_share, np.abs(slope) < THRESHOLD)
        # Of z, where the program's own slope of tanh is lost to rounding.
        logs = (
            -2 * np.log(np.cosh(z)) if site.site.activation == "tanh" else np.log(slope[slope > 0])
        )
        close(site.mean_log_slope, logs.mean())
        counted(site.unreached_share, (da == 0))
        lost = (dz == 0) & (da != 0) & (slope != 0)
        counted(site.underflowed_share, lost)
        for form in ("float16", "float8_e4m3", "float8_e5m2"):
            least = float(jnp.finfo(form).smallest_normal)
            below = (np.abs(dz) < least) & (dz != 0)
            counted(site.below_share(form), below)
        if dtype == jnp.float32:
            noise = dz.var(0)
            signal = np.divide(
                dz.mean(0) ** 2, noise, where=noise > 0, out=np.full_like(noise, np.nan)
            )
            np.testing.assert_allclose(site.signal_to_noise, signal, rtol=1e-3, atol=1e-6)
    prelu = next(site for site in flow.values() if site.site.traced)
    close(prelu.parameter, float(SLOPES.mean()))


def test_below_each_format():
    sizes = jnp.array([2.0**-5, 2.0**-7, 2.0**-13, 2.0**-15, 2.0**-100, 0.0])
    flow = probes.gradient_flow(lambda x: jnp.sum(jnp.tanh(x) * sizes), measures=["below"])
    (site,) = flow(jnp.zeros(6)).values()
    shares = [site.below_share(form) for form in ("float8_e4m3", "float8_e5m2", "float16")]
    np.testing.assert_allclose(shares, [4 / 6, 2 / 6, 2 / 6], rtol=1e-6)
    with pytest.raises(ValueError, match="unknown format 'float17'; did you mean 'float16'"):
        site.below_share("float17")


def test_names_of_sums_are_used_once():
    measures = ["saturated", probes.saturated(0.5)]
    with pytest.raises(ValueError, match="two of the measures name a sum 'saturated'"):
        probes.gradient_flow(lambda x: jnp.sum(jnp.tanh(x)), measures=measures)(jnp.ones(3))


@pytest.mark.parametrize("shape", [(), (1,), (7,), (16, 6), (257, 3), (2, 6, 10, 4), (512, 24)])
@pytest.mark.parametrize("devices", [1, 8])
def test_sums_of_any_shape(shape, devices, monkeypatch):
    # How rows are grouped depends on the number of devices; the sums must not.
    monkeypatch.setattr(_sums.jax, "device_count", lambda: devices)
    monkeypatch.setattr(_sums, "_FEW", 8)
    x = jax.random.normal(jax.random.key(3), shape)
    unit_axis = -2 if len(shape) == 4 else -1
    terms = {"x": x, "up": x > 0, "unit": Units(x), "live": Units(x > 0), "norm": Squares(x)}
    terms |= {"apart": Apart(Units(x**2))}
    out = jax.jit(lambda terms: pack({"": sums(terms, unit_axis)}))(terms)[""]
    host = np.moveaxis(np.atleast_1d(np.asarray(x, np.float64)), unit_axis, -1)
    by_unit = host.reshape(-1, host.shape[-1])
    np.testing.assert_allclose(out["x"], host.sum(), rtol=1e-5, atol=1e-5 * host.size**0.5)
    np.testing.assert_allclose(out["unit"], by_unit.sum(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(out["apart"], (by_unit**2).sum(0), rtol=1e-5)
    assert float(read_count(out["up"], 0)) == (host > 0).sum()
    assert np.asarray(read_count(out["live"], 0)).tolist() == (by_unit > 0).sum(0).tolist()
    np.testing.assert_allclose(norm(out["norm"]), np.linalg.norm(host), rtol=1e-6)


def test_forward_derivatives_of_sums():
    x, t = jax.random.normal(jax.random.key(4), (2, 48, 6))

    def mean_of(x):
        out = pack({"": sums({"x": x**3, "count": x > 0, "unit": Units(Squares(x))})})[""]
        return out["x"], out["unit"], out["count"]

    _, (d_x, d_unit, _) = jax.jvp(mean_of, (x,), (t,))
    np.testing.assert_allclose(d_x, jnp.sum(3 * x**2 * t), rtol=1e-5)
    whole = d_unit[0] * 2.0 ** (-2 * UP) + d_unit[1] * 2.0 ** (-2 * DOWN)
    np.testing.assert_allclose(whole, jnp.sum(2 * x * t, axis=0), rtol=1e-4, atol=1e-5)
    many = jax.vmap(mean_of)(jnp.stack([x, t, -x]))
    np.testing.assert_allclose(many[0][1], jnp.sum(t**3), rtol=1e-5)


@pytest.mark.parametrize("exponent", range(-105, 111, 27))
def test_norms_from_1e_minus_34_to_1e_34(exponent):
    x = jax.random.normal(jax.random.key(5), (20, 6)) * 2.0**exponent
    twice = jnp.concatenate([x, 0.25 * x])
    host = np.asarray(x, np.float64)
    out = {
        name: jnp.stack(sums({"": Squares(y)})[""])
        for name, y in {"one": x, "twice": twice}.items()
    }
    np.testing.assert_allclose(log_norm(out["one"]), np.log(np.linalg.norm(host)), rtol=1e-6)
    np.testing.assert_allclose(norm(out["one"]), np.linalg.norm(host), rtol=1e-5)
    added = out["twice"] + out["one"]
    wanted = np.log(np.linalg.norm(host)) + 0.5 * np.log(2 + 1 / 16)
    np.testing.assert_allclose(log_norm(added), wanted, rtol=1e-6)


def test_norms_of_mixed_sizes():
    x = jnp.array([2.0**-124, 2.0**-70, 3e-10, 1e-6, 0.0])
    host = np.asarray(x, np.float64)
    np.testing.assert_allclose(
        norm(jnp.stack(sums({"": Squares(x)})[""])), np.linalg.norm(host), rtol=1e-6
    )
    x = jnp.array([1e34, 1e25, 1.0, -3e33])
    host = np.asarray(x, np.float64)
    np.testing.assert_allclose(
        norm(jnp.stack(sums({"": Squares(x)})[""])), np.linalg.norm(host), rtol=1e-6
    )
    assert not np.isfinite(norm(jnp.stack(sums({"": Squares(jnp.array([1.0, jnp.nan]))})[""])))
    assert float(norm(jnp.stack(sums({"": Squares(jnp.zeros(3))})[""]))) == 0.0


def test_one_element_in_a_billion_is_not_lost_in_a_share():
    flow = probes.gradient_flow(lambda x: jnp.sum(jax.nn.relu(x)))(
        jnp.ones((64, 4096)).at[3, 5].set(-1.0)
    )
    passes = 4095  # each sum exact, however often it is added
    many = jax.tree.map(lambda sum_: sum_ * passes, flow)
    (site,) = many.values()
    assert float(site.count) == 64 * 4096 * passes
    np.testing.assert_allclose(site.zero_slope_share, 1 / (64 * 4096), rtol=1e-6)


def test_counts_of_one_pass_past_two_to_the_24():
    n = 2**24 + 8
    mask = jnp.ones((n // 8, 8), bool).at[5, 2].set(False)
    terms = {"all": mask, "unit": Units(mask)}
    out = jax.jit(lambda terms: pack({"": sums(terms)}))(terms)[""]
    low, high = np.asarray(out["all"], np.int64)
    assert low + 4096 * high == n - 1
    assert np.asarray(read_count(out["unit"], 0)).tolist() == [n // 8 - (k == 2) for k in range(8)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_one_device_sums_as_many_do_in_all_that_encloses_sites(monkeypatch, dtype):
    def loss(w, x):
        x = jax.checkpoint(lambda x: jnp.tanh(x @ w))(x)
        x, _ = jax.lax.scan(lambda x, _: (jax.nn.gelu(x @ w), None), x, length=3)
        x = jax.lax.cond(x[0, 0] > 0, jax.nn.silu, jax.nn.softplus, x)
        return jnp.sum(jax.vmap(lambda row: jnp.sin(w @ row))(x)).astype(jnp.float32)

    with jax.enable_x64(dtype == "float64"):
        w, x = W1[:, :5].astype(dtype), X.astype(dtype)
        flows = []
        for devices in (1, 8):
            monkeypatch.setattr(jax, "device_count", lambda devices=devices: devices)
            flows.append(jax.jit(probes.gradient_flow(loss, measures="all"))(w, x))
        here, spread = flows
        assert list(here) == list(spread)
        assert len(here) == 5
        rtol = 2e-2 if dtype == "bfloat16" else 2e-4
        for key in here:
            for name, sum_ in here.sums[key].items():
                wanted = np.asarray(spread.sums[key][name])
                atol = rtol * np.max(np.abs(wanted))
                np.testing.assert_allclose(
                    sum_, wanted, rtol=rtol, atol=atol, err_msg=f"{key} {name}"
                )
