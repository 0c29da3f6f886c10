"""What chooses a compiled program, and the numbers it runs over."""

import dataclasses
from typing import NamedTuple

from jaxtyping import ArrayLike, Float, UInt32

from jgrad import optim
from jgrad._types import PyTree
from jgrad.models import Architecture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """The static part of a training: equal programs share one compilation.

    Attributes:
      model: the architecture.
      optimizer: a name in `optim.OPTIMIZERS`.
      clip: "none" or "kind:threshold", as in `optim.chain`.
      batch: examples in a step.
      chunk: steps that are one call of the compiled program; the flow is recorded in the first.

    Raises:
      ValueError: batch or chunk below 1, batch norm on a batch of 1, an unknown optimiser or clip.
    """

    model: Architecture
    optimizer: str = "sgd"
    clip: str = "none"
    batch: int = 64
    chunk: int = 20

    def __post_init__(self):
        for field in ("batch", "chunk"):
            if getattr(self, field) < 1:
                msg = f"{field} must be at least 1, got {getattr(self, field)}"
                raise ValueError(msg)
        if self.batch == 1 and getattr(self.model, "norm", "none") == "batch":
            msg = "batch norm needs batches of at least 2 examples, got batch=1"
            raise ValueError(msg)
        optim.chain(optimizer=self.optimizer, clip=self.clip)


class Point(NamedTuple):
    """The numbers of one training, or of many along a leading axis; of JAX's or NumPy's arrays.

    Attributes:
      seed: decides the batches; points with the same one see the same ones.
      learning_rate: a float32 scalar.
      params: the initial parameters.
      state: the model's initial state.
    """

    seed: UInt32[ArrayLike, "*points"]
    learning_rate: Float[ArrayLike, "*points"]
    params: PyTree
    state: PyTree
