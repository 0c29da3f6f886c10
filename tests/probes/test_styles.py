"""Models of many styles: their activations and nothing else, and the plain value and gradients."""

import jax
import numpy as np
import pytest
from styles import STYLES

from jgrad import probes

pytestmark = pytest.mark.loose_promotion

# These pass over, on request, what has a derivative of its own.
ALLOWED = ("deep_equilibrium",)


def probed(name):
    loss, args, expected = STYLES[name]
    opaque = "allow" if name in ALLOWED else "raise"
    return loss, args, expected, probes.value_grad_and_flow(loss, opaque=opaque)


def written(site):
    steps = f" in {'x'.join(map(str, site.steps))}" if site.steps else ""
    return f"{site.activation} {'x'.join(map(str, site.shape))}{steps}"


# These hold derivatives, and each JAX writes the slope of tanh in its own way: as a function of z
# with no name, or as none.
SLOPES = ("physics_informed", "inner_gradient_step")


@pytest.mark.parametrize("name", STYLES)
def test_sites_are_those_of_the_table(name):
    _, args, expected, fn = probed(name)
    _, _, flow = jax.eval_shape(fn, *args)
    found = list(map(written, flow.sites))
    if name in SLOPES:
        found, expected = ([s for s in sites if "custom" not in s] for sites in (found, expected))
    assert found == expected


QUICK = ("selective_scan", "u_net", "actor_critic", "inner_gradient_step")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in STYLES]
)
def test_value_and_gradients_are_the_plain_ones(name):
    loss, args, _, fn = probed(name)
    value, grads, flow = jax.jit(fn)(*args)
    plain_value, plain_grads = jax.jit(jax.value_and_grad(loss))(*args)
    np.testing.assert_array_equal(value, plain_value)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(plain_grads), strict=True):
        largest = np.max(np.abs(b), initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=4 * np.finfo(np.float32).eps * largest)
    assert all(np.isfinite(site.log_gain).all() for site in flow.values())


def test_what_has_its_own_derivative_is_refused_by_name():
    loss, args, _ = STYLES["deep_equilibrium"]
    with pytest.raises(ValueError, match=r"custom_vjp_call \(styles.py:.*holds tanh"):
        jax.eval_shape(probes.gradient_flow(loss), *args)
