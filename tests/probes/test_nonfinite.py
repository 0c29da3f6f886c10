"""first_nonfinite: the equation named is the one that NumPy, or the loop by hand, says it is."""

import inspect
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jgrad.probes import first_nonfinite


def line_of(function, text):
    """ "file.py:12 function" of the function's line that has the text."""
    lines, start = inspect.getsourcelines(function)
    (number,) = (start + k for k, line in enumerate(lines) if text in line)
    return f"test_nonfinite.py:{number} {function.__name__}"


def test_nothing_is_found_where_all_is_finite():
    assert first_nonfinite(lambda w: jnp.sum(jnp.tanh(w)))(jnp.ones(3)) is None
    assert first_nonfinite(lambda w: {"a": w, "b": 2 * w})(jnp.ones(3)) is None


def test_a_forward_infinity():
    def loss(w, x):
        h = w * x
        return jnp.sum(jnp.log(h) + h)

    found = first_nonfinite(loss)(jnp.float32(2.0), jnp.array([0.0, 1.0, 2.0, 0.0]))
    assert (found.kind, found.primitive, found.direction) == ("inf", "log", "forward")
    assert found.source == line_of(loss, "jnp.log")
    assert (found.count, found.shape, found.reached) == (2, (4,), "the value")
    (operand,) = found.operands
    assert (operand.least, operand.largest) == (0.0, 4.0)


def test_the_gradient_of_what_where_leaves_out():
    def loss(w, x):
        root = jnp.sqrt(w["scale"] * x)
        return jnp.sum(jnp.where(x > 0, root, 0.0))

    w, x = {"bias": jnp.zeros(2), "scale": jnp.ones(2)}, jnp.array([0.0, 4.0])
    found = first_nonfinite(loss)(w, x)
    assert np.isnan(jax.grad(loss)(w, x)["scale"]).tolist() == [True, False]
    assert (found.kind, found.direction, found.count) == ("nan", "backward", 1)
    assert found.reached == "the gradient of argument 0['scale']"
    assert found.source == found.cause.source == line_of(loss, "jnp.sqrt")
    assert found.cause.kind == "inf"


def test_the_infinities_of_a_mask_are_not_blamed():
    def loss(q, mask):
        scores = jnp.where(mask, q @ q.T, -jnp.inf)
        return jnp.sum(jax.nn.softmax(scores) ** 2)

    mask = jnp.tril(jnp.ones((3, 3), bool))
    q = jnp.arange(6.0).reshape(3, 2)
    assert first_nonfinite(loss)(q, mask) is None

    found = first_nonfinite(loss)(q, mask.at[1].set(False))
    assert (found.kind, found.primitive, found.count) == ("nan", "sub", 3)
    assert found.source == line_of(loss, "softmax")
    assert (found.cause.primitive, found.cause.kind) == ("constant", "inf")
    assert found.cause.source == line_of(loss, "jnp.where")


def grown(h, x):
    return jnp.exp(1.5 * h + x)


def first_overflow(x):
    h, k = np.float32(1.0), 0
    with np.errstate(over="ignore"):
        while np.isfinite(h):
            h, k = np.exp(np.float32(1.5) * h + np.float32(x)), k + 1
    return k - 1


@pytest.mark.parametrize("reverse", [False, True])
def test_the_step_of_a_scan(reverse):
    def loss(xs):
        h, ys = jax.lax.scan(lambda h, x: (grown(h, x),) * 2, 1.0, xs, reverse=reverse)
        return ys[-1] if reverse else h

    def all_of_it(xs):
        return jax.lax.scan(lambda h, x: (grown(h, x),) * 2, 1.0, xs, reverse=reverse)[1]

    xs = jnp.full(8, -0.5)
    step = first_overflow(-0.5)
    assert 1 < step < 7
    found = first_nonfinite(all_of_it)(xs)
    assert found.steps == ((7 - step) if reverse else step,)
    assert (found.primitive, found.source) == ("exp", line_of(grown, "jnp.exp"))
    # In reverse the last step is the first, and what is returned of it is finite.
    assert (first_nonfinite(lambda xs: loss(xs) * jnp.ones(2))(xs) is None) == reverse


