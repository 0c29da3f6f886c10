import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians


def network(x):
    """[3] -> [5]."""
    w = jnp.sin(jnp.arange(15.0)).reshape(3, 5)
    return jnp.tanh(x @ w) ** 2


@pytest.fixture(name="x")
def _x():
    return jax.random.normal(jax.random.key(1), (4, 3))


def by_differences(f, x, step=1e-6):
    """The loop over examples and inputs, central differences in float64."""
    with jax.enable_x64(True):
        x = np.asarray(x, np.float64)
        rows = []
        for example in x:
            columns = []
            for j in range(example.size):
                e = np.zeros(example.size)
                e[j] = step
                e = e.reshape(example.shape)
                difference = np.asarray(f(jnp.asarray(example + e))) - f(jnp.asarray(example - e))
                columns.append(np.asarray(difference) / (2 * step))
            stacked = np.stack(columns, axis=-1)
            rows.append(stacked.reshape(stacked.shape[:-1] + example.shape))
        return np.stack(rows)


@pytest.mark.parametrize(
    ("mode", "batch_size"),
    [("auto", None), ("fwd", None), ("rev", None), ("auto", 1), ("rev", 3), ("auto", 4)],
)
def test_against_finite_differences(x, mode, batch_size):
    got = jax.jit(jacobians.jacobian(network, mode, batch_size))(x)
    assert got.shape == (4, 5, 3)
    np.testing.assert_allclose(got, by_differences(network, x), atol=2e-6)


# --- Structure --------------------------------------------------------------------------------

w34 = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
w66 = np.random.default_rng(1).normal(size=(6, 6)).astype(np.float32)
kernel = np.random.default_rng(2).normal(size=(3,)).astype(np.float32)


def conv_nhwc(x):
    k = jnp.asarray(np.random.default_rng(3).normal(size=(3, 2, 2, 5)).astype(np.float32))
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x[None], k, (1, 1), "SAME", dimension_numbers=dims)[0]


def narrow(x):
    for k, (n, m) in enumerate([(12, 10), (10, 2), (2, 9), (9, 13)]):
        w = jnp.asarray(np.random.default_rng(k).normal(size=(n, m)).astype(np.float32))
        x = jnp.tanh(x @ w)
    return x


def scanned(x):
    return jax.lax.scan(lambda c, a: (c, jnp.sin(a) * jnp.sum(a)), 0.0, x)[1]


def recurrent(x):
    return jax.lax.scan(lambda c, a: (jnp.tanh(c + a), c * a), jnp.zeros(3), x)[1]


def stencil_loop(x):
    return jax.lax.fori_loop(0, 2, lambda _, z: jnp.sin(z) + jnp.pad(z[1:], (0, 1)), x)


