"""Many trainings as one compiled program: scan over steps, vmap over points, split by device."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import models
from jgrad.data import Split

from ._batches import batches
from ._program import Point, Program
from ._record import profiles
from ._step import Examples, chunk, start


class History(NamedTuple):
    """What a training leaves, [points, chunks, ...] throughout, on the host.

    Attributes:
      train_loss: mean cross-entropy of each chunk's batches, in nats.
      test_accuracy: share of the test examples classed rightly after each chunk.
      profiles: quantity → [points, chunks, depth], of the flow at the first step of each chunk.
      sites: the labels along depth.
      compile_seconds: what compiling took.
      train_seconds: what running took.
    """

    train_loss: np.ndarray
    test_accuracy: np.ndarray
    profiles: dict[str, np.ndarray]
    sites: tuple[str, ...]
    compile_seconds: float
    train_seconds: float


def train(
    program: Program,
    points: Point,
    task: Split,
    *,
    steps: int,
    tell: Callable[[str, int], object] = lambda *_: None,
    devices: Sequence[Any] | None = None,
) -> History:
    """Train every point for `steps` steps with one compilation.

    The points are shared out over the devices (the last one is repeated where they do not divide),
    each of which runs its own alone. The same points on as many devices of the same kind give the
    same bits; on another number of them, the same up to rounding.

    Args:
      program: what to compile.
      points: the numbers of each training, along a leading axis.
      task: the examples.
      steps: how many steps; a multiple of `program.chunk`.
      tell: called on the host as ("compile", 0), then ("train", steps done) after each chunk.
      devices: where to run; all of this process's by default.

    Raises:
      ValueError: `steps` is no positive multiple of the chunk, or there are no points.
    """
    count = np.shape(points.learning_rate)[0]
    if steps < 1 or steps % program.chunk:
        msg = f"steps must be a positive multiple of the chunk {program.chunk}, got {steps}"
        raise ValueError(msg)
    if not count:
        msg = "no points to train"
        raise ValueError(msg)
    devices = list(devices or jax.local_devices())[:count]
    mesh = jax.sharding.Mesh(np.asarray(devices), ("points",))
    each, every = (jax.NamedSharding(mesh, jax.P(*axis)) for axis in (("points",), ()))

    points = _padded(points, len(devices))
    carry = jax.device_put(jax.vmap(lambda point: start(program, point))(points), each)
    rate = jax.device_put(jnp.asarray(points.learning_rate), each)
    examples = jax.device_put(Examples(*map(jnp.asarray, task.arrays)), every)

    def drawn(first: int) -> jax.Array:
        seeds, place = np.unique(np.asarray(points.seed), return_inverse=True)
        each_seed = [
            batches(
                int(seed),
                first=first,
                steps=program.chunk,
                batch=program.batch,
                examples=len(task.y_train),
            )
            for seed in seeds
        ]
        return jax.device_put(np.stack(each_seed)[place], each)

    tell("compile", 0)
    began = time.monotonic()
    apply = models.build(program.model, jax.random.key(0)).apply
    compiled = (
        jax.jit(
            jax.shard_map(
                jax.vmap(chunk(program, apply), in_axes=(0, 0, 0, None)),
                mesh=mesh,
                in_specs=(*[jax.P("points")] * 3, jax.P()),
                out_specs=jax.P("points"),
                # The points never meet, so there is nothing for this check to find; it would
                # ask the probe's sinks to declare the axis they vary over.
                check_vma=False,
            ),
            donate_argnums=0,
        )
        .lower(carry, rate, drawn(0), examples)
        .compile()
    )
    compile_seconds = time.monotonic() - began

    began = time.monotonic()
    chunks, structure = [], jax.tree.structure(None)
    for first in range(0, steps, program.chunk):
        carry, left = compiled(carry, rate, drawn(first), examples)
        leaves, structure = jax.tree.flatten(left)
        chunks.append([np.asarray(leaf)[:count] for leaf in leaves])
        tell("train", first + program.chunk)
    stacked = structure.unflatten(
        jnp.asarray(np.stack(leaves, axis=1)) for leaves in zip(*chunks, strict=True)
    )
    kept, sites = profiles(stacked.flow)
    return History(
        np.asarray(stacked.train_loss),
        np.asarray(stacked.test_accuracy),
        kept,
        sites,
        compile_seconds,
        time.monotonic() - began,
    )


def _padded(points: Point, multiple: int) -> Point:
    """`points` with the last one repeated until their number is a multiple."""
    count = np.shape(points.learning_rate)[0]
    order = np.minimum(np.arange(-(-count // multiple) * multiple), count - 1)
    return jax.tree.map(lambda leaf: leaf[order], points)
