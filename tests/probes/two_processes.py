"""One of several processes that probe one sharded batch together; leaves what it saw in a file.

python two_processes.py PROCESS PROCESSES PORT OUTPUT
"""

import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jgrad import probes

ROWS = 8


def loss(ws, x):
    """A net whose last unit is dead in half of the batch."""
    for w in ws:
        x = jax.nn.relu(x @ w)
    return jnp.mean(jnp.tanh(x) ** 2)


def arguments():
    """Weights and the whole batch, the same in every process."""
    keys = jax.random.split(jax.random.key(0), 3)
    ws = [jax.random.normal(key, (6, 6)) / 2 for key in keys[:2]]
    return ws, jax.random.normal(keys[2], (ROWS, 6))


def seen(value, grads, flow):
    """Everything as arrays of NumPy."""
    return jax.tree.map(np.asarray, (value, grads, flow.packed))


def main():
    """Probes its half of the batch, together with the others."""
    process, processes, port, output = sys.argv[1:]
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    assert jax.process_count() == int(processes)
    mesh = jax.make_mesh((jax.device_count(),), ("batch",), axis_types=(AxisType.Auto,))
    ws, x = arguments()
    rows = np.split(np.asarray(x), int(processes))[int(process)]
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    x = jax.make_array_from_process_local_data(spread, rows, (ROWS, 6))
    whole = NamedSharding(mesh, PartitionSpec())
    ws = [jax.make_array_from_process_local_data(whole, np.asarray(w)) for w in ws]
    out = jax.jit(probes.value_grad_and_flow(loss, measures="all"))(ws, x)
    with open(output, "wb") as file:
        pickle.dump(seen(*out), file)


if __name__ == "__main__":
    main()