#: name -> (f, input shape, kind, products)
CASES = {
    "elementwise": (lambda x: jax.nn.gelu(jnp.tanh(x) * x), (3, 4), "elementwise", 1),
    "relu with a stopped sum": (
        lambda x: jnp.where(x > 0, x, jax.lax.stop_gradient(x.sum()) * x),
        (5,),
        "elementwise",
        1,
    ),
    "jitted": (jax.jit(lambda x: jax.nn.silu(x) + 1), (7,), "elementwise", 1),
    "remat": (jax.checkpoint(lambda x: jnp.sin(x) ** 2), (7,), "elementwise", 1),
    "cond": (lambda x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), (7,), "elementwise", 1),
    "while": (
        lambda x: jax.lax.while_loop(
            lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x)
        )[1],
        (6,),
        "elementwise",
        1,
    ),
    "scan map": (scanned, (5, 3), "block-diagonal", 3),
    "scan carry": (recurrent, (5, 3), "block-diagonal", 5),
    "transposed": (lambda x: jnp.sin(x).T, (3, 4), "block-diagonal", 1),
    "softmax over rows": (lambda x: jax.nn.softmax(x, axis=-1), (5, 3), "block-diagonal", 3),
    "softmax over columns": (lambda x: jax.nn.softmax(x, axis=0), (3, 5), "block-diagonal", 3),
    "position-wise": (lambda x: jnp.tanh(x @ w34) @ w34.T, (5, 3), "block-diagonal", 3),
    "position-wise to a scalar": (lambda x: jnp.sum(x**2, -1), (5, 3), "block-diagonal", 1),
    "flat blocks": (lambda x: (x.reshape(4, 3) @ w34).reshape(-1), (12,), "block-diagonal", 3),
    "flat blocks after a slice": (
        lambda x: (x[:12].reshape(4, 3) @ w34).reshape(-1),
        (14,),
        "dense",
        14,
    ),
    "difference": (lambda x: x[1:] * x[:-1], (9,), "banded", 2),
    "padded stencil": (
        lambda x: jnp.pad(x[2:], (0, 2)) * x - jnp.sin(jnp.pad(x[:-1], (1, 0))),
        (9,),
        "banded",
        4,
    ),
    "convolve": (lambda x: jnp.convolve(x, kernel), (11,), "banded", 3),
    "conv": (conv_nhwc, (6, 7, 2), "banded", 12),
    "concatenated": (
        lambda x: jnp.concatenate([x[:3] ** 2, jnp.ones(2), x[3:]]),
        (8,),
        "banded",
        3,
    ),
    "bottleneck": (narrow, (12,), "bottleneck", 4),
    "jitted bottleneck": (jax.jit(narrow), (12,), "bottleneck", 4),
    "dense square": (lambda x: jnp.tanh(x @ w66), (6,), "dense", 6),
    "dense wide": (lambda x: jnp.sin(x @ w34.T), (4,), "dense", 3),
    "reversed": (lambda x: jnp.sin(x[::-1]), (5,), "dense", 5),
    "cumsum": (lambda x: jnp.cumsum(x), (5,), "dense", 5),
    "sort": (lambda x: jnp.sort(x), (5,), "dense", 5),
    "outer": (lambda x: x[:, None] * x[None, :], (4,), "dense", 4),
    "gather": (lambda x: x[jnp.array([2, 0, 1])] ** 2, (4,), "dense", 3),
    "unrelated": (lambda x: jnp.ones(3), (4,), "zero", 0),
    "rounded": (lambda x: jnp.round(x).astype(int).astype(jnp.float32), (4,), "zero", 0),
    "scalar": (lambda x: jnp.sin(x), (), "elementwise", 1),
    "scalar to vector": (lambda x: jnp.sin(x) * jnp.ones(3), (), "dense", 1),
    "loop stencil": (stencil_loop, (12,), "banded", 3),
    "singleton axes": (lambda x: jnp.sin(x)[:, :, 0], (4, 1, 1), "block-diagonal", 1),
    "eigh": (lambda x: jnp.linalg.inv(x + 4 * jnp.eye(3)), (3, 3), "dense", 9),
}


@pytest.mark.parametrize("name", CASES)
def test_structure_and_numbers(name):
    f, shape, kind, products = CASES[name]
    x = jax.random.normal(jax.random.key(7), (2, *shape))
    found = jacobians.structure(f, x)
    assert (found.kind, found.products) == (kind, products)
    got = jax.jit(jacobians.jacobian(f))(x)
    with jax.numpy_rank_promotion("allow"):
        want = jax.jit(jax.vmap(jax.jacfwd(f)))(x)
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)


# --- Pytrees, and what torch.func's and JAX's own tests ask of a Jacobian -----------------------


def loop_over_examples(f, x):
    """jax.jacobian, example by example."""
    count = len(jax.tree.leaves(x)[0])
    each = [jax.jacobian(f)(jax.tree.map(lambda leaf, k=k: leaf[k], x)) for k in range(count)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def pair(seed, *shapes):
    generator = np.random.default_rng(seed)
    return tuple(jnp.asarray(generator.normal(size=(2, *s)).astype(np.float32)) for s in shapes)


PYTREES = {
    "multiple inputs": (lambda xy: xy[0] ** 2 * xy[1], pair(0, (4,), (4,))),
    "multiple outputs": (lambda x: (x**2, jnp.sum(x)), pair(1, (5,))[0]),
    "one coupled, one not": (lambda xy: jnp.sin(xy[0]) + w66 @ xy[1], pair(2, (6,), (6,))),
    "unrelated input": (lambda xy: jnp.sin(xy[0]), pair(3, (3,), (2, 2))),
    "unrelated output": (lambda x: (jnp.sin(x), jnp.ones((2, 2))), pair(4, (3,))[0]),
    "dictionaries, other dimensions": (
        lambda p: {"out": jnp.kron(p["a"], p["b"]), "sum": p["a"].sum() * p["b"][0]},
        dict(zip("ab", pair(5, (3,), (2,)), strict=True)),
    ),
    "rows disagree": (
        lambda xy: (xy[0].reshape(2, 3) * xy[1][:, None]).reshape(6),
        pair(6, (6,), (2,)),
    ),
    "no dimensions": (lambda xy: xy[0] * xy[1], pair(7, (), ())),
    "pytree through a bottleneck": (
        lambda p: {
            "y": jnp.outer(jnp.arange(1.0, 9.0), jnp.ones(9))
            * jnp.tanh(p["a"].sum() + p["b"].prod())
        },
        dict(zip("ab", pair(8, (9,), (8,)), strict=True)),
    ),
}


@pytest.mark.parametrize("name", PYTREES)
@pytest.mark.parametrize(
    "mode", ["auto", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("fwd", "rev"))]
)
def test_pytrees(name, mode):
    f, x = PYTREES[name]
    got = jax.jit(jacobians.jacobian(f, mode))(x)
    want = loop_over_examples(f, x)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6), got, want)


