"""No spurious zero, NaN, infinity or sign in the tails of φ, φ', φ'': every activation, by mpmath.

The prime activations are held to ulps elsewhere; here the bound is a relative error of 1e-3, at
points where the truth is a normal number by a margin of 2¹⁶.
"""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from formulas import FORMULAS, MPMATH

from jgrad.activations import CATALOG, slope, traits

TINY, MAX = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
NEAR = [1e-12, 3.1e-9, 2.3e-7, 4.7e-5, 1.1e-3, 0.013, 0.11, 0.29, 0.53, 0.7, 0.93, 1.3, 1.73]
NEAR += [
    2.1,
    2.6,
    3.2,
    3.7,
    4.3,
    5.2,
    6.4,
    7.9,
    9.7,
    12.3,
    16.1,
    21.7,
    30.3,
    43.1,
    55.7,
    80.9,
    90.1,
]
FAR = [1e3, 3.1e4, 1e7, 1e12, 1e19, 3e25]
#: mpmath cannot take e^(e^1000); what oscillates has no tail.
NO_FAR = {"tanh_exp", "gish", "golu", "log_log", "serf", "soft_root_sign"}
NO_FAR |= {"sin", "gcu", "snake", "sinlu"}
#: φ'' of the Padé unit is below 1e-12 there, and cancels to that in float32.
CANCELS = {("rational", 2): 1e4}


def _points(name):
    points = np.float32(NEAR if name in NO_FAR else [*NEAR, *FAR])
    points = np.concatenate([-points[::-1], points])
    for kink in traits(name).kinks:
        points = points[np.abs(points - kink) > 1e-3]
    return points


SLOW = pytest.mark.slow


@pytest.mark.parametrize("order", [pytest.param(0, marks=SLOW), 1, pytest.param(2, marks=SLOW)])
@pytest.mark.parametrize("name", list(CATALOG))
def test_tails(name, order):
    points = _points(name)
    points = points[np.abs(points) < CANCELS.get((name, order), np.inf)]
    found = np.asarray(jax.jit(slope(CATALOG[name], order))(jnp.asarray(points)), np.float64)
    with mp.workdps(60):
        formula = lambda x: FORMULAS[name](MPMATH, x)  # noqa: E731
        truth = [mp.mpf(mp.diff(formula, mp.mpf(float(x)), order)) for x in points]
    assert np.isfinite(found).all() or max(abs(t) for t in truth) > MAX / 4
    for x, f, t in zip(points, found, truth, strict=True):
        if TINY * 2**16 <= abs(t) <= MAX / 4:
            assert abs(f - float(t)) <= 1e-3 * abs(float(t)), (x, f, float(t))
        elif abs(t) < TINY * 2**16:
            assert abs(f) <= TINY * 2**18, (x, f, float(t))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", list(CATALOG))
def test_half_precision_is_float32_rounded_once(name, dtype):
    x = jnp.asarray([-5e4, -300.0, -90.0, -20.0, -11.5, -1.0, 0.5, 11.5, 90.0, 300.0, 5e4], dtype)
    phi = CATALOG[name]
    for order in (0, 1):
        f = jax.jit(slope(phi, order))
        wanted = np.asarray(f(x.astype(jnp.float32)).astype(dtype)).astype(np.float32)
        found = np.asarray(f(x)).astype(np.float32)
        assert not np.isnan(found).any()
        np.testing.assert_allclose(found, wanted, rtol=2 * float(jnp.finfo(dtype).eps))
