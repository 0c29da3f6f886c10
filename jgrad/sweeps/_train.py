"""Many trainings as one compiled program: scan over steps, vmap over points, split by device."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jgrad import _jaxpr, probes
from jgrad._types import PyTree

from ._batches import batches
from ._layout import Spread
from ._program import Point, Program, check_batch
from ._record import profiles
from ._snapshot import PAUSE, Snapshot, keep, kept
from ._step import Carry, Examples, chunk, start

#: Bytes of a CPU's cache that one core can count on.
_CACHE = 2 * 2**20


class History(NamedTuple):
    """What a training leaves, [points, chunks, ...] throughout, on the host.

    Attributes:
      train_loss: mean loss of each chunk's batches; NaN from where a point has diverged.
      test_loss: mean loss on the test examples after each chunk.
      test_score: as `Judged.score`, after each chunk.
      gradient_norm: quantiles over each chunk of the gradient's norm, a last axis of its own.
      clip_share: share of each chunk's steps in which clipping acted.
      sharpness: largest Hessian eigenvalue at the first step of each chunk, or NaN.
      diverged_at: [points], the first step whose loss or gradient was not finite; NaN for none.
      profiles: quantity → [points, chunks, depth], of the flow at the first step of each chunk.
      sites: the labels along depth.
      compile_seconds: what compiling took.
      train_seconds: what running took.
    """

    train_loss: np.ndarray
    test_loss: np.ndarray
    test_score: np.ndarray
    gradient_norm: np.ndarray
    clip_share: np.ndarray
    sharpness: np.ndarray
    diverged_at: np.ndarray
    profiles: dict[str, np.ndarray]
    sites: tuple[str, ...]
    compile_seconds: float
    train_seconds: float


def train(
    program: Program,
    points: Point,
    examples: Examples,
    *,
    tell: Callable[[str, int], object] = lambda *_: None,
    devices: Sequence[Any] | None = None,
    memory: int | None = None,
    spread: Spread | None = None,
    resume: Path | None = None,
) -> History:
    """Train every point with one compilation.

    The points are shared out over the devices (the last one is repeated where they do not divide),
    each of which runs its own alone: all at once, or in as few equal groups, one after the other,
    as its memory asks for. The same points on as many devices of the same kind give the same bits;
    shared out in another way, the same up to rounding.

    A point whose loss stops being finite keeps the parameters it had and the others go on; when
    none is left, the rest of the steps is not run.

    Args:
      program: what to compile.
      points: the numbers of each training, along a leading axis.
      examples: the task's arrays.
      tell: called on the host as ("compile", 0), then ("train", steps done) after each chunk.
      devices: where to run; all of this process's by default.
      memory: bytes that one device may take; by default nine tenths of what it has, or of what the
        machine has free.
      spread: lay one model over a mesh, in place of points over devices.
      resume: a file where the training is kept while it runs, every `_snapshot.PAUSE` seconds or
        so; if it is there, the training goes on from it, to the same bits. It stays there.

    Raises:
      ValueError: there are no points, fewer examples than a batch, or a group of one point alone
        needs more memory than there is.
    """
    count = np.shape(points.learning_rate)[0]
    if not count:
        msg = "no points to train"
        raise ValueError(msg)
    check_batch(program.batch, len(jax.tree.leaves(examples.train)[0]))
    run = _Run(program, points, examples, devices, spread)

    tell("compile", 0)
    began = time.monotonic()
    compiled = run.compile(_memory(run.devices) if memory is None else memory)
    compile_seconds = time.monotonic() - began

    began = saved = time.monotonic()
    reached = Snapshot(0, run.layout, run.carry, [])
    if resume is not None:
        reached = kept(resume, reached) or reached
    run.carry, told, structure = reached.carry, [*reached.told], jax.tree.structure(None)
    for first in range(reached.step, program.steps, program.chunk):
        if told and not run.any_alive:
            told.append(_nothing(told[-1], structure))
        else:
            leaves, structure = jax.tree.flatten(compiled(first))
            told.append([np.asarray(leaf)[:count] for leaf in leaves])
        done = first + program.chunk
        # Where nothing is left to train, there is nothing to go on with.
        left = done < program.steps and run.any_alive
        if resume is not None and left and time.monotonic() - saved >= PAUSE:
            keep(resume, Snapshot(done, run.layout, run.carry, told))
            saved = time.monotonic()
        tell("train", done)
    whole = structure.unflatten(np.stack(leaves, axis=1) for leaves in zip(*told, strict=True))
    along, sites = profiles(whole.flow, program.objective.scope)
    steps_alive = whole.alive_steps.sum(1)
    return History(
        train_loss=whole.train_loss,
        test_loss=whole.judged.loss,
        test_score=whole.judged.score,
        gradient_norm=whole.gradient_norm,
        clip_share=whole.clip_share,
        sharpness=whole.sharpness,
        diverged_at=np.where(steps_alive < program.steps, steps_alive, np.nan),
        profiles={
            name: values.reshape(count, len(told), -1) if whole.flow is None else values
            for name, values in along.items()
        },
        sites=sites,
        compile_seconds=compile_seconds,
        train_seconds=time.monotonic() - began,
    )


class _Run:
    """A training laid out on devices: its arrays, where it stands, the batches that come next."""

    def __init__(
        self,
        program: Program,
        points: Point,
        examples: Examples,
        devices: Sequence[Any] | None,
        spread: Spread | None,
    ):
        count = np.shape(points.learning_rate)[0]
        self.program, self.spread = program, spread
        mine = list(devices or jax.local_devices())
        self.devices = list(spread.mesh.devices.flat) if spread else mine[:count]
        self.width = -(-count // (1 if spread else len(self.devices)))
        self.points = points
        self.examples = jax.tree.map(jnp.asarray, examples)
        self.train_count = len(jax.tree.leaves(examples.train)[0])
        self.carry: Carry | None = None
        self.layout: tuple[int, ...] = ()
        #: The number of a step, and the batches from there on.
        self.next: tuple[int, jax.Array] | None = None

    @property
    def any_alive(self) -> bool:
        """Whether some point has not diverged."""
        return self.carry is None or bool(np.any(self.carry.alive))

    def compile(self, memory: int) -> Callable[[int], Any]:
        """The function of the number of a chunk's first step that trains it and says what it left.

        Compiled for all of a device's points at once; where that asks for more than the memory,
        once more for groups that fit.
        """
        width = _even(self.width, self._cached)
        compiled, need = self._compile(width)
        if need > memory:
            alone = need / width
            if alone > memory:
                msg = (
                    f"one training needs about {_mebibytes(alone)} ({alone:.0f} bytes), "
                    f"a device has {_mebibytes(memory)}"
                )
                raise ValueError(msg)
            compiled, _ = self._compile(_even(self.width, int(memory // alone)))
        return compiled

    @property
    def _cached(self) -> int:
        """How many points at once: on a CPU no more than its cache holds, else all.

        Of a model that convolves one: mapped over their kernels, convolutions are grouped ones,
        for which there is no fast kernel.

        Counted are parameters and optimiser memory, three times: as they were, their gradient, and
        as they will be.
        """
        if self.devices[0].platform != "cpu":
            return self.width
        if _jaxpr.convolves(_jaxpr.trace(*self._one_loss())[0]):
            return 1
        one = jax.eval_shape(jax.vmap(lambda point: start(self.program, point)), self.points)
        count = np.shape(self.points.learning_rate)[0]
        held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one)) / count
        return max(1, int(_CACHE // (3 * held)))

    def _compile(self, width: int) -> tuple[Callable[[int], Any], float]:
        groups = -(-self.width // width)
        multiple = groups * width * (1 if self.spread else len(self.devices))
        points = _padded(self.points, multiple)
        inner = jax.vmap(
            chunk(self.program, probed=self._has_sites()), in_axes=(0, 0, 0, None, 0, None)
        )
        rates = jnp.asarray(points.learning_rate, jnp.float32)
        seeds = jnp.asarray(points.seed, jnp.uint32)

        def device_chunk(carry, seeds, rates, first, drawn, examples):
            def grouped(tree):
                return jax.tree.map(lambda leaf: leaf.reshape(groups, width, *leaf.shape[1:]), tree)

            if groups == 1:
                return inner(carry, seeds, rates, first, drawn, examples)
            left = lax.map(
                lambda group: inner(*group[:3], first, group[3], examples),
                grouped((carry, seeds, rates, drawn)),
            )
            return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), left)

        starting = jax.vmap(lambda point: start(self.program, point))
        if self.spread is not None:
            placed = points._replace(params=self.spread.place(points.params))
            carry = jax.jit(starting)(placed)
            seeds, rates, examples = self.spread.each((seeds, rates, self.examples))
            place, fn = self.spread.batches, device_chunk
            everywhere = jax.NamedSharding(self.spread.mesh, jax.P())
        else:
            mesh = jax.sharding.Mesh(np.asarray(self.devices), ("points",))
            of_each, every = (jax.NamedSharding(mesh, jax.P(*a)) for a in (("points",), ()))
            carry, seeds, rates = jax.device_put((starting(points), seeds, rates), of_each)
            examples = jax.device_put(self.examples, every)
            everywhere = of_each
            spec = jax.P("points")
            fn = jax.shard_map(
                device_chunk,
                mesh=mesh,
                in_specs=(spec, spec, spec, jax.P(), spec, jax.P()),
                out_specs=spec,
                # The points never meet, so there is nothing for this check to find; it would
                # ask the probe's sinks to declare the axis they vary over.
                check_vma=False,
            )

            def place(drawn):
                return jax.device_put(drawn, of_each)

        def drawn(first: int) -> tuple[int, jax.Array]:
            return first, place(self._drawn(np.asarray(points.seed), first))

        # A chunk hands its carry on as it lies, so that the next one takes it without a copy.
        lies = jax.tree.map(lambda leaf: leaf.sharding, carry)
        self.next = drawn(0)
        arguments = (carry, seeds, rates, np.uint32(0), self.next[1], examples)
        compiled = (
            jax.jit(fn, donate_argnums=0, out_shardings=(lies, everywhere))
            .lower(*arguments)
            .compile()
        )
        self.carry, self.layout = carry, (groups, width)

        def advance(first: int) -> Any:
            if self.next is None or self.next[0] != first:
                self.next = drawn(first)
            self.carry, left = compiled(
                self.carry, seeds, rates, np.uint32(first), self.next[1], examples
            )
            following = first + self.program.chunk
            if following < self.program.steps:
                # While the devices work, the host draws what comes next.
                self.next = drawn(following)
            return left

        return advance, _need(compiled)

    def _drawn(self, seeds: np.ndarray, first: int) -> np.ndarray:
        """Which examples each point's steps see, [points, steps, batch]."""
        different, place = np.unique(seeds, return_inverse=True)
        each_seed = [
            batches(
                int(seed),
                first=first,
                steps=self.program.chunk,
                batch=self.program.batch,
                examples=self.train_count,
            )
            for seed in different
        ]
        return np.stack(each_seed)[place]

    def _has_sites(self) -> bool:
        """Whether there is any activation to probe: a linear network has none."""
        loss, params = self._one_loss()
        return bool(probes.sites(loss)(params))

    def _one_loss(self) -> tuple[Callable[[PyTree], jax.Array], PyTree]:
        """The first point's loss as a function of its parameters, and these."""
        batch = jax.tree.map(lambda leaf: leaf[: self.program.batch], self.examples.train)
        params, state = jax.tree.map(lambda leaf: leaf[0], self.points[2:])

        def loss(params: PyTree) -> jax.Array:
            return self.program.objective.loss(params, state, batch, jax.random.key(0))[0]

        return loss, params