def test_the_step_of_a_while_loop_inside_a_scan():
    def f(xs):
        def until_nine(x):
            return jax.lax.while_loop(
                lambda s: s[0] < 9, lambda s: (s[0] + 1, grown(s[1], x)), (0, 1.0)
            )

        return jax.lax.scan(lambda c, x: (c, until_nine(x)[1]), 0.0, xs)[1]

    found = first_nonfinite(f)(jnp.array([-2.0, -0.5, -2.0]))
    assert found.steps == (1, first_overflow(-0.5))


def differentiated_by_hand(f):
    wrapped = jax.custom_jvp(f)
    wrapped.defjvps(lambda t, out, x: t * jnp.cos(x))
    return wrapped


@pytest.mark.parametrize(
    "wrap",
    [
        jax.jit,
        jax.checkpoint,
        lambda f: lambda x: jax.lax.cond(x[0] < 1, f, jnp.sin, x),
        lambda f: jax.vmap(f),
        lambda f: lambda x: jax.lax.map(f, x),
        lambda f: differentiated_by_hand(f),
    ],
    ids=["jit", "remat", "cond", "vmap", "map", "custom_jvp"],
)
def test_inside_what_holds_a_function(wrap):
    def inverse(x):
        return 1 / x

    found = first_nonfinite(wrap(inverse))(jnp.array([0.5, 0.0]))
    assert (found.kind, found.primitive, found.count) == ("inf", "div", 1)
    assert found.source == line_of(inverse, "1 / x")


def test_what_came_in_with_the_data():
    def loss(w, batch):
        return jnp.sum(jnp.tanh(batch["x"] @ w) * batch["y"])

    batch = {"x": jnp.ones((4, 2)), "y": jnp.ones(4)}
    batch["x"] = batch["x"].at[2, 1].set(jnp.nan)
    found = first_nonfinite(loss)(jnp.ones(2), batch)
    assert (found.primitive, found.source, found.kind) == ("argument", "1['x']", "nan")
    assert found.shape == (4, 2)


def test_float16_overflows_where_it_does():
    def f(x):
        return (x * x).astype(jnp.float32).sum()

    found = first_nonfinite(f)(jnp.array([200.0, 300.0], jnp.float16))
    assert (found.kind, found.primitive, found.dtype, found.count) == ("inf", "mul", "float16", 1)
    assert first_nonfinite(f)(jnp.array([200.0, 300.0], jnp.bfloat16)) is None


def test_auxiliary_results_do_not_count():
    def loss(w, k):
        return jnp.sum(w), {"log": jnp.log(w - 1), "k": k}

    assert first_nonfinite(loss, has_aux=True)(jnp.ones(2), 3) is None
    assert first_nonfinite(loss)(jnp.ones(2), 3).reached == "the value[1]['log']"


def test_an_nnx_module_is_left_as_it_was():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    before = jax.tree.map(jnp.copy, nnx.state(model))

    def loss(model, x):
        return jnp.sum(jnp.sqrt(model(x)))

    found = first_nonfinite(loss)(model, jnp.zeros((1, 2)))
    assert (found.direction, found.kind, found.path) == ("forward", "inf", "")
    assert found.reached.startswith("the gradient of argument 0")
    chex.assert_trees_all_equal(nnx.state(model), before)


def test_it_says_the_same_as_debug_nans():
    def f(x):
        return jnp.sum(jnp.arcsin(x) + x)

    x = jnp.array([0.5, 1.5])
    found = first_nonfinite(f)(x)
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match=found.primitive):
        f(x)
    with jax.debug_nans(True):
        assert first_nonfinite(f)(x) == found


def test_it_prints_in_a_line_for_each_cause():
    def loss(w):
        return jnp.sum(jnp.where(w > 0, jnp.sqrt(w), 0.0))

    lines = str(first_nonfinite(loss)(jnp.array([0.0, 4.0]))).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("the first NaN that reaches the gradient of argument 0: mul")
    assert "going backward" in lines[0]


def test_wrong_arguments_are_said():
    with pytest.raises(ValueError, match="outside jit"):
        jax.jit(partial(first_nonfinite(jnp.sum)))(jnp.ones(2))
    with pytest.raises(TypeError, match=r"argument 0 holds int32\[2\]"):
        first_nonfinite(lambda k, x: jnp.sum(k.astype(float) * x))(jnp.arange(2), jnp.ones(2))