def test_torch_not_flat():
    """torch.func's TestJac.test_simple_not_flat: [2, 3] -> [2, 3], a diagonal of cosines."""
    x = pair(0, (2, 3))[0]
    got = jacobians.jacobian(jnp.sin)(x)
    assert got.shape == (2, 2, 3, 2, 3)
    want = np.stack([np.diag(np.cos(e).ravel()) for e in np.asarray(x)])
    np.testing.assert_allclose(got.reshape(2, 6, 6), want, atol=2e-7)


def test_torch_nested():
    """Its test_nested_jac_simple: sin's second derivative is a cube with -sin on its diagonal."""
    x = pair(1, (3,))[0]
    inner = jacobians.jacobian(jnp.sin, batched=False)
    got = jax.jit(jacobians.jacobian(inner))(x)
    want = np.zeros((2, 3, 3, 3), np.float32)
    for k in range(3):
        want[:, k, k, k] = -np.sin(x[:, k])
    np.testing.assert_allclose(got, want, atol=2e-7)


#: BackPACK's fixed input: saturation, an exact zero, negatives.
FIXED = [[-1.0, 43.0, 1.3], [-2.0, -0.3, 2.3], [0.0, -4.0, 0.33]]


@pytest.mark.parametrize(
    "name", ["relu", "sigmoid", "tanh", "leaky_relu", "log_sigmoid", "elu", "selu"]
)
def test_backpacks_fixed_input_against_torch(name):
    torch = pytest.importorskip("torch")
    theirs = {"log_sigmoid": "logsigmoid"}.get(name, name)
    phi = getattr(torch.nn.functional, theirs)
    x = torch.tensor(FIXED, dtype=torch.float32)
    want = torch.func.vmap(torch.func.jacrev(phi))(x).numpy()
    got = jacobians.jacobian(getattr(jnp, name, None) or getattr(jax.nn, name))(jnp.array(FIXED))
    if name == "leaky_relu":
        # At the kink JAX takes the slope from the right, PyTorch from the left.
        got, want = got.at[2, 0, 0].set(0), want * (np.arange(27) != 18).reshape(3, 3, 3)
    np.testing.assert_allclose(got, want, atol=3e-7)


def test_softmax_in_closed_form():
    x = pair(2, (5,))[0]
    s = np.exp(np.asarray(x, float))
    s /= s.sum(axis=1, keepdims=True)
    want = np.stack([np.diag(p) - np.outer(p, p) for p in s])
    np.testing.assert_allclose(jacobians.jacobian(jax.nn.softmax)(x), want, atol=1e-7)


def test_of_a_coupled_batch():
    def standardised(x):
        return (x - x.mean(0, keepdims=True)) / x.std(0, keepdims=True)

    x = pair(3, (4,))[0]
    x = jnp.concatenate([x, x**2 - 1])
    got = jax.jit(jacobians.jacobian(standardised, batched=False))(x)
    assert jacobians.structure(standardised, x, batched=False).products == 4
    np.testing.assert_allclose(got, jax.jacfwd(standardised)(x), atol=1e-6)


