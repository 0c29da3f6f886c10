"""The description of a whole comparison: a base grid, and remedies for what fails in it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jgrad import activations, inits, optim
from jgrad._names import lookup
from jgrad.models import MLP

from ._program import Program

#: Remedy → what it changes in a configuration.
REMEDIES: Mapping[str, Mapping[str, Any]] = {
    "batch norm": {"norm": "batch"},
    "layer norm": {"norm": "layer"},
    "skip": {"skip": True},
    "clipping": {"clip": "global_norm:1.0"},
    "adam": {"optimizer": "adam"},
    "rmsprop": {"optimizer": "rmsprop"},
}

#: Optimiser → the learning rates tried with it where the caller names none.
LEARNING_RATES: Mapping[str, tuple[float, ...]] = {
    "sgd": (0.01, 0.05, 0.25),
    "momentum": (0.001, 0.01, 0.1),
    "adam": (0.0001, 0.001, 0.01),
    "rmsprop": (0.0001, 0.001, 0.01),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Which networks to train on what, and which remedies to try on those that do not train.

    First every activation with every initialiser, at every learning rate and seed (one program an
    activation). Then, on the activation that trained worst, every remedy; and on the next worst
    ones that failed too, the two remedies that did best, as long as programs are left.

    Attributes:
      data: what `data.load` takes: a name, or the path of a `.npz`.
      activations: names, each one program.
      inits: initialisers' names, all in one program.
      depth: hidden layers.
      width: units of a hidden layer.
      norm: the base grid's normalisation.
      skip: whether the base grid has skip connections.
      optimizer: the base grid's optimiser.
      clip: the base grid's gradient clipping.
      learning_rates: optimiser → rates; what is missing is taken from `LEARNING_RATES`. Every
        optimiser in the comparison has the same number of them.
      seeds: each draws the parameters and the batches; the same ones for every configuration.
      remedies: names in `REMEDIES`.
      spread: how many of the best remedies are tried on the other failing activations.
      trains_above: a configuration failed if its test accuracy, averaged over the seeds, stays at
        or below this at every learning rate.
      programs: at most so many compilations.
      steps: training steps, a multiple of `chunk`.
      batch: examples in a step.
      chunk: steps between records.

    Raises:
      ValueError: an unknown name (quotes the nearest), a number out of its range, an empty or
        doubled axis, or fewer programs than the base grid needs.
    """

    data: str = "digits"
    activations: Sequence[str] = ("sigmoid", "tanh", "relu", "gelu")
    inits: Sequence[str] = ("xavier", "he", "orthogonal")
    depth: int = 30
    width: int = 64
    norm: str = "none"
    skip: bool = False
    optimizer: str = "sgd"
    clip: str = "none"
    learning_rates: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    remedies: Sequence[str] = tuple(REMEDIES)
    spread: int = 2
    trains_above: float = 0.8
    programs: int = 12
    steps: int = 180
    batch: int = 32
    chunk: int = 30

    def __post_init__(self):
        for axis in ("activations", "inits", "seeds", "remedies"):
            object.__setattr__(self, axis, _axis(axis, getattr(self, axis)))
        for name in self.activations:
            activations.get(name)
        for name in self.inits:
            inits.get(name)
        for name in self.remedies:
            lookup(REMEDIES, name, "remedy")
        rates = {**LEARNING_RATES, **self.learning_rates}
        for name, values in rates.items():
            lookup(optim.OPTIMIZERS, name, "optimiser")
            for value in _axis(f"learning_rates[{name!r}]", values):
                optim.rate(value)
        used = self.optimizers()
        for name in used:
            lookup(rates, name, "optimiser with learning rates")
        if len({len(rates[name]) for name in used}) > 1:
            msg = f"every optimiser needs as many learning rates: { ({n: rates[n] for n in used}) }"
            raise ValueError(msg)
        object.__setattr__(
            self, "learning_rates", {name: tuple(map(float, rates[name])) for name in used}
        )
        self._check_numbers()
        for remedy in (None, *self.remedies):
            self.program(self.model(self.activations[0], remedy, features=1, classes=2), remedy)

    def _check_numbers(self) -> None:
        if self.steps < 1 or self.chunk < 1 or self.steps % self.chunk:
            msg = f"steps must be a positive multiple of chunk={self.chunk}, got {self.steps}"
            raise ValueError(msg)
        if self.programs < len(self.activations):
            msg = (
                f"{len(self.activations)} activations need as many programs, at most "
                f"{self.programs} are allowed"
            )
            raise ValueError(msg)
        if not math.isfinite(self.trains_above):
            msg = f"trains_above must be finite, got {self.trains_above}"
            raise ValueError(msg)
        if any(seed < 0 for seed in self.seeds) or self.spread < 0:
            msg = f"seeds and spread must be at least 0, got {self.seeds} and {self.spread}"
            raise ValueError(msg)

    def optimizers(self) -> tuple[str, ...]:
        """The optimisers that may be used, the base grid's first."""
        changes = (REMEDIES[name].get("optimizer", self.optimizer) for name in self.remedies)
        return tuple(dict.fromkeys((self.optimizer, *changes)))

    def model(self, activation: str, remedy: str | None, *, features: int, classes: int) -> MLP:
        """The network of one activation, with a remedy's changes or (None) without."""
        chosen = self._chosen(remedy)
        return MLP(
            depth=self.depth,
            width=self.width,
            activation=activation,
            norm=chosen["norm"],
            skip=chosen["skip"],
        ).sized((features,), classes)

    def program(self, model: MLP, remedy: str | None) -> Program:
        """The program that trains `model` with a remedy's optimiser and clipping."""
        chosen = self._chosen(remedy)
        return Program(
            model=model,
            optimizer=chosen["optimizer"],
            clip=chosen["clip"],
            batch=self.batch,
            chunk=self.chunk,
        )

    def _chosen(self, remedy: str | None) -> dict[str, Any]:
        base = {name: getattr(self, name) for name in ("norm", "skip", "optimizer", "clip")}
        return {**base, **(REMEDIES[remedy] if remedy else {})}


def _axis(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    """`values` as a tuple, once they are known to be several different ones.

    Raises:
      ValueError: none at all (but remedies may be none), or one twice; a string for a sequence.
    """
    if isinstance(values, str):
        msg = f"{name} must be a sequence of names, got the string {values!r}"
        raise ValueError(msg)
    values = tuple(values)
    if not values and name != "remedies":
        msg = f"{name} is empty: there is nothing to compare"
        raise ValueError(msg)
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        msg = f"{name} holds {twice[0]!r} twice"
        raise ValueError(msg)
    return values
