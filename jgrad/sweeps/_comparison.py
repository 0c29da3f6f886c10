"""A sweep that goes on where something fails: a base grid, then remedies for what fails in it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from jgrad import activations, data, inits, results
from jgrad._names import lookup
from jgrad.data import Split
from jgrad.models import MLP

from ._axes import axis, seed_axis
from ._entry import Entry, entry
from ._program import check_steps
from ._rates import checked_rates, family
from ._study import Turns
from ._trial import Trial, vary

#: Remedy → what it changes in a trial, by the names that `vary` takes.
REMEDIES: Mapping[str, Mapping[str, Any]] = {
    "batch norm": {"norm": "batch"},
    "layer norm": {"norm": "layer"},
    "rms norm": {"norm": "rms"},
    "skip": {"skip": True},
    "clipping": {"clip": "global_norm:1.0"},
    "value clipping": {"clip": "value:0.5"},
    "adaptive clipping": {"clip": "adaptive:0.01"},
    "momentum": {"optimizer": "momentum"},
    "adam": {"optimizer": "adam"},
    "rmsprop": {"optimizer": "rmsprop"},
    "adagrad": {"optimizer": "adagrad"},
    "lion": {"optimizer": "lion"},
    "warm-up": {"schedule": "warmup:steps=0.2"},
}

#: Those that the demo tries.
_USUAL = ("batch norm", "layer norm", "skip", "clipping", "adam", "rmsprop")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Which networks to train on what, and which remedies to try on those that do not train.

    First every activation with every initialiser, at every learning rate and seed (one program an
    activation). Then, on the activation that trained worst, every remedy; and on the next worst
    ones that failed too, the two remedies that did best, as long as programs are left.

    Attributes:
      base: what all of them have in common; its own activation and initialiser do not count.
      activations: names, each one program.
      inits: initialisers' names, all in one program.
      learning_rates: optimiser → rates; what is missing is taken from `LEARNING_RATES`. Every
        optimiser in the comparison has the same number of them.
      seeds: each draws the parameters and the batches; the same ones for every configuration.
      remedies: names in `REMEDIES`.
      spread: how many of the best remedies are tried on the other failing activations.
      trains_above: a configuration failed if its score on the test (accuracy, or the explained
        variance), averaged over the seeds, stays at or below this at every learning rate.
      programs: at most so many compilations.
      steps: training steps, a multiple of `chunk`.
      chunk: steps between records.

    Raises:
      ValueError: an unknown name (quotes the nearest), a number out of its range, an empty or
        doubled axis, a remedy that the model has no setting for, or fewer programs than the base
        grid needs.
    """

    base: Trial = Trial(model=MLP(depth=30, width=64), batch=32)
    activations: Sequence[str] = ("sigmoid", "tanh", "relu", "gelu")
    inits: Sequence[str] = ("xavier", "he", "orthogonal")
    learning_rates: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    remedies: Sequence[str] = _USUAL
    spread: int = 2
    trains_above: float = 0.8
    programs: int = 12
    steps: int = 180
    chunk: int = 30
    sharpness: bool = False
    #: Which configurations there are is decided on the way; none is drawn at random.
    labels = None
    random = 0

    def __post_init__(self):
        for name in ("activations", "inits"):
            object.__setattr__(self, name, axis(name, getattr(self, name)))
        object.__setattr__(self, "seeds", seed_axis(self.seeds))
        remedies = axis("remedies", self.remedies) if self.remedies else ()
        object.__setattr__(self, "remedies", remedies)
        for name in self.activations:
            activations.get(name)
        for name in self.inits:
            inits.get(name)
        trials = [self.trial(self.activations[0], remedy) for remedy in (None, *self.remedies)]
        used = tuple(dict.fromkeys(family(trial.chain) for trial in trials))
        object.__setattr__(self, "learning_rates", checked_rates(self.learning_rates, used))
        self._check_numbers()

    def _check_numbers(self) -> None:
        check_steps(self.steps, self.chunk)
        if self.programs < len(self.activations):
            msg = (
                f"{len(self.activations)} activations need as many programs, at most "
                f"{self.programs} are allowed"
            )
            raise ValueError(msg)
        if not math.isfinite(self.trains_above):
            msg = f"trains_above must be finite, got {self.trains_above}"
            raise ValueError(msg)
        if self.spread < 0:
            msg = f"spread must be at least 0, got {self.spread}"
            raise ValueError(msg)

    def trial(self, activation: str, remedy: str | None = None, init: str | None = None) -> Trial:
        """The trial of one activation, with a remedy's changes or (None) without."""
        changes = lookup(REMEDIES, remedy, "remedy") if remedy else {}
        return vary(self.base, activation=activation, init=init or self.inits[0], **changes)

    def tasks(self) -> dict[str, Split]:
        """The data of the comparison by name."""
        return {self.base.data: data.load(self.base.data)}

    def entries(
        self, tasks: Mapping[str, Split], activation: str, remedy: str | None
    ) -> list[Entry]:
        """The configurations of one program: an activation, a remedy, every initialiser."""
        rates: Any = self.learning_rates
        trials = [self.trial(activation, remedy, init) for init in self.inits]
        plain = [f"{activation} + {init}" for init in self.inits]
        return [
            entry(
                trial,
                tasks[trial.data],
                label=f"{label} + {remedy}" if remedy else label,
                rates=rates[family(trial.chain)],
                steps=self.steps,
                chunk=self.chunk,
                sharpness=self.sharpness,
                remedy=remedy or "",
                baseline=label if remedy else "",
            )
            for trial, label in zip(trials, plain, strict=True)
        ]

    def turns(self, tasks: Mapping[str, Split]) -> Turns:
        """The base grid, then the remedies of what failed in it."""
        base, left = {}, self.programs
        for activation in self.activations:
            base[activation] = yield activation, self.entries(tasks, activation, None)
            left -= 1
        worst_first = sorted(base, key=lambda name: _score(base[name]))
        failing = [name for name in worst_first if self._failed(base[name])]
        tried = {}
        for remedy in self.remedies[:left] if failing else ():
            tried[remedy] = yield self._turn(tasks, failing[0], remedy)
            left -= 1
        best = sorted(tried, key=lambda remedy: -_score(tried[remedy]))[: self.spread]
        others = [(activation, remedy) for activation in failing[1:] for remedy in best]
        for activation, remedy in others[:left]:
            yield self._turn(tasks, activation, remedy)

    def _turn(
        self, tasks: Mapping[str, Split], activation: str, remedy: str
    ) -> tuple[str, list[Entry]]:
        return f"{activation} + {remedy}", self.entries(tasks, activation, remedy)

    def _failed(self, part: xr.Dataset) -> bool:
        """Whether some configuration does not train."""
        return bool((_best(part) <= self.trains_above).any())


def _best(part: xr.Dataset) -> xr.DataArray:
    """Final score of each configuration at its best learning rate, mean over seeds."""
    return results.scores(part).isel(step=-1).mean("seed").max("rate")


def _score(part: xr.Dataset) -> float:
    """`_best`, averaged over the initialisers."""
    return float(_best(part).mean())
