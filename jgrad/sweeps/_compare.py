"""Run a comparison: program after program, each saved as it is done, into one dataset."""

import dataclasses
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jgrad import data, results
from jgrad.data import Split
from jgrad.models import MLP

from ._comparison import Comparison
from ._forecast import Predicted, predicted
from ._program import Point, Program
from ._progress import Clock, Progress
from ._step import drawn
from ._train import History, train


def compare(
    comparison: Comparison,
    *,
    output: str | Path | None = None,
    progress: Callable[[Progress], object] | None = None,
    devices: Sequence[Any] | None = None,
) -> xr.Dataset:
    """Train everything that `comparison` describes; the dataset of `jgrad.results.VARIABLES`.

    Given an output folder, each program's results are saved there (whole or not at all) as soon as
    it is done and `results.nc` at the end; the same call made again, after whatever ended the
    first, trains only what is missing and returns the same numbers.

    Args:
      comparison: what to train.
      output: a new or empty folder, or that of the same comparison.
      progress: called on the host with a `Progress`, before each compilation and after each chunk.
      devices: where to train; all of this process's by default.

    Raises:
      ValueError: the data set is not known or not sound, batches are larger than it, or the folder
        holds something else; nothing has then been compiled or written.
    """
    task = data.load(comparison.data)
    if comparison.batch > len(task.y_train):
        msg = f"batch={comparison.batch} is more than the {len(task.y_train)} training examples"
        raise ValueError(msg)
    if len(task.shape) != 1:
        task = task._replace(
            x_train=task.x_train.reshape(len(task.x_train), -1),
            x_test=task.x_test.reshape(len(task.x_test), -1),
        )
    folder = (
        None
        if output is None
        else results.claim(output, _identity(comparison, task, devices or jax.local_devices()))
    )
    clock = Clock(progress, comparison.programs)

    parts: list[xr.Dataset] = []

    def run(activation: str, remedy: str | None) -> xr.Dataset:
        job = _Job(comparison, activation, remedy, task)
        stored = None if folder is None else folder.part(job.label)
        if stored is not None and stored.exists():
            part = results.load(stored)
            clock.tell(
                "resume", job.label, len(parts), job.count, comparison.steps, comparison.steps
            )
        else:
            part = job.run(clock, len(parts), devices)
            if stored is not None:
                results.save(part, stored)
        parts.append(part)
        return part

    base = {activation: run(activation, None) for activation in comparison.activations}
    failing = [
        name
        for name in sorted(base, key=lambda name: _score(base[name]))
        if _failed(base[name], comparison)
    ]
    if failing:
        tried = {
            remedy: run(failing[0], remedy)
            for remedy in comparison.remedies[: comparison.programs - len(parts)]
        }
        best = sorted(tried, key=lambda remedy: -_score(tried[remedy]))[: comparison.spread]
        for activation, remedy in [(a, r) for a in failing[1:] for r in best]:
            if len(parts) < comparison.programs:
                run(activation, remedy)

    whole = _joined(parts).assign_attrs(_attrs(comparison, task, parts))
    if folder is not None:
        results.save(whole, folder.results)
    return whole