def test_float64_and_bfloat16():
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12)))
        for mode in ("auto", "fwd"):
            got = jax.jit(jacobians.jacobian(lambda x: jnp.sin(x) * x, mode))(x)
            assert got.dtype == jnp.float64
            want = np.stack([np.diag(np.cos(e) * e + np.sin(e)) for e in np.asarray(x)])
            np.testing.assert_allclose(got, want, atol=1e-15)
    half = jacobians.jacobian(jnp.tanh)(jnp.zeros((1, 2), jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def test_memory_beyond_the_result_is_that_of_one_turn():
    """One 8-batch's need is what the program for 8 examples takes: temporaries and result."""
    w = jnp.sin(jnp.arange(48.0 * 48)).reshape(48, 48) / 5

    def taken(batch, batch_size):
        run = jax.jit(
            jacobians.jacobian(lambda x: jnp.tanh(jnp.tanh(x @ w) @ w), "auto", batch_size)
        )
        found = run.lower(jnp.zeros((batch, 48))).compile().memory_analysis()
        return found.temp_size_in_bytes, found.output_size_in_bytes

    need = sum(taken(8, None))
    assert taken(67, None)[0] > 2 * need
    for batch in (64, 67, 515):
        assert taken(batch, 8)[0] <= 1.5 * need


def test_only_one_mode_exists():
    def looped(x):
        """A while loop with a traced bound: forward mode only, [4] -> [1]."""
        return jax.lax.while_loop(
            lambda c: c[0] < x[0], lambda c: (c[0] + 1, jnp.sin(c[1])), (0.0, x[:1] * x[1:2])
        )[1]

    x = pair(4, (4,))[0]
    assert jacobians.structure(looped, x).mode == "fwd"
    np.testing.assert_allclose(
        jacobians.jacobian(looped)(x), jax.vmap(jax.jacfwd(looped))(x), atol=1e-6
    )


def test_numbers_do_not_depend_on_the_devices():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x = jax.random.normal(jax.random.key(3), (16, 12))
    for f in (narrow, jnp.tanh, lambda x: jnp.convolve(jnp.sin(x), kernel)):
        run = jax.jit(jacobians.jacobian(f))
        one, eight = run(x), run(jax.device_put(x, sharding))
        assert eight.sharding.is_equivalent_to(sharding, eight.ndim)
        # A product over a shard of the batch may be summed in another order.
        rounding = 32 * np.finfo(np.float32).eps * np.max(np.abs(one))
        np.testing.assert_allclose(one, eight, rtol=0, atol=rounding)


# --- Wrong input --------------------------------------------------------------------------------


def test_wrong_input():
    x = jnp.ones((4, 3))
    jacobian = jacobians.jacobian
    with pytest.raises(TypeError, match=r"x is int32\[4, 3\]"):
        jacobian(jnp.sin)(x.astype(int))
    with pytest.raises(TypeError, match=r"x\[a\] is complex64\[4\]"):
        jacobian(lambda p: p["a"])({"a": jnp.ones(4, complex)})
    with pytest.raises(TypeError, match="x is str"):
        jacobian(jnp.sin)("three")
    with pytest.raises(ValueError, match="x holds no array"):
        jacobian(jnp.sin)([])
    with pytest.raises(ValueError, match=r"shapes \(\); wanted a batch"):
        jacobian(jnp.sin)(jnp.ones(()))
    with pytest.raises(ValueError, match=r"\(4, 3\), \(3, 3\); wanted a batch"):
        jacobian(lambda p: p[0])((x, x[:3]))
    # A function of one example that is handed one example, and a function of a batch.
    with pytest.raises(ValueError, match=r"f fails on one example of shape \(\).*wanted a batch"):
        jacobian(network)(x[0])
    with pytest.raises(ValueError, match=r"(?s)one example of shape \(3,\).*batched=False"):
        jacobian(lambda x: jnp.einsum("bi,ij->bj", x, w34))(x)
    with pytest.raises(ValueError, match=r"unknown mode 'forward'.*Known: auto, fwd, rev"):
        jacobian(network, "forward")
    with pytest.raises(ValueError, match="batch_size is 0"):
        jacobian(network, batch_size=0)(x)
    with pytest.raises(TypeError, match=r"output is int32\[3\]: f is not differentiable"):
        jacobian(lambda x: jnp.round(x).astype(int))(x)
    with pytest.raises(ValueError, match="f returns no array but"):
        jacobian(lambda x: ())(x)


def test_nan_is_data():
    x = jnp.array([[1.0, jnp.nan, 0.0], [1.0, 2.0, 3.0]])
    got = jacobians.jacobian(network)(x)
    assert jnp.isnan(got[0]).all()
    assert jnp.isfinite(got[1]).all()


def test_a_function_that_jax_cannot_differentiate_says_so():
    def called_back(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises((TypeError, ValueError), match="not differentiable"):
        jacobians.jacobian(called_back)(jnp.ones((2, 3)))
