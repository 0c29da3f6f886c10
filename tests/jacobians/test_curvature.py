import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jgrad import jacobians


def loss(p, a):
    return jnp.sum(jnp.tanh(p["w"] @ a + p["b"]) ** 2)


@pytest.fixture(name="at")
def _at():
    generator = np.random.default_rng(0)
    p = {
        "w": jnp.asarray(generator.normal(size=(7, 5)).astype(np.float32)),
        "b": jnp.ones(7),
    }
    return p, jnp.linspace(-1.0, 1.0, 5)


def eigenvalues(p, a):
    with jax.enable_x64(True):
        p = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float)), p)
        flat, unravel = ravel_pytree(p)
        a = jnp.asarray(np.asarray(a, float))
        return np.linalg.eigvalsh(jax.hessian(lambda v: loss(unravel(v), a))(flat))[::-1]


@pytest.mark.parametrize("smallest", [False, True])
def test_against_numpy_and_within_the_bound(at, smallest):
    found = jax.jit(jacobians.hessian_eigenvalues(loss, 3, smallest=smallest))(*at)
    want = eigenvalues(*at)[-3:] if smallest else eigenvalues(*at)[:3]
    assert (np.abs(found.value - want) <= found.error).all()
    np.testing.assert_allclose(found.value, want, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("smallest", [False, True])
def test_more_parameters_than_steps(smallest):
    generator = np.random.default_rng(3)
    p = {"w": jnp.asarray(generator.normal(size=(25, 5)).astype(np.float32)), "b": jnp.ones(25)}
    a = jnp.linspace(-1.0, 1.0, 5)
    found = jax.jit(jacobians.hessian_eigenvalues(loss, 2, smallest=smallest))(p, a)
    want = eigenvalues(p, a)[-2:] if smallest else eigenvalues(p, a)[:2]
    assert (np.abs(found.value - want) <= found.error).all()
    np.testing.assert_allclose(found.value, want, rtol=1e-5)


def test_sharpness_bounds_the_learning_rate():
    """Gradient descent on a quadratic: 2/λ is where it turns from shrinking to growing."""
    h = np.diag([4.0, 1.5, 0.3]).astype(np.float32)

    def quadratic(w):
        return 0.5 * w @ jnp.asarray(h) @ w

    w = jnp.array([1.0, -2.0, 0.5])
    bound = float(jacobians.max_stable_learning_rate(quadratic)(w))
    assert bound == pytest.approx(0.5, rel=1e-5)
    for rate, shrinks in [(0.99 * bound, True), (1.01 * bound, False)]:
        v = np.array(w, float)
        for _ in range(2000):
            v = v - rate * (h @ v)
        assert (np.abs(v).max() < 1e-3) == shrinks


def test_nowhere_convex_and_nan():
    rate = jacobians.max_stable_learning_rate
    assert jnp.isinf(rate(lambda w: -jnp.sum(w**2))(jnp.ones(3)))
    assert jnp.isnan(rate(lambda w: jnp.sum(jnp.sin(w)))(jnp.array([1.0, jnp.nan])))


def test_under_vmap(at):
    p, a = at
    some = jnp.stack([a, 2 * a])
    got = jax.jit(jax.vmap(jacobians.sharpness(loss), (None, 0)))(p, some)
    np.testing.assert_allclose(got, [eigenvalues(p, a)[0], eigenvalues(p, 2 * a)[0]], rtol=1e-5)


# --- Losses with fewer derivatives than it takes --------------------------------------------------


def called_back(v):
    return jax.pure_callback(np.cos, jax.ShapeDtypeStruct(v.shape, v.dtype), v)


@jax.custom_vjp
def once(v):
    """A sum of squares whose gradient cannot be differentiated."""
    return jnp.sum(v**2)


once.defvjp(lambda v: (jnp.sum(v**2), v), lambda v, u: (u * called_back(v),))


def looped(v):
    """Forward mode only: the bound is traced."""
    return jax.lax.while_loop(
        lambda c: c[0] < v[0], lambda c: (c[0] + 1, c[1] / 2), (jnp.zeros(()), jnp.sum(v**2))
    )[1]


@pytest.mark.parametrize(
    ("unfit", "words"),
    [
        (
            lambda v: jnp.sum(v > 0),
            r"the loss's output is int32\[\]: the loss is not differentiable",
        ),
        (lambda v: jnp.sum(v).astype(complex), r"the loss's output is complex64\[\]"),
        (lambda v: jnp.sum(called_back(v)), "the loss is not differentiable: Pure callbacks"),
        (looped, "the loss is not differentiable in reverse: .*while_loop"),
        (once, "the gradient of the loss is not differentiable: Pure callbacks"),
    ],
)
def test_what_has_no_second_derivative_says_so(unfit, words):
    for function in (jacobians.sharpness, jacobians.max_stable_learning_rate):
        with pytest.raises(TypeError, match=words):
            function(unfit)(jnp.array([0.3, 0.5, 1.2]))


@jax.custom_vjp
def cosine(v):
    return jnp.cos(v)


cosine.defvjp(lambda v: (jnp.cos(v), v), lambda v, u: (-u * jnp.sin(v),))


@jax.custom_vjp
def backwards(v):
    """The sum of sin, whose gradient too has reverse mode alone."""
    return jnp.sum(jnp.sin(v))


backwards.defvjp(lambda v: (jnp.sum(jnp.sin(v)), v), lambda v, u: (u * cosine(v),))


def test_a_hessian_by_reverse_mode_alone():
    v = jnp.linspace(-3.0, 2.0, 9)
    want = np.sort(-np.sin(np.asarray(v, float)))[::-1]
    dense = jacobians.hessian_eigenvalues(backwards, 2)(v)
    np.testing.assert_allclose(dense.value, want[:2], rtol=1e-5)
    few = jacobians.hessian_eigenvalues(backwards, 2, steps=8)(v)
    assert (np.abs(np.asarray(few.value)[:, None] - want).min(axis=1) <= few.error).all()


def test_a_loss_that_does_not_see_its_parameters():
    assert jacobians.sharpness(lambda v: 3.0)(jnp.ones(4)) == 0


# --- Half precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("steps", [None, 8])
def test_half_precision_goes_in_and_float32_comes_out(dtype, steps):
    seen = []

    def bowl(w):
        seen.append(w.dtype)
        return jnp.sum(jnp.arange(1, 13, dtype=w.dtype) * jnp.sin(w) ** 2)

    w = jnp.linspace(-0.2, 0.1, 12)
    sharp = jacobians.sharpness(bowl, steps=steps)(w.astype(dtype))
    rate = jacobians.max_stable_learning_rate(bowl, steps=steps)(w.astype(dtype))
    assert set(seen) == {jnp.dtype(dtype)}
    assert sharp.dtype == rate.dtype == jnp.float32
    want = 2 * (np.arange(1, 13) * np.cos(2 * np.asarray(w, float))).max()
    np.testing.assert_allclose(sharp, want, rtol=4 * float(jnp.finfo(dtype).eps))
    np.testing.assert_allclose(rate, 2 / sharp, rtol=1e-6)


def test_parameters_of_two_dtypes():
    p = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.arange(1.0, 4.0)}

    def mixed(p):
        return jnp.sum(p["a"].astype(jnp.float32) ** 2 * p["b"] ** 2) / 2

    # Blocks [[b², 2ab], [2ab, a²]], a = 1.
    want = max(np.linalg.eigvalsh([[b * b, 2 * b], [2 * b, 1]])[1] for b in (1, 2, 3))
    np.testing.assert_allclose(jacobians.sharpness(mixed)(p), want, rtol=1e-2)


def test_wrong_input(at):
    p, a = at
    with pytest.raises(ValueError, match=r"the loss is \(7,\); wanted a scalar"):
        jacobians.sharpness(lambda p, a: p["b"])(p, a)
    with pytest.raises(ValueError, match="number of parameters"):
        jacobians.hessian_eigenvalues(loss, 43)(p, a)
    with pytest.raises(TypeError, match=r"params\[b\] is int32\[7\]"):
        jacobians.sharpness(loss)({**p, "b": jnp.ones(7, int)}, a)
