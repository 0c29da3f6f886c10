"""Runs programs one after the other, each saved whole as it is done; on one host or on several."""

import dataclasses
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from jgrad import results

from ._entry import Entry
from ._forecast import Predicted
from ._layout import Spread, devices_here, meet, share
from ._program import Point
from ._progress import Clock
from ._step import QUANTILES
from ._train import History, train
from ._trial import words


@dataclasses.dataclass(frozen=True)
class Runner:
    """What all programs of a sweep have in common.

    Attributes:
      seeds: every configuration is trained with all of them.
      folder: where finished programs are kept, or None.
      clock: tells the caller where the sweep stands.
      devices: where to train; all there are by default.
      memory: bytes that a device may take.
      spread: lay one model over a mesh.
    """

    seeds: tuple[int, ...]
    folder: results.Folder | None
    clock: Clock
    devices: Sequence[Any] | None = None
    memory: int | None = None
    spread: Spread | None = None

    def run(self, name: str, entries: Sequence[Entry], index: int, /) -> xr.Dataset:
        """The results of configurations that share one program, trained or found in the folder.

        Several processes each train their share of the points on their own devices, and each keeps
        its share in the folder; what comes back is the whole, in every process.
        """
        steps, count = entries[0].program.steps, len(entries[0].rates) * len(self.seeds)
        # The number tells names apart that are alike as file names.
        stored = None if self.folder is None else self.folder.part(f"{index + 1} {name}")

        def tell(stage: Any, step: int) -> None:
            self.clock.tell(stage, name, index, count * len(entries), step, steps)

        if stored is not None and stored.exists():
            tell("resume", steps)
            _forget(stored)
            return results.load(stored)
        each = [entry.points(self.seeds) for entry in entries]
        points = jax.tree.map(lambda *leaves: np.concatenate(leaves), *each)
        history = self._history(entries, points, tell, stored)
        forecasts = [
            _forecast(*pair, len(history.sites)) for pair in zip(entries, each, strict=True)
        ]
        part = _dataset(name, entries, self.seeds, history, forecasts)
        if stored is not None:
            if jax.process_index() == 0:
                results.save(part, stored)
            meet(f"{name} is saved")
            _forget(stored)
        return part

    def _history(
        self, entries: Sequence[Entry], points: Point, tell: Any, stored: Path | None
    ) -> History:
        program, examples = entries[0].program, entries[0].examples
        processes = jax.process_count()
        settings = {"tell": tell, "memory": self.memory}
        if self.spread is not None:
            # No process has the whole of a model that is spread over several.
            where = _running(stored) if stored is not None and processes == 1 else None
            return train(program, points, examples, spread=self.spread, resume=where, **settings)
        settings["resume"] = None if stored is None else _running(stored)
        devices = devices_here(self.devices)
        if processes == 1:
            return train(program, points, examples, devices=devices, **settings)
        if stored is None:
            msg = "several processes need an output folder that all of them see"
            raise ValueError(msg)
        count = np.size(points.learning_rate)
        mine = share(count, processes=processes, process=jax.process_index())
        shard = _shard(stored)
        if len(mine) and not shard.exists():
            own = jax.tree.map(lambda leaf: leaf[mine], points)
            _save_history(train(program, own, examples, devices=devices, **settings), shard)
        meet(f"{stored.name} is trained")
        return _merged(
            count, [_load_history(_shard(stored, p)) for p in range(min(processes, count))]
        )