@dataclasses.dataclass(frozen=True)
class _Job:
    """One program of a comparison, with all its points."""

    comparison: Comparison
    activation: str
    remedy: str | None
    task: Split

    @property
    def label(self) -> str:
        return " + ".join(filter(None, (self.activation, self.remedy)))

    @property
    def model(self) -> MLP:
        return self.comparison.model(
            self.activation,
            self.remedy,
            features=self.task.shape[0],
            classes=self.task.classes,
        )

    @property
    def program(self) -> Program:
        return self.comparison.program(self.model, self.remedy)

    @property
    def rates(self) -> Sequence[float]:
        return self.comparison.learning_rates[self.program.optimizer]

    @property
    def grid(self) -> tuple[int, int, int]:
        """How many initialisers, learning rates and seeds."""
        return len(self.comparison.inits), len(self.rates), len(self.comparison.seeds)

    @property
    def count(self) -> int:
        return int(np.prod(self.grid))

    def points(self) -> Point:
        """All points, initialiser slowest and seed fastest, on the host."""
        keys = jnp.stack([jax.random.key(seed) for seed in self.comparison.seeds])
        every = [drawn(self.model, init, keys) for init in self.comparison.inits]

        # In NumPy: the same in JAX would compile a dozen small programs.
        def spread(*leaves: jax.Array) -> np.ndarray:
            stacked = np.stack([np.asarray(leaf) for leaf in leaves])[:, None]
            rest = stacked.shape[3:]
            return np.broadcast_to(stacked, (*self.grid, *rest)).reshape(self.count, *rest)

        params, state = jax.tree.map(spread, *every)
        rate = np.asarray(self.rates, np.float32)[None, :, None]
        return Point(
            seed=np.resize(np.asarray(self.comparison.seeds, np.uint32), self.count),
            learning_rate=np.broadcast_to(rate, self.grid).reshape(-1),
            params=params,
            state=state,
        )

    def run(self, clock: Clock, index: int, devices: Sequence[Any] | None) -> xr.Dataset:
        """Train them all."""
        steps, points = self.comparison.steps, self.points()

        def tell(stage: Any, step: int) -> None:
            clock.tell(stage, self.label, index, self.count, step, steps)

        history = train(self.program, points, self.task, steps=steps, tell=tell, devices=devices)
        return self._dataset(history, self.forecasts(points))

    def forecasts(self, points: Point) -> Predicted:
        """What theory says of each initialiser, [config, depth]."""
        of_each = self.count // len(self.comparison.inits)
        each = [
            predicted(
                self.model,
                init,
                jax.tree.map(itemgetter(slice(i * of_each, (i + 1) * of_each)), points.params),
                self.task.x_train,
                batch=self.comparison.batch,
            )
            for i, init in enumerate(self.comparison.inits)
        ]
        return Predicted(*map(np.stack, zip(*each, strict=True)))

    def _dataset(self, history: History, forecasts: Predicted) -> xr.Dataset:
        comparison, model = self.comparison, self.model
        configs = len(comparison.inits)
        ends = np.arange(1, comparison.steps // comparison.chunk + 1) * comparison.chunk
        labels = [" + ".join((self.activation, init)) for init in comparison.inits]
        constant = {
            "activation": self.activation,
            "norm": model.norm,
            "skip": model.skip,
            "optimizer": self.program.optimizer,
            "clip": self.program.clip,
            "layers": comparison.depth,
            "width": comparison.width,
            "program": self.label,
            "remedy": self.remedy or "",
        }
        curves = {
            "train_loss": history.train_loss,
            "test_accuracy": history.test_accuracy,
            "diverged": ~np.isfinite(history.train_loss).all(-1),
            **history.profiles,
        }
        return results.build(
            {
                **{name: [value] * configs for name, value in constant.items()},
                **{name: a.reshape(*self.grid, *a.shape[1:]) for name, a in curves.items()},
                "init": list(comparison.inits),
                "label": [" + ".join(filter(None, (name, self.remedy))) for name in labels],
                "baseline": labels if self.remedy else [""] * configs,
                "learning_rate": np.tile(self.rates, (configs, 1)),
                "seed": list(comparison.seeds),
                "step": ends,
                "record": ends - comparison.chunk,
                "site": list(history.sites),
                "forecast_log_gain": forecasts.log_gain,
                "forecast_linear_log_gain": forecasts.linear_log_gain,
            },
            {
                "compile_seconds": history.compile_seconds,
                "train_seconds": history.train_seconds,
            },
        )


def _best(part: xr.Dataset) -> xr.DataArray:
    """Final test accuracy of each configuration at its best learning rate, mean over seeds."""
    return part.test_accuracy.isel(step=-1).mean("seed").max("rate")


def _score(part: xr.Dataset) -> float:
    """`_best`, averaged over the initialisers."""
    return float(_best(part).mean())


def _failed(part: xr.Dataset, comparison: Comparison) -> bool:
    """Whether some configuration does not train."""
    return bool((_best(part) <= comparison.trains_above).any())


def _joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """All configurations one after the other."""
    return xr.concat(
        parts,
        "config",
        data_vars="minimal",
        coords="minimal",
        compat="equals",
        join="exact",
        combine_attrs="drop_conflicts",
    )


def _identity(comparison: Comparison, task: Split, devices: Sequence[Any]) -> dict[str, Any]:
    """What decides the bits: every field, the data's own bytes, the software, the devices."""
    return {
        **dataclasses.asdict(comparison),
        "data_digest": task.digest(),
        "software": results.software(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
        "schema": results.SCHEMA,
    }


def _attrs(comparison: Comparison, task: Split, parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    def total(name: str) -> float:
        return float(sum(part.attrs[name] for part in parts))

    return {
        **results.provenance(),
        "data": task.name,
        "data_digest": task.digest(),
        "train_examples": len(task.y_train),
        "test_examples": len(task.y_test),
        "classes": task.classes,
        "seeds": list(comparison.seeds),
        "steps": comparison.steps,
        "batch": comparison.batch,
        "trains_above": comparison.trains_above,
        "n_programs": len(parts),
        "n_points": sum(part.train_loss.isel(step=0).size for part in parts),
        "compile_seconds": total("compile_seconds"),
        "train_seconds": total("train_seconds"),
    }
