"""The zoo in bfloat16, with its batch over eight devices, with its parameters over several.

Beside the plain program stands one with a zero added by hand on both sides of every site: the
gradients of these zeros are δz and δa, whose norms and zeros are what the flow must say.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from zoo import ZOO

from jgrad import probes
from jgrad.probes._interpret import run
from jgrad.probes._plan import plan
from jgrad.probes._probe import trace_call

pytestmark = pytest.mark.loose_promotion

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
#: place → the mesh; the batch lies along its first axis, parameters along its last
PLACES = {"one device": (), "batch": (8, 1), "parameters": (4, 2)}


@pytest.fixture
def of_dtype(monkeypatch):
    """A program's loss and arguments, all its numbers of a dtype."""

    def get(name, dtype):
        cast = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
        for constant in ("X", "W", "WS", "B"):
            monkeypatch.setattr(zoo, constant, cast(getattr(zoo, constant)))
        loss, args, expected = ZOO[name]
        return loss, jax.tree.map(cast, jax.tree.map(jnp.asarray, args)), expected

    return get


def placed(args, mesh):
    """The first argument with its last axis over the mesh's last, the others with their first."""

    def put(x, axis, along):
        spec = [None] * x.ndim
        if x.ndim and x.shape[axis] % mesh.shape[along] == 0:
            spec[axis] = along
        return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*spec)))

    params = jax.tree.map(lambda x: put(x, -1, "model"), args[0])
    return params, *jax.tree.map(lambda x: put(x, 0, "batch"), args[1:])


def perturbed(loss, args):
    """Each site's δz and δa, [*steps, *shape], of zeros added by hand."""
    graph, _ = trace_call(loss, args)
    active = [k == 0 for k, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
    whole, sites, _ = plan(graph, active)

    def at_site(index, found, phi, z, params, zeros):
        del index, found
        a = phi(z + zeros[0].astype(z.dtype), params)
        return a + zeros[1].astype(a.dtype)

    def with_zeros(zeros):
        (value,) = run(whole, at_site, jax.tree.leaves(args), dict(enumerate(zeros)))
        return value

    zeros = [(jnp.zeros((*site.steps, *site.shape)),) * 2 for site in sites]
    deltas = jax.jit(jax.grad(with_zeros))(zeros)
    return [[np.asarray(d, np.float64) for d in of_site] for of_site in deltas]


def close(got, wanted, ulps):
    """Alike to so many units of the largest of all numbers: what cancels is no smaller error."""
    leaves = [[np.asarray(x, np.float64) for x in jax.tree.leaves(tree)] for tree in (got, wanted)]
    largest = max(np.max(np.abs(x), initial=0) for x in leaves[1])
    for a, b in zip(*leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=ulps * largest)


QUICK = {
    ("gru_over_time", "bfloat16", "batch"),
    ("rematerialised_scan", "bfloat16", "parameters"),
    ("layer_norm_by_moments", "float32", "parameters"),
    ("one_branch", "bfloat16", "one device"),
    ("prelu_by_channel", "float32", "batch"),
}
CASES = [
    pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
    for case in ((name, dtype, place) for name in ZOO for dtype in DTYPES for place in PLACES)
]


@pytest.mark.parametrize(("name", "format", "place"), CASES)
def test_the_same_everywhere(name, format, place, of_dtype):
    dtype = DTYPES[format]
    loss, args, expected = of_dtype(name, dtype)
    if place != "one device" and len(jax.devices()) < 8:
        pytest.skip("fewer than 8 devices")
    plain = jax.jit(jax.value_and_grad(loss))(*args)
    deltas = perturbed(loss, args)
    probed = jax.jit(probes.value_grad_and_flow(loss))
    if place == "one device":
        *got, flow = probed(*args)
    else:
        mesh = jax.make_mesh(PLACES[place], ("batch", "model"), axis_types=(AxisType.Auto,) * 2)
        *got, flow = probed(*placed(args, mesh))
    assert [(s.activation, s.shape, s.steps) for s in flow.sites] == expected
    # Sums are taken in another order, and in bfloat16 XLA rounds where it likes.
    is_fine = format == "float32" and name != "mixed_precision"
    eps = float(jnp.finfo(jnp.float32 if is_fine else jnp.bfloat16).eps)
    close(got, plain, (32 if is_fine else 16) * eps)
    rtol = 1e-4 if is_fine else 0.05
    for key, (dz, da) in zip(flow, deltas, strict=True):
        site, axes = flow[key], tuple(range(len(flow[key].site.steps), dz.ndim))
        with np.errstate(divide="ignore"):
            norms = [np.log(np.sqrt((d**2).sum(axes))) for d in (dz, da)]
        np.testing.assert_allclose(site.log_dz, norms[0], rtol=0, atol=rtol)
        np.testing.assert_allclose(site.log_da, norms[1], rtol=0, atol=rtol)
        if dz.size and np.all(site.count):
            np.testing.assert_allclose(site.count, np.prod(site.site.shape))
            zeros = (dz == 0).mean(axes)
            # Where rounding decides whether a gradient is zero, one more or less is no error.
            off = 0 if is_fine else 2 / site.site.size
            np.testing.assert_allclose(site.zero_gradient_share, zeros, rtol=1e-6, atol=off)


@pytest.mark.parametrize("name", ZOO)
def test_sites_are_the_same_in_bfloat16(name, of_dtype):
    loss, args, expected = of_dtype(name, jnp.bfloat16)
    found = probes.sites(loss)(*args)
    assert [(s.activation, s.shape, s.steps) for s in found] == expected
