"""What chooses a compiled program, and the numbers it runs over."""

import dataclasses
import numbers
from typing import NamedTuple

from jaxtyping import ArrayLike, Float, UInt32

from jgrad._types import PyTree
from jgrad.optim import Chain

from ._objective import Objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """The static part of a training: equal programs share one compilation.

    Attributes:
      objective: what is minimised.
      chain: the optimiser chain, but for its learning rate.
      batch: examples in a step.
      steps: training steps, which is also how long the schedule is.
      chunk: steps that are one call of the compiled program; the flow is recorded in the first.
      sharpness: whether the loss's largest Hessian eigenvalue is recorded beside the flow; on the
        chunk's first batch, by Lanczos, at the cost of some twenty gradients a chunk.

    Raises:
      ValueError: batch or chunk below 1, or steps that are no positive multiple of the chunk.
    """

    objective: Objective
    chain: Chain = Chain()
    batch: int = 64
    steps: int = 200
    chunk: int = 20
    sharpness: bool = False

    def __post_init__(self):
        for field in ("batch", "steps", "chunk"):
            if not isinstance(getattr(self, field), numbers.Integral):
                msg = f"{field} must be a whole number, got {getattr(self, field)!r}"
                raise ValueError(msg)
        for field in ("batch", "chunk"):
            if getattr(self, field) < 1:
                msg = f"{field} must be at least 1, got {getattr(self, field)}"
                raise ValueError(msg)
        check_steps(self.steps, self.chunk)


def check_steps(steps: int, chunk: int) -> None:
    """Raise a ValueError unless `steps` is a positive multiple of `chunk`."""
    if steps < 1 or chunk < 1 or steps % chunk:
        msg = f"steps must be a positive multiple of chunk={chunk}, got {steps}"
        raise ValueError(msg)


def check_batch(batch: int, available: int) -> None:
    """Raise a ValueError where a batch holds more examples than there are."""
    if batch > available:
        msg = f"batch={batch} is more than the {available} training examples"
        raise ValueError(msg)


class Point(NamedTuple):
    """The numbers of one training, or of many along a leading axis; of JAX's or NumPy's arrays.

    Attributes:
      seed: decides the batches and the dropout; points with the same one see the same ones.
      learning_rate: a float32 scalar.
      params: the initial parameters.
      state: the model's initial state.
    """

    seed: UInt32[ArrayLike, "*points"]
    learning_rate: Float[ArrayLike, "*points"]
    params: PyTree
    state: PyTree
