"""Sweeps against the same trainings as a plain PyTorch loop; depth, points, what the flow costs."""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from unittest import mock

# Before JAX starts: a device for every core, since points are shared out over devices.
os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={os.cpu_count()}")

import jax
import numpy as np

from jgrad import data, sweeps
from jgrad.models import MLP
from jgrad.optim import Chain
from jgrad.sweeps import Examples, Point, Program, Supervised
from jgrad.sweeps import _train as engine

WIDTH, BATCH, CHUNK, CLIP, RATE = 64, 64, 20, 1.0, 0.05
STEPS = 600


def training(depth: int, points: int, steps: int) -> tuple[Program, Point, Examples]:
    """An MLP on digits with SGD and clipping, at so many points."""
    task = data.load("digits")
    model = MLP(depth=depth, width=WIDTH, activation="tanh").sized(task.shape, task.classes)
    program = Program(
        objective=Supervised(model),
        chain=Chain(optimizer="sgd", clip=f"global_norm:{CLIP}"),
        batch=BATCH,
        steps=steps,
        chunk=CHUNK,
    )
    params, state = sweeps.drawn(model, "xavier", jax.random.split(jax.random.key(0), points))
    point = Point(
        seed=np.arange(points, dtype=np.uint32),
        learning_rate=np.full(points, RATE, np.float32),
        params=jax.tree.map(np.asarray, params),
        state=state,
    )
    return program, point, Examples((task.x_train, task.y_train), (task.x_test, task.y_test))


def seconds_a_step(depth: int, points: int, steps: int, *, flow: bool = True) -> float:
    """Of a whole sweep, without compiling, for all points together."""
    with mock.patch.object(engine._Run, "_has_sites", return_value=flow):
        return sweeps.train(*training(depth, points, steps)).train_seconds / steps


def torch_loop(depth: int, *, compiled: bool) -> Callable[[int], float]:
    """A function of a number of steps: seconds a step of one training in PyTorch.

    It leaves the same curves as a sweep: the loss of each step, the test accuracy of each chunk.
    """
    import torch
    from torch import nn

    torch.set_num_threads(1)  # with more, networks of this size are slower
    task = data.load("digits")
    x, x_test = map(torch.from_numpy, (task.x_train, task.x_test))
    y, y_test = (torch.from_numpy(labels).long() for labels in (task.y_train, task.y_test))
    widths = [task.shape[0], *[WIDTH] * depth]
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.Tanh())]
    net = nn.Sequential(*layers, nn.Linear(WIDTH, task.classes))
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    forward = torch.compile(net) if compiled else net
    measure = nn.CrossEntropyLoss()
    generator = np.random.default_rng(0)

    def run(steps: int) -> float:
        start = time.perf_counter()
        losses, accuracies = [], []
        for step in range(steps):
            drawn = torch.from_numpy(generator.integers(0, len(x), BATCH))
            optimizer.zero_grad()
            loss = measure(forward(x[drawn]), y[drawn])
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
            losses.append(loss.detach())
            if step % CHUNK == CHUNK - 1:
                with torch.no_grad():
                    accuracies.append((net(x_test).argmax(-1) == y_test).float().mean())
        return (time.perf_counter() - start) / steps

    return run


def throughput(rounds: int, points: int) -> None:
    """Point-steps a second beside PyTorch's, in turn."""
    loops = {"eager": torch_loop(10, compiled=False)}
    try:
        compiled = torch_loop(10, compiled=True)
        compiled(3)
        loops["compiled"] = compiled
    except Exception as error:
        print(f"torch.compile does not work here: {str(error).splitlines()[0]}")
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        ours.append(points / seconds_a_step(10, points, STEPS))
        for name, run in loops.items():
            theirs[name].append(1 / run(STEPS))
    print(f"{points} points, 10×{WIDTH}, batch {BATCH}, {jax.device_count()} devices")
    print(f"jgrad           {max(ours):8.0f} point-steps/s (median {statistics.median(ours):.0f})")
    for name, found in theirs.items():
        pairs = [a / b for a, b in zip(ours, found, strict=True)]
        print(
            f"torch, {name:8} {max(found):8.0f} (median {statistics.median(found):.0f}); "
            f"ratio of the best {max(ours) / max(found):.2f}, median of pairs "
            f"{statistics.median(pairs):.2f}"
        )


def recording(rounds: int, points: int) -> None:
    """What a flow every CHUNK steps costs, in turn with none."""
    pairs = [
        seconds_a_step(10, points, STEPS) / seconds_a_step(10, points, STEPS, flow=False)
        for _ in range(rounds)
    ]
    print(
        f"flow every {CHUNK} steps: {statistics.median(pairs):.3f} of the time without "
        f"({min(pairs):.3f} to {max(pairs):.3f})"
    )


def depths() -> None:
    """Seconds to compile, with nothing kept from before."""
    jax.config.update("jax_enable_compilation_cache", False)
    found = {d: sweeps.train(*training(d, 2, CHUNK)).compile_seconds for d in (10, 1000, 10, 1000)}
    print(
        f"compiling: depth 10 {found[10]:.2f} s, depth 1000 {found[1000]:.2f} s, "
        f"ratio {found[1000] / found[10]:.2f}"
    )


def linear() -> None:
    """Time and memory a point, by number of points."""
    for points in (16, 32, 64, 128):
        run = engine._Run(*training(10, points, 100), None, None)
        _, need = run._compile(run.width)
        each = min(seconds_a_step(10, points, 200) for _ in range(3)) / points
        print(
            f"{points:4} points: {1e3 * each:.3f} ms a point-step, "
            f"{need / run.width / 2**20:.2f} MiB a point"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument(
        "--only", choices=["throughput", "recording", "depths", "linear"], action="append"
    )
    given = parser.parse_args()
    wanted = given.only or ["throughput", "recording", "linear", "depths"]
    if "throughput" in wanted:
        throughput(given.rounds, given.points)
    if "recording" in wanted:
        recording(given.rounds, given.points)
    if "linear" in wanted:
        linear()
    if "depths" in wanted:
        depths()


if __name__ == "__main__":
    main()
