"""Over devices and processes: the same numbers, and no message more than the plain program's."""

import collections
import functools
import os
import pickle
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import two_processes
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jgrad
from jgrad import probes

pytestmark = pytest.mark.loose_promotion

needs_devices = pytest.mark.skipif(jax.device_count() < 8, reason="fewer than 8 devices")


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


W, X = [normal(k, 16, 16) / 4 for k in range(2)], normal(9, 16, 16)
EVERYWHERE, BATCH = PartitionSpec(), PartitionSpec("batch")


def net(ws, x):
    for w in ws:
        x = jnp.tanh(x @ w)
    return jnp.mean(x**2)


def same(got, wanted):
    """The same value, gradients and flow, to rounding: sums are taken in another order.

    A flow sums tiny gradients by themselves, in which differences of rounding are large.
    """
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        largest = np.max(np.abs(b), where=np.isfinite(b), initial=0)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6 * largest)


def messages(fn, *args):
    """How many collectives of which kind are in the compiled program; it calls no host."""
    text = jax.jit(fn).lower(*args).compile().as_text()
    assert "callback" not in text
    kinds = r"(all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
    return collections.Counter(re.findall(kinds, text))


@needs_devices
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_a_sharded_batch_costs_one_message(axis_type):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(axis_type,))
    probed = probes.value_grad_and_flow(net, measures="all")
    here = jax.jit(probed)(W, X)
    with jax.set_mesh(mesh):
        ws = jax.device_put(W, NamedSharding(mesh, EVERYWHERE))
        x = jax.device_put(X, NamedSharding(mesh, BATCH))
        plain, ours = messages(jax.value_and_grad(net), ws, x), messages(probed, ws, x)
        assert ours["all-reduce"] <= plain["all-reduce"] + 1
        assert ours - plain <= collections.Counter({"all-reduce": 1})
        same(jax.jit(probed)(ws, x), here)
        sometimes = jax.jit(probes.value_grad_and_flow(net, measures="all", every=3))
        same(sometimes(3, ws, x), here)
        assert not any(np.any(sum_) for sum_ in jax.tree.leaves(sometimes(4, ws, x)[2]))


@needs_devices
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_now_and_then_costs_one_message_in_its_own_branch(axis_type):
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(axis_type,))
    sometimes = probes.value_grad_and_flow(net, every=3)
    with jax.set_mesh(mesh):
        ws = jax.device_put(W, NamedSharding(mesh, EVERYWHERE))
        x = jax.device_put(X, NamedSharding(mesh, BATCH))
        plain = messages(jax.value_and_grad(net), ws, x)
        # Of a step whose number is known while compiling, one branch is left.
        idle, probing = (messages(functools.partial(sometimes, step), ws, x) for step in (1, 3))
        both = messages(sometimes, jnp.int32(3), ws, x)
        same(jax.jit(sometimes)(1, ws, x)[:2], jax.jit(jax.value_and_grad(net))(ws, x))
    one = collections.Counter({"all-reduce": 1})
    assert not idle - plain
    assert probing - plain <= one
    assert both - plain <= plain + one


@needs_devices
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_parameters_give_the_same(axis_type):
    mesh = jax.make_mesh((4, 2), ("batch", "model"), axis_types=(axis_type,) * 2)

    def loss(ws, x):
        h = jnp.tanh(x @ ws[0])
        where = None if axis_type == AxisType.Auto else BATCH
        return jnp.mean(jnp.tanh(jnp.dot(h, ws[1], out_sharding=where)) ** 2)

    probed = probes.value_grad_and_flow(loss)
    here = jax.jit(probes.value_grad_and_flow(net))(W, X)
    with jax.set_mesh(mesh):
        columns, rows = PartitionSpec(None, "model"), PartitionSpec("model", None)
        ws = [
            jax.device_put(w, NamedSharding(mesh, spec))
            for w, spec in zip(W, (columns, rows), strict=True)
        ]
        x = jax.device_put(X, NamedSharding(mesh, BATCH))
        # On an explicit mesh the counts of units that are spread over it come together.
        gathered = 0 if axis_type == AxisType.Auto else 4
        assert messages(probed, ws, x)["all-gather"] <= gathered
        (value, grads, flow), (_, _, wanted) = jax.jit(probed)(ws, x), here
        same((value, grads), here[:2])
        same(flow.packed, wanted.packed)


@needs_devices
def test_shard_map_counts_everything_once():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))

    def mapped(ws, x):
        tanh = jax.shard_map(
            lambda w, x: jnp.tanh(x @ w), mesh=mesh, in_specs=(EVERYWHERE, BATCH), out_specs=BATCH
        )
        return jnp.sum(tanh(ws[0], x) ** 2)

    def plain(ws, x):
        return jnp.sum(jnp.tanh(x @ ws[0]) ** 2)

    value, grads, flow = jax.jit(probes.value_grad_and_flow(mapped))(W, X)
    wanted_value, wanted_grads, wanted = jax.jit(probes.value_grad_and_flow(plain))(W, X)
    same((value, grads), (wanted_value, wanted_grads))
    (mine,), (theirs,) = flow.values(), wanted.values()
    assert float(mine.count) == float(theirs.count) == X.size
    names = set(theirs.sums) - {"visits"}
    same([mine.sums[n] for n in names], [theirs.sums[n] for n in names])
    sometimes = jax.jit(probes.value_grad_and_flow(mapped, every=2))
    same(sometimes(2, W, X)[2], flow)
    assert not any(np.any(sum_) for sum_ in jax.tree.leaves(sometimes(1, W, X)[2]))


def test_two_processes_see_what_one_sees(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(two_processes.__file__)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(Path(jgrad.__file__).parents[1]),
    }
    outputs = [tmp_path / f"{process}.pickle" for process in range(2)]
    running = [
        subprocess.Popen(
            [sys.executable, script, str(process), "2", str(port), output],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process, output in enumerate(outputs)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(said)[-3000:]
    ws, x = two_processes.arguments()
    alone = jax.jit(probes.value_grad_and_flow(two_processes.loss, measures="all"))(ws, x)
    wanted = two_processes.seen(*alone)
    for output in outputs:
        with output.open("rb") as file:
            same(pickle.load(file), wanted)