def _dataset(
    name: str,
    entries: Sequence[Entry],
    seeds: tuple[int, ...],
    history: History,
    forecasts: Sequence[Predicted],
) -> xr.Dataset:
    """The labelled results of one program's configurations."""
    program, rates = entries[0].program, [entry.rates for entry in entries]
    grid = len(entries), len(rates[0]), len(seeds)
    ends = np.arange(1, program.steps // program.chunk + 1) * program.chunk
    yardstick = entries[0].yardstick  # one program, one task
    score, nothing = history.test_score, np.full_like(history.test_score, np.nan)
    curves = {
        "train_loss": history.train_loss,
        "test_loss": history.test_loss,
        "test_accuracy": score if yardstick.score == "accuracy" else nothing,
        "explained_variance": score if yardstick.score == "explained variance" else nothing,
        "gradient_norm": history.gradient_norm,
        "clip_share": history.clip_share,
        "sharpness": history.sharpness,
        "diverged_at": history.diverged_at,
        "diverged": np.isfinite(history.diverged_at),
        **history.profiles,
    }
    predictions = {
        f"forecast_{name}": np.stack([getattr(forecast, name) for forecast in forecasts])
        for name in Predicted._fields
    }
    return results.build(
        {
            **{key: a.reshape(*grid, *a.shape[1:]) for key, a in curves.items()},
            **predictions,
            **{name: [value] * len(entries) for name, value in yardstick._asdict().items()},
            "label": [entry.label for entry in entries],
            "program": [name] * len(entries),
            "remedy": [entry.remedy for entry in entries],
            "baseline": [entry.baseline for entry in entries],
            "learning_rate": np.asarray(rates),
            "seed": list(seeds),
            "step": ends,
            "record": ends - program.chunk,
            "quantile": list(QUANTILES),
            "site": np.tile(np.asarray(history.sites, dtype=object), (len(entries), 1)),
        },
        {"compile_seconds": history.compile_seconds, "train_seconds": history.train_seconds},
        settings=_columns([entry.settings for entry in entries]),
    )


def _forecast(entry: Entry, points: Point, depth: int) -> Predicted:
    """What theory says of a configuration's initial parameters; not a number where it is silent.

    Nor where there is nothing to put it beside: an identity is no site.
    """
    if entry.forecast is None or not depth:
        return Predicted(*[np.full(depth, np.nan)] * len(Predicted._fields))
    return entry.forecast(points.params)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Settings by name, a value each configuration: numbers and truth values as such, else words.

    Example:
      >>> _columns([{"width": 8, "init": "he"}, {"init": "xavier"}])
      {'width': ['8', ''], 'init': ['he', 'xavier']}
    """
    columns = {}
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name, "") for row in rows]
        plain = all(isinstance(value, bool) for value in values) or all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values
        )
        columns[name] = values if plain else [words(value) for value in values]
    return columns


def _shard(stored: Path, process: int | None = None) -> Path:
    """Where a process, by default this one, keeps its share of a program's results."""
    number = jax.process_index() if process is None else process
    return stored.with_name(f"{stored.stem}.{number}.npz")


def _running(stored: Path) -> Path:
    """Where this process keeps how far it has come in a program."""
    return stored.with_name(f"{stored.stem}.{jax.process_index()}.running.npz")


def _forget(stored: Path) -> None:
    """Remove what a finished program needs no more."""
    for left in (_shard(stored), _running(stored)):
        left.unlink(missing_ok=True)


_PROFILE = "profile:"


def _save_history(history: History, path: Path) -> None:
    arrays: dict[str, Any] = {k: v for k, v in history._asdict().items() if k != "profiles"}
    arrays |= {f"{_PROFILE}{name}": values for name, values in history.profiles.items()}
    with results.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _load_history(path: Path) -> History:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    along = {
        name.removeprefix(_PROFILE): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(_PROFILE)
    }
    arrays["sites"] = tuple(arrays["sites"].tolist())
    return History(profiles=along, **arrays)


def _merged(count: int, shards: Sequence[History]) -> History:
    """The history of all points from those of each process's."""

    def together(of: Any) -> np.ndarray:
        parts = [np.asarray(of(shard)) for shard in shards]
        whole = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
        for process, part in enumerate(parts):
            whole[share(count, processes=len(shards), process=process)] = part
        return whole

    curves = ("train_loss", "test_loss", "test_score", "gradient_norm", "clip_share")
    return History(
        **{name: together(attrgetter(name)) for name in (*curves, "sharpness", "diverged_at")},
        profiles={
            name: together(lambda shard, name=name: shard.profiles[name])
            for name in shards[0].profiles
        },
        sites=shards[0].sites,
        compile_seconds=max(float(shard.compile_seconds) for shard in shards),
        train_seconds=max(float(shard.train_seconds) for shard in shards),
    )