def _even(count: int, most: int) -> int:
    """The size, at most `most`, of the groups into which `count` points go with fewest to spare.

    Of several the largest, and none below half of `most`: points at once share what a step costs
    whatever it holds, and the last group is filled up with repetitions.

    Example:
      >>> _even(10, 4), _even(16, 3), _even(3, 8)
      (2, 2, 3)
    """
    most = min(most, count)
    sizes = range(most, -(-most // 2) - 1, -1)
    return min(sizes, key=lambda size: -(-count // size) * size)


def _padded(points: Point, multiple: int) -> Point:
    """`points` with the last one repeated until their number is a multiple."""
    count = np.shape(points.learning_rate)[0]
    order = np.minimum(np.arange(-(-count // multiple) * multiple), count - 1)
    return jax.tree.map(lambda leaf: leaf[order], points)


def _nothing(like: list[np.ndarray], structure: Any) -> list[np.ndarray]:
    """What a chunk leaves in which no point is alive: no step, and numbers that are none.

    The parameters are what they were, and so is what they score.
    """
    filled = [np.full_like(a, np.nan if a.dtype.kind == "f" else 0) for a in like]
    judged = structure.unflatten(like).judged
    return jax.tree.leaves(structure.unflatten(filled)._replace(judged=judged))


def _need(compiled: Any) -> float:
    """Bytes that a compiled program takes on one device; 0 where the backend does not say."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return 0.0
    held = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return float(held + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes)


def _memory(devices: Sequence[Any]) -> int:
    """Bytes that one of these devices may take: nine tenths of what is free."""
    told = devices[0].memory_stats() or {}
    if "bytes_limit" in told:
        return int(0.9 * (told["bytes_limit"] - told.get("bytes_in_use", 0)))
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(0.9 * free / len(devices))


def _mebibytes(number: float | int) -> str:
    return f"{number / 2**20:.0f} MiB"
