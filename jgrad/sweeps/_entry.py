"""One configuration ready to be trained: its program, its initial parameters, its examples."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._types import PyTree
from jgrad.data import Split
from jgrad.models import MLP
from jgrad.results import Yardstick

from ._drawn import drawn
from ._forecast import Predicted, predicted
from ._program import Point, Program, check_batch
from ._step import Examples
from ._trial import Trial, settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A configuration: everything but the seeds.

    Attributes:
      label: its name in the results; different for every configuration.
      program: what trains it.
      rates: the learning rates it is trained at.
      draw: seeds -> (params, state), each leaf [seeds, ...].
      examples: the task's arrays, on the host.
      settings: what is written down of it.
      yardstick: how it is judged, and what its numbers are held against.
      remedy: what was tried on the baseline; "" for a configuration that is none.
      baseline: the label of the configuration that it is to remedy, or "".
      forecast: params [n, ...] -> what theory says of them; None where there is no theory.
    """

    label: str
    program: Program
    rates: tuple[float, ...]
    draw: Callable[[Sequence[int]], tuple[PyTree, PyTree]]
    examples: Examples
    settings: Mapping[str, Any]
    yardstick: Yardstick
    remedy: str = ""
    baseline: str = ""
    forecast: Callable[[PyTree], Predicted] | None = None

    def points(self, seeds: Sequence[int]) -> Point:
        """All its points on the host, learning rate slowest and seed fastest."""
        shape = len(self.rates), len(seeds)

        # In NumPy: the same in JAX would compile a dozen small programs.
        def spread(leaf: jax.Array) -> np.ndarray:
            host = np.asarray(leaf)
            whole = np.broadcast_to(host, (len(self.rates), *host.shape))
            return whole.reshape(-1, *host.shape[1:])

        params, state = jax.tree.map(spread, self.draw(seeds))
        rates = np.asarray(self.rates, np.float32)[:, None]
        return Point(
            seed=np.resize(np.asarray(seeds, np.uint32), shape[0] * shape[1]),
            learning_rate=np.broadcast_to(rates, shape).reshape(-1),
            params=params,
            state=state,
        )


def entry(
    trial: Trial,
    task: Split,
    *,
    label: str,
    rates: tuple[float, ...],
    steps: int,
    chunk: int,
    sharpness: bool = False,
    remedy: str = "",
    baseline: str = "",
) -> Entry:
    """The configuration that a trial describes, on its task.

    Raises:
      ValueError: the task does not fit the model, or has fewer examples than a batch.
    """
    check_batch(trial.batch, len(task.y_train))
    model = trial.fitted(task)

    def draw(seeds: Sequence[int]) -> tuple[PyTree, PyTree]:
        keys = jnp.stack([jax.random.key(seed) for seed in seeds])
        return drawn(model, trial.init, keys, trial.gain)

    def forecast(params: PyTree) -> Predicted:
        x = task.x_train.reshape(len(task.x_train), -1)
        return predicted(model, trial.init, params, x, batch=trial.batch)  # type: ignore[arg-type]

    return Entry(
        label=label,
        program=trial.program(task, steps=steps, chunk=chunk, sharpness=sharpness),
        rates=rates,
        draw=draw,
        examples=Examples((task.x_train, task.y_train), (task.x_test, task.y_test)),
        settings={**settings(dataclasses.replace(trial, model=model)), "data": task.name},
        yardstick=_yardstick(task),
        remedy=remedy,
        baseline=baseline,
        forecast=forecast if isinstance(model, MLP) else None,
    )


def _yardstick(task: Split) -> Yardstick:
    numbers = task.kind == "regression"
    return Yardstick(
        score="explained variance" if numbers else "accuracy",
        chance=task.chance,
        baseline_loss=task.baseline,
        loss_unit="" if numbers else "nat",
    )
