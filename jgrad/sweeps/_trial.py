"""One configuration of everything but its learning rate and seed, and how to vary it by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jgrad import data, inits, models
from jgrad._names import lookup, unknown
from jgrad.data import Split
from jgrad.models import MLP, Architecture
from jgrad.optim import Chain

from ._objective import Supervised
from ._program import Program


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """What is trained on what, and how: all but the learning rate and the seed.

    Attributes:
      model: the architecture; it is fitted to the task when it is trained.
      data: what `jgrad.data.load` takes: a name, or the path of a `.npz`.
      init: a name that `jgrad.inits.get` knows.
      gain: a factor on every kernel.
      chain: clipping, optimiser, schedule and what else is on the gradient's way to the parameters.
      batch: examples in a step.

    Raises:
      ValueError: an unknown initialiser or data set, a negative gain, a batch below 1.
    """

    model: Architecture = MLP()
    data: str = "digits"
    init: str = "he"
    gain: float = 1.0
    chain: Chain = Chain()
    batch: int = 64

    def __post_init__(self):
        inits.get(self.init)
        data.check(self.data)
        if not self.gain >= 0:
            msg = f"gain must be at least 0, got {self.gain}"
            raise ValueError(msg)
        if self.batch < 1:
            msg = f"batch must be at least 1, got {self.batch}"
            raise ValueError(msg)
        if self.batch == 1 and getattr(self.model, "norm", "none") == "batch":
            msg = "batch norm needs batches of at least 2 examples, got batch=1"
            raise ValueError(msg)

    def fitted(self, task: Split) -> Architecture:
        """The model for that task.

        Raises:
          ValueError: the task does not fit the architecture; says what it wants.
        """
        everywhere = getattr(self.model, "per_position", False)
        if everywhere != (task.kind == "per_position"):
            wants = "an answer at every position" if not everywhere else "one answer an example"
            msg = (
                f"{task.name} wants {wants}: a model with per_position={not everywhere}, "
                f"got {type(self.model).__name__} {'with' if everywhere else 'without'} it"
            )
            raise ValueError(msg)
        sizes = {"shape": task.shape, "outputs": task.outputs, "vocabulary": task.vocabulary}
        for name, size in sizes.items():
            given = getattr(self.model, name)
            if given and given != size:
                msg = f"{name}={given} does not fit {task.name}, which has {name}={size}"
                raise ValueError(msg)
        return self.model.sized(**sizes)

    def program(self, task: Split, *, steps: int, chunk: int, sharpness: bool = False) -> Program:
        """The program that trains it; trials that differ in initialiser or gain share one."""
        return Program(
            objective=Supervised(self.fitted(task)),
            chain=self.chain,
            batch=self.batch,
            steps=steps,
            chunk=chunk,
            sharpness=sharpness,
        )


#: Fields of a trial that are described by fields of their own.
_PARTS = ("model", "chain")


def vary(trial: Trial, **changes: Any) -> Trial:
    """The trial with other values of any of its fields, its model's or its optimiser chain's.

    A `model` may be given by its name in `jgrad.models.ARCHITECTURES`.

    Raises:
      ValueError: no part of the trial has a field of that name; quotes the nearest.

    Example:
      >>> trial = vary(Trial(), activation="gelu", optimizer="adam", batch=32)
      >>> trial.model.activation, trial.chain.optimizer, trial.batch
      ('gelu', 'adam', 32)
    """
    if isinstance(changes.get("model"), str):
        changes["model"] = lookup(models.ARCHITECTURES, changes["model"], "architecture")()
    if isinstance(changes.get("chain"), str):
        changes["chain"] = Chain.parse(changes["chain"])
    own = {field.name for field in dataclasses.fields(Trial)}
    parts = {name: changes.pop(name, getattr(trial, name)) for name in _PARTS}
    changed: dict[str, dict[str, Any]] = {name: {} for name in _PARTS}
    for name in changes.keys() - own:
        changed[_part(parts, name)][name] = changes.pop(name)
    # All at once: of two values that fit each other, one alone may not fit what was there.
    for part, fields in changed.items():
        changes[part] = dataclasses.replace(parts[part], **fields)
    return dataclasses.replace(trial, **changes)


def settings(trial: Trial) -> dict[str, Any]:
    """Every field of the trial and of its parts, as plain values by name.

    Example:
      >>> settings(Trial())["model"], settings(Trial())["optimizer"]
      ('mlp', 'sgd')
    """
    of_trial = {
        field.name: getattr(trial, field.name)
        for field in dataclasses.fields(trial)
        if field.name not in _PARTS
    }
    kind = type(trial.model)
    named = [name for name, known in models.ARCHITECTURES.items() if known is kind]
    return {
        "model": named[0] if named else kind.__name__,
        **_fields(trial.model),
        **of_trial,
        **_fields(trial.chain),
    }


def _part(parts: Mapping[str, Any], name: str) -> str:
    """Which part of a trial has the field of that name."""
    for part, value in parts.items():
        if name in _fields(value):
            return part
    of_parts = {field for value in parts.values() for field in _fields(value)}
    own = {field.name for field in dataclasses.fields(Trial)}
    raise ValueError(unknown("axis", name, own | of_parts))


def _fields(part: Any) -> dict[str, Any]:
    return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}


def words(value: Any) -> str:
    """A setting's value in a label.

    Example:
      >>> words(0.1), words(("a", 2)), words(len)
      ('0.1', 'a 2', 'len')
    """
    if isinstance(value, tuple | list):
        return " ".join(map(words, value))
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    return str(value)
