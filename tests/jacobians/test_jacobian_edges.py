"""Sizes of zero, half precision, functions with one mode or none, NaN, wrong numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians
from jgrad.jacobians._inputs import whole


def called_back(v):
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(v.shape, v.dtype), v)


@jax.custom_vjp
def doubled(v):
    """sin, whose derivative is said to be 2 cos: reverse mode only."""
    return jnp.sin(v)


doubled.defvjp(lambda v: (jnp.sin(v), v), lambda v, u: (2 * u * jnp.cos(v),))


def looped(v):
    """Forward mode only: the bound is traced."""
    return jax.lax.while_loop(
        lambda c: c[0] < v[0], lambda c: (c[0] + 1, jnp.sin(c[1])), (jnp.zeros(()), v)
    )[1]


def driven(f):
    return lambda x: jacobians.lyapunov_exponents(lambda h, u: f(h + u))(
        x, jnp.ones((len(x), 30, x.shape[1]), x.dtype)
    )


def summed(f):
    return lambda x: jacobians.max_stable_learning_rate(lambda v: jnp.sum(f(v)))(x)


#: Everything that takes a function of one example and a batch of them.
FUNCTIONS = {
    "derivative": jacobians.derivative,
    "jacobian": jacobians.jacobian,
    "jvp": lambda f: lambda x: jacobians.jvp(f)(x, jnp.ones_like(x)),
    "vjp": lambda f: lambda x: jacobians.vjp(f)(x, jnp.ones_like(x)),
    "jtj": lambda f: lambda x: jacobians.jtj(f)(x, jnp.ones_like(x)),
    "jjt": lambda f: lambda x: jacobians.jjt(f)(x, jnp.ones_like(x)),
    "singular_values": jacobians.singular_values,
    "largest": lambda f: jacobians.singular_values(f, 2, steps=4),
    "smallest": lambda f: jacobians.singular_values(f, 2, smallest=True),
    "condition_number": jacobians.condition_number,
    "isometry": jacobians.isometry,
    "frobenius_norm": lambda f: jacobians.frobenius_norm(f, 4),
    "trace": lambda f: jacobians.trace(f, 4),
    "log_determinant": lambda f: jacobians.log_determinant(f, 4),
    "log_singular_values": lambda f: jacobians.log_singular_values([f, f]),
    "lyapunov_exponents": driven,
    "sharpness": summed,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_comes_out(name):
    x = jnp.full((2, 5), jnp.nan)
    found = jax.jit(FUNCTIONS[name](lambda v: jnp.sin(v) * v))(x)
    for leaf in jax.tree.leaves(found):
        if name == "jacobian":
            assert jnp.isnan(jnp.diagonal(leaf, axis1=1, axis2=2)).all()
        else:
            assert jnp.isnan(leaf).all()


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "sharpness"])
def test_no_examples(name):
    for leaf in jax.tree.leaves(FUNCTIONS[name](jnp.sin)(jnp.ones((0, 5)))):
        assert leaf.shape[0] == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_has_no_derivative_says_so(name):
    with pytest.raises(TypeError, match="not differentiable"):
        FUNCTIONS[name](called_back)(jnp.ones((2, 5)))
    with pytest.raises(TypeError, match="not differentiable"):
        FUNCTIONS[name](lambda v: v.astype(int))(jnp.ones((2, 5)))


X = np.array([[0.3, -1.2, 2.0, 0.1], [0.9, 0.4, -0.6, 1.1]], np.float32)


@pytest.mark.parametrize("name", ["jvp", "vjp", "jtj", "jjt"])
def test_products_with_reverse_mode_alone(name):
    power = 1 if name in {"jvp", "vjp"} else 2
    got = jax.jit(FUNCTIONS[name](doubled))(jnp.asarray(X))
    np.testing.assert_allclose(got, (2 * np.cos(X)) ** power, rtol=1e-6)


def test_spectra_with_reverse_mode_alone():
    for choice in ({}, {"steps": 4}):
        got = jacobians.singular_values(doubled, 2, **choice)(jnp.asarray(X))
        want = -np.sort(-np.abs(2 * np.cos(X)))[:, :2]
        np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(
        jacobians.trace(doubled, 2)(jnp.asarray(X)).value, 2 * np.cos(X).sum(1), rtol=1e-6
    )


def test_the_missing_mode_is_named():
    x = jnp.ones((2, 4))
    for call in (jacobians.vjp, jacobians.jtj):
        with pytest.raises(TypeError, match="not differentiable in reverse"):
            call(looped)(x, x)
    with pytest.raises(TypeError, match="not differentiable in reverse"):
        jacobians.singular_values(looped, 2, steps=4)(x)
    with pytest.raises(TypeError, match="not differentiable forwards"):
        jacobians.log_singular_values([doubled])(x)
    with pytest.raises(TypeError, match="not differentiable forwards"):
        driven(doubled)(x)
    with pytest.raises(TypeError, match="mode is 'fwd', but f is differentiable in the other"):
        jacobians.jacobian(doubled, "fwd")(x)
    with pytest.raises(TypeError, match="mode is 'rev', but f is differentiable in the other"):
        jacobians.jacobian(looped, "rev")(x)


@pytest.mark.parametrize(
    "name",
    [
        "singular_values",
        "condition_number",
        "isometry",
        "frobenius_norm",
        "trace",
        "log_singular_values",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("largest", "log_determinant")),
    ],
)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=pytest.mark.slow)])
def test_spectra_of_half_precision(name, dtype):
    x = jnp.asarray(X).astype(dtype)
    got = FUNCTIONS[name](jnp.sin)(x)
    want = FUNCTIONS[name](jnp.sin)(x.astype(jnp.float32))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == jnp.float32
        # The function itself rounds.
        np.testing.assert_allclose(a, b, atol=0.1 * float(jnp.max(jnp.abs(b))), rtol=0.1)


def homogeneous(function, **choice):
    """A measure of s times a fixed map [14] -> [14], by s."""
    w = np.random.default_rng(3).normal(size=(14, 14)).astype(np.float32)

    def of(s):
        return function(lambda v: s * (jnp.asarray(w) @ v), **choice)(jnp.ones((1, 14)))

    return of


def bent(s):
    """The curvature of a bowl of that size; of fewer steps than there are parameters."""
    sizes = jnp.linspace(1.0, 3.0, 14) ** 2
    return jacobians.hessian_eigenvalues(lambda v: s * (sizes @ v**2), 1, steps=12)(jnp.ones(14))


@pytest.mark.parametrize(
    "of",
    [
        homogeneous(jacobians.singular_values_and_errors, k=2, steps=12),
        homogeneous(jacobians.singular_values_and_errors),
        homogeneous(jacobians.frobenius_norm, samples=4),
        homogeneous(jacobians.trace, samples=4),
        bent,
    ],
    ids=["largest", "all", "frobenius_norm", "trace", "hessian_eigenvalues"],
)
def test_squares_out_of_range_are_none_of_ours(of):
    """What is homogeneous is so also where its square under- or overflows, and its error too."""
    at_one, of = of(1.0), jax.jit(of)
    for s in (1e-30, 1e-22, 1e22, 1e30):
        found = of(s)
        np.testing.assert_allclose(found.value / s, at_one.value, rtol=1e-4)
        np.testing.assert_allclose(
            found.error / s, at_one.error, rtol=1e-2, atol=3e-6 * jnp.abs(at_one.value).max()
        )


def test_log_determinant_out_of_range():
    of = homogeneous(jacobians.log_determinant, samples=4)
    for s in (1e-30, 1e30):
        np.testing.assert_allclose(
            of(s).value - 14 * np.log(s), of(1.0).value, rtol=1e-3, atol=1e-3
        )


def test_sizes_of_zero():
    x = jnp.ones((3, 4))
    assert jacobians.jacobian(lambda v: v[:0])(x).shape == (3, 0, 4)
    assert jacobians.jacobian(lambda v: jnp.sum(v) * jnp.ones(2))(jnp.ones((3, 0))).shape == (
        3,
        2,
        0,
    )
    assert jacobians.singular_values(lambda v: v[:0])(x).shape == (3, 0)
    assert jacobians.log_singular_values([lambda v: v[:0]])(x).shape == (3, 0)
    with pytest.raises(ValueError, match="no singular values"):
        jacobians.condition_number(lambda v: v[:0])(x)


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16")], ids=str)
@pytest.mark.parametrize("f", [jnp.sin, jnp.sum, lambda v: jnp.outer(v, v).ravel()])
def test_the_dtype_is_that_of_x_in_every_mode(f, dtypes):
    """Forwards JAX gives f's, in reverse x's; "auto" takes now the one and now the other."""
    x = jnp.asarray(X).astype(dtypes[0])
    for mode in ("auto", "fwd", "rev"):
        got = jacobians.jacobian(lambda v: f(v).astype(dtypes[1]), mode)(x)
        assert got.dtype == x.dtype


def test_isometry_out_of_range():
    """Squares out of range come out as zero or infinity, never as NaN."""
    for s, want in ((1e-30, 0.0), (1e30, np.inf)):
        scaled = jacobians.isometry(lambda v, s=s: s * jnp.array([1.0, 3.0]) * v)(jnp.ones((1, 2)))
        assert scaled.mean == scaled.variance == want
    equal = jacobians.isometry(lambda v: 1e30 * v)(jnp.ones((1, 2)))
    assert equal.mean == np.inf
    assert equal.variance == 0
    # λ = 1e18 · (1, 9): the fourth power of what J is scaled by is out of range, the variance not.
    large = jacobians.isometry(lambda v: jnp.array([1e9, 3e9]) * v)(jnp.ones((1, 2)))
    np.testing.assert_allclose((large.mean[0], large.variance[0]), (5e18, 1.6e37), rtol=1e-6)


def test_nothing_to_measure_says_so():
    x = jnp.ones((3, 0))
    with pytest.raises(ValueError, match="no singular values"):
        jacobians.isometry(jnp.sin)(x)
    with pytest.raises(ValueError, match="no rows and no columns"):
        jacobians.log_determinant(jnp.sin)(x)


def test_ours_first_then_jax():
    """One example handed in, the batch handed on, a checked rank: our sentence, then theirs."""

    def checked(v):
        assert v.ndim == 2
        return v

    for f, x, shape in (
        (lambda v: jnp.ones((3, 5)) @ v, jnp.ones(5), r"\(\)"),
        (lambda v: jnp.mean(v, axis=1), jnp.ones((4, 5)), r"\(5,\)"),
        (checked, jnp.ones((4, 5)), r"\(5,\)"),
    ):
        want = (
            rf"^f fails on one example of shape {shape}, .*wanted a batch \[batch, \*in\].*It said:"
        )
        with pytest.raises(ValueError, match=want):
            jacobians.jacobian(f)(x)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: jacobians.jacobian(jnp.sin)(jnp.ones((2, 3), complex)), TypeError, "floats$"),
        (lambda: jacobians.jacobian(jnp.sin)(jnp.ones((2, 3), int)), TypeError, "astype"),
        (
            lambda: jacobians.jacobian(jnp.sin, batch_size=2, batched=False),
            ValueError,
            "batch_size is 2 with batched=False",
        ),
        (
            lambda: jacobians.lyapunov_exponents(lambda h, _: h)(jnp.ones((2, 3)), None),
            ValueError,
            r"inputs holds no array: None.*zeros of shape \[2, time\]",
        ),
        (
            lambda: jacobians.log_singular_values([(jnp.dot, jnp.ones((0, 3, 3)))]),
            ValueError,
            r"params has the shapes \(0, 3, 3\); wanted one leading axis",
        ),
        (lambda: jacobians.log_singular_values([(jnp.dot, {})]), ValueError, "shapes None"),
    ],
)
def test_slips_are_quoted(call, kind, says):
    with pytest.raises(kind, match=says):
        call()


def test_whole_numbers():
    assert whole("k", np.int64(3)) == 3
    for given in (2.0, "2", None):
        with pytest.raises(TypeError, match=f"k is {given!r}; wanted a whole number"):
            whole("k", given)
