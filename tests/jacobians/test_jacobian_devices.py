"""The same numbers on one device and on eight, with the batch axis over a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import jacobians

W = jnp.asarray(np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32) / 3)


def network(x):
    """[12] -> [12]."""
    return jnp.tanh(W @ jnp.sin(W @ x))


def along(x):
    return x[:, None, :] * jnp.linspace(0.1, 1.0, 40)[None, :, None]


#: A function of the batch alone.
CALLS = {
    "derivative": jacobians.derivative(jnp.tanh),
    "jacobian by twos": jacobians.jacobian(network, batch_size=2),
    "jtj": lambda x: jacobians.jtj(network)(x, x),
    "jjt": lambda x: jacobians.jjt(network)(x, x),
    "singular_values": jacobians.singular_values(network),
    "largest": jacobians.singular_values(network, 2, steps=8),
    "isometry": jacobians.isometry(network),
    "trace": jacobians.trace(network, 4),
    "log_determinant": jacobians.log_determinant(lambda x: x + network(x) / 4, 4),
    "log_singular_values": jacobians.log_singular_values([network] * 3),
    "lyapunov_exponents": lambda x: jacobians.lyapunov_exponents(lambda h, u: network(h) + u, 3)(
        x, along(x)
    ),
    "backward exponents": lambda x: jacobians.lyapunov_exponents(
        lambda h, u: network(h) + u, 3, backward=True
    )(x, along(x)),
    "sharpness": lambda x: jacobians.sharpness(
        lambda w, x: jnp.mean(jax.vmap(lambda x: jnp.tanh(w @ x))(x) ** 2), steps=20
    )(W, x),
}
QUICK = {"derivative", "jtj", "isometry", "trace", "sharpness"}


#: In a jitted loop under vmap JAX loses a mesh's explicit axes.
AUTOMATIC_ONLY = {"largest", "log_determinant", "log_singular_values"}


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        pytest.param(n, axes, marks=[] if n in QUICK else pytest.mark.slow)
        for n in CALLS
        for axes in ("Auto", "Explicit")
        if axes == "Auto" or n not in AUTOMATIC_ONLY
    ],
)
def test_one_and_eight(name, axes):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType[axes],))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x = jax.random.normal(jax.random.key(3), (16, 12))
    run = jax.jit(CALLS[name])
    one = run(x)
    with jax.set_mesh(mesh):
        eight = run(jax.device_put(x, sharding))
    # Exponents close to each other share their growth out among them as rounding has it, and the
    # smallest singular value is as right as the condition number lets it be.
    factor = 30_000 if "exponents" in name else 100
    if name == "log_singular_values":
        factor = float(jnp.exp(jnp.max(one) - jnp.min(one)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(eight), strict=True):
        rounding = factor * np.finfo(np.float32).eps * max(1, np.max(np.abs(a)))
        np.testing.assert_allclose(a, b, rtol=0, atol=rounding)


def test_the_condition_number_differs_by_its_own_rounding():
    """The sums of a product differ by an ulp with its shape, and κ magnifies that by itself."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x = jax.random.normal(jax.random.key(3), (16, 12))
    run = jax.jit(jacobians.condition_number(network))
    one, eight = run(x), run(jax.device_put(x, sharding))
    assert jnp.max(one) > 1e5
    assert (jnp.abs(eight - one) <= 12 * np.finfo(np.float32).eps * one**2).all()


def test_turns_over_a_mesh_move_nothing():
    """Each of eight devices has two of its four examples in either turn."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    x = jax.device_put(jax.random.normal(jax.random.key(5), (32, 12)), sharding)
    run = jax.jit(jacobians.jacobian(network, batch_size=16)).lower(x).compile()
    found = run(x)
    assert found.sharding.is_equivalent_to(sharding, 3)
    assert not any(word in run.as_text() for word in ("all-gather", "all-to-all", "permute"))
    np.testing.assert_allclose(found, jax.vmap(jax.jacfwd(network))(np.asarray(x)), atol=1e-6)


@pytest.mark.parametrize("name", ["isometry", pytest.param("largest", marks=pytest.mark.slow)])
def test_under_vmap(name):
    x = jax.random.normal(jax.random.key(4), (2, 3, 12))
    got = jax.jit(jax.vmap(CALLS[name]))(x)
    for k in range(2):
        want = jax.tree.leaves(CALLS[name](x[k]))
        for a, b in zip(jax.tree.leaves(got), want, strict=True):
            np.testing.assert_allclose(a[k], b, rtol=2e-5, atol=2e-6)
