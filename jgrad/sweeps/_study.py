"""A plain sweep: every trial, at every learning rate, with every seed."""

import dataclasses
import itertools
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import xarray as xr

from jgrad import data
from jgrad._names import lookup
from jgrad.data import Split

from ._axes import axis, seed_axis
from ._entry import Entry, entry
from ._program import check_steps
from ._rates import checked_rates, family
from ._trial import Trial, settings, words

#: A plan being carried out: it yields (name, configurations of one program), and is sent the
#: results of each before it says what comes next.
Turns = Generator[tuple[str, Sequence[Entry]], xr.Dataset, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Which trials to train, at which learning rates, with which seeds, for how long.

    Every trial meets the same learning rates (its optimiser's) and the same seeds, so that any two
    of them can be compared seed by seed.

    Attributes:
      trials: from `grid`, `paired`, `randomly` or by hand.
      learning_rates: rates for all, or optimiser → rates; what is missing is taken from
        `LEARNING_RATES`. Every optimiser in the study has the same number of them.
      seeds: each draws the parameters and the batches.
      steps: training steps, a multiple of `chunk`.
      chunk: steps between records.
      sharpness: record the largest Hessian eigenvalue too.
      trains_above: the score on the test (accuracy, or the explained variance) above which a
        training counts as one that works.
      baseline: the label of the trial that the others are remedies of, or ""; on one data set.
      random: how many of the last trials are a random arm: drawn, not chosen.

    Raises:
      ValueError: no trials, one twice, rates that are none or not equally many, steps that are no
        multiple of the chunk, a baseline that is no trial's label, or one for several data sets.

    Example:
      >>> from jgrad.sweeps import grid
      >>> study = Study(trials=grid(activation=["tanh", "relu"], init=["he"]))
      >>> study.labels
      ('tanh', 'relu')
    """

    trials: Sequence[Trial]
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]] = dataclasses.field(
        default_factory=dict
    )
    seeds: Sequence[int] = (0, 1, 2)
    steps: int = 200
    chunk: int = 20
    sharpness: bool = False
    trains_above: float = 0.8
    baseline: str = ""
    random: int = 0

    def __post_init__(self):
        object.__setattr__(self, "trials", axis("trials", self.trials))
        object.__setattr__(self, "seeds", seed_axis(self.seeds))
        labels = self.labels
        if alike := [label for label in labels if labels.count(label) > 1]:
            msg = f"two trials read alike, {alike[0]!r}: give their functions names of their own"
            raise ValueError(msg)
        used = tuple(dict.fromkeys(family(trial.chain) for trial in self.trials))
        object.__setattr__(self, "learning_rates", checked_rates(self.learning_rates, used))
        check_steps(self.steps, self.chunk)
        if not math.isfinite(self.trains_above):
            msg = f"trains_above must be finite, got {self.trains_above}"
            raise ValueError(msg)
        if not 0 <= self.random < len(self.trials):
            msg = f"random={self.random} of {len(self.trials)} trials; some must be chosen"
            raise ValueError(msg)
        if self.baseline:
            lookup(dict.fromkeys(self.labels), self.baseline, "baseline")
            if len(several := dict.fromkeys(trial.data for trial in self.trials)) > 1:
                msg = f"a baseline is of one data set, the trials are of {', '.join(several)}"
                raise ValueError(msg)

    @property
    def labels(self) -> tuple[str, ...]:
        """The trials' names: the settings in which they differ; of one alone, its model."""
        rows = [settings(trial) for trial in self.trials]
        names = [
            name
            for name in dict.fromkeys(key for row in rows for key in row)
            if len({words(row.get(name, "")) for row in rows}) > 1
        ]
        said = (" + ".join(_said(row, name) for name in names if name in row) for row in rows)
        return tuple(label or words(row["model"]) for label, row in zip(said, rows, strict=True))

    @property
    def programs(self) -> int:
        """How many compilations there will be at most."""
        return len({(t.model, t.chain, t.data, t.batch) for t in self.trials})

    def tasks(self) -> dict[str, Split]:
        """The data of the study by name."""
        return {name: data.load(name) for name in dict.fromkeys(t.data for t in self.trials)}

    def turns(self, tasks: Mapping[str, Split]) -> Turns:
        """Everything, a program at a time."""
        entries = [
            entry(
                trial,
                tasks[trial.data],
                label=label,
                rates=dict(self.learning_rates)[family(trial.chain)],  # type: ignore[arg-type]
                steps=self.steps,
                chunk=self.chunk,
                sharpness=self.sharpness,
                remedy=label if self.baseline and label != self.baseline else "",
                baseline=self.baseline if label != self.baseline else "",
            )
            for trial, label in zip(self.trials, self.labels, strict=True)
        ]
        yield from by_program(entries)


def by_program(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """The configurations that share a program, with a name for each."""
    groups: dict[Any, list[Entry]] = {}
    for one in entries:
        groups.setdefault((one.program, one.settings.get("data")), []).append(one)
    taken: set[str] = set()
    for together in groups.values():
        name = _common([one.label for one in together]) or "all"
        free = (f"{name} ({k})" if k else name for k in itertools.count())
        name = next(n for n in free if n not in taken)
        taken.add(name)
        yield name, together


def _common(labels: Sequence[str]) -> str:
    """The parts that the labels share.

    Example:
      >>> _common(["tanh + he", "tanh + xavier"])
      'tanh'
    """
    parts = [label.split(" + ") for label in labels]
    return " + ".join(part for part in parts[0] if all(part in other for other in parts))


def _said(row: Mapping[str, Any], name: str) -> str:
    """A setting in a label: itself if it says what it is, else with its name."""
    value = row[name]
    if isinstance(value, bool):
        return name if value else f"no {name}"
    if value == "none":
        return f"no {name}"
    return words(value) if isinstance(value, str) or callable(value) else f"{name} {words(value)}"
