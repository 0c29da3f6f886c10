"""Duals: closed forms against quadrature, near c = 1 too, and the traced forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import activations, theory
from jgrad.theory import traceable

PAIRS = [(1.0, 1.0, 0.5), (1.5, 0.7, -0.8), (2.0, 2.0, 1.99999), (1.0, 1.0, 1.0), (3.0, 8.0, 0.1)]

PLAIN = {
    "identity": lambda x: x,
    "relu": lambda x: jnp.maximum(x, 0.0),
    "leaky_relu": lambda x: jnp.maximum(x, 0.01 * x),
    "abs": lambda x: jnp.abs(x),
    "step": lambda x: jnp.where(x > 0, 1.0, 0.0) + 0.0 * x,
    "sign": lambda x: jnp.sign(x),
    "erf": lambda x: jax.lax.erf(x),
    "sin": lambda x: jnp.sin(x),
    "cos": lambda x: jnp.cos(x),
    "exponential": lambda x: jnp.exp(x),
    "gaussian": lambda x: jnp.exp(-x * x),
    "square": lambda x: x * x,
    "gelu": lambda x: 0.5 * x * jax.lax.erfc(-x * 0.5**0.5),
}


@pytest.mark.parametrize("name", traceable.DUALS)
def test_closed_forms_against_quadrature(name):
    by_quadrature = theory.dual(PLAIN[name])
    for q in PAIRS:
        with jax.enable_x64(True):
            closed = [float(v) for v in traceable.DUALS[name](*q)]
        assert by_quadrature(*q) == pytest.approx(closed, rel=1e-10, abs=1e-12), q


@pytest.mark.parametrize("name", [n for n in traceable.DUALS if n in activations.CATALOG])
def test_a_closed_form_is_of_the_catalogue_entry_of_its_name(name):
    x = jnp.linspace(-3.1, 2.9, 23)
    np.testing.assert_allclose(activations.get(name)(x), PLAIN[name](x), rtol=2e-6, atol=1e-6)


@pytest.mark.slow
def test_traced_quadrature():
    # mish has neither closed form nor kink; softsign has a kink.
    for name in ("mish", "soft_sign"):
        got = jax.jit(traceable.dual(name))(1.5, 0.7, 0.4)
        assert got[0].dtype == jnp.float32
        assert [float(v) for v in got] == pytest.approx(theory.dual(name)(1.5, 0.7, 0.4), rel=3e-6)
    batched = jax.vmap(traceable.dual("mish"), (None, None, 0))(1.0, 1.0, jnp.array([0.2, -0.5]))
    assert float(batched[0][1]) == pytest.approx(theory.dual("mish")(1.0, 1.0, -0.5)[0], rel=1e-5)
    with jax.enable_x64(True):
        # Price: ∂K/∂q12 = K'.
        k, k_slope = traceable.dual("mish"), theory.dual("mish")(1.5, 0.7, 0.4)[1]
        assert float(jax.grad(lambda c: k(1.5, 0.7, c)[0])(0.4)) == pytest.approx(k_slope, rel=1e-9)


@pytest.mark.slow
def test_traced_maps_and_their_derivatives():
    with jax.enable_x64(True):
        q = traceable.fixed_variance("tanh")
        point = theory.fixed_point("tanh", 1.7, 0.2)
        assert float(q(1.7, 0.2)) == pytest.approx(point.q, rel=1e-9)
        step = 1e-4
        ends = [theory.fixed_point("tanh", 1.7 + s, 0.2).q for s in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float(jax.grad(q)(1.7, 0.2)) == pytest.approx(slope, rel=1e-6)
        assert float(traceable.chi("elu")(0.9, 1.2)) == pytest.approx(
            1.44 * theory.average("elu", 0.9, lambda at: at.slope**2)[0], rel=1e-9
        )
        layer = traceable.variance_map("relu6")
        expected = theory.variance_map("relu6", 1.1, 0.3)(2.5)
        assert float(layer(2.5, 1.1, 0.3)) == pytest.approx(expected, rel=1e-9)
        turn = theory.fixed_point("tanh", 1.7, 0.2).chi_q
        got = jax.grad(traceable.variance_map("tanh"))(point.q, 1.7, 0.2)
        assert float(got) == pytest.approx(turn, rel=1e-8)


@pytest.mark.slow
def test_traced_forms_of_a_user_s_function():
    def phi(x):
        return jnp.clip(x, -0.7, 1.1) + 0.3 * jnp.abs(x - 2)

    with jax.enable_x64(True):
        # Kinks are found; forms are differentiated in all their arguments, jitted and vmapped.
        steep = theory.average(phi, 1.3, lambda at: at.slope**2)[0]
        assert float(traceable.chi(phi)(1.3, 1.1)) == pytest.approx(1.21 * steep, rel=1e-12)
        q = jnp.array([0.5, 2.0])
        layer = jax.vmap(jax.grad(traceable.variance_map(phi), (0, 1, 2)), (0, None, None))
        got = np.stack([np.broadcast_to(g, 2) for g in jax.jit(layer)(q, 1.2, 0.3)])
        step = 1e-5
        for k in range(2):
            for row, (a, b, c) in enumerate(np.eye(3) * step):
                ends = [
                    theory.variance_map(phi, 1.2 + s * b, 0.3 + s * c)(float(q[k]) + s * a)
                    for s in (1, -1)
                ]
                expected = (ends[0] - ends[1]) / (2 * step)
                assert got[row, k] == pytest.approx(expected, rel=1e-7)

        # In a parameter of φ itself, E max(x, ax)² = q (1 + a²)/2; its kink is the caller's.
        def of_slope(a):
            return traceable.variance_map(lambda x: jnp.where(x > 0, x, a * x), kinks=(0.0,))(
                2.0, 1.0, 0.0
            )

        assert float(jax.grad(of_slope)(0.2)) == pytest.approx(0.4, rel=1e-9)

        # And twice, through the fixed point.
        fixed = traceable.fixed_variance("tanh")
        curvature = jax.jacfwd(jax.grad(fixed))(1.7, 0.2)
        step = 1e-3
        ends = [theory.fixed_point("tanh", 1.7 + s, 0.2).q for s in (step, 0.0, -step)]
        expected = (ends[0] - 2 * ends[1] + ends[2]) / step**2
        assert float(curvature) == pytest.approx(expected, rel=1e-4)


def test_no_covariance():
    for q in ((1.0, 1.0, 1.1), (0.0, 1.0, 0.0), (1.0, -2.0, 0.1)):
        with pytest.raises(ValueError, match="no covariance"):
            theory.dual("tanh")(*q)
