"""What a diagnosis says, and what it may be told beside the flow."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

#: The loss must have fallen to this share of the baseline for a run to count as trained.
LEARNED = 0.5


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a flow, and why.

    Attributes:
      symptom: "vanishing", "exploding", "dead", "saturated", "non-finite", or "unmeasured" (nothing
        can be said, and why; the only symptom that is no fault).
      sites: the places along the main path it concerns, input side first.
      evidence: the numbers, in words.
      cause: what did it, in words.
      remedies: what to change, the first one first; they follow from the cause.
      numbers: the evidence for machines: natural logs of norm ratios, shares between 0 and 1.

    `str(finding)` is one sentence.
    """

    symptom: str
    sites: tuple[str, ...]
    evidence: str
    cause: str
    remedies: tuple[str, ...] = ()
    numbers: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def fault(self) -> bool:
        """Something is wrong; False for what could only not be measured."""
        return self.symptom != "unmeasured"

    def __str__(self) -> str:
        return f"{self.symptom}: {self.evidence}; {self.cause}"


class History(NamedTuple):
    """How the loss went: context without which a small gradient cannot be judged.

    A gradient of zero is death at a high loss and success at a low one.

    Attributes:
      loss: training loss, [*runs, steps].
      baseline: loss of the best constant prediction (ln C for C balanced classes, the variance
        for a squared error). None: the first recorded loss stands in for it, which is fair for a
        net that starts near chance and too kind to one that starts far above it.
    """

    loss: ArrayLike
    baseline: float | None = None

    def learned(self, runs: int) -> np.ndarray:
        """Bool [runs]: the mean of the last tenth of the losses is at most LEARNED x baseline."""
        loss = self._by_run(runs)
        tail = max(1, loss.shape[-1] // 10)
        first = loss[:, 0] if self.baseline is None else self.baseline
        return np.isfinite(loss).all(-1) & (loss[:, -tail:].mean(-1) <= LEARNED * first)

    def broke(self, runs: int) -> np.ndarray:
        """Int [runs]: the first recorded index with a non-finite loss, -1 where there is none."""
        bad = ~np.isfinite(self._by_run(runs))
        return np.where(bad.any(-1), bad.argmax(-1), -1)

    def _by_run(self, runs: int) -> np.ndarray:
        loss = np.asarray(self.loss, np.float64)
        if loss.ndim == 0 or loss.shape[-1] == 0:
            msg = "history: the loss needs at least one recorded step, got an empty one"
            raise ValueError(msg)
        loss = loss.reshape(-1, loss.shape[-1])
        if loss.shape[0] not in (1, runs):
            msg = f"history: {loss.shape[0]} runs of losses, the flow holds {runs}"
            raise ValueError(msg)
        return np.broadcast_to(loss, (runs, loss.shape[-1]))


def as_history(history: "History | ArrayLike | None") -> History | None:
    """A history given as such, or as the bare losses."""
    if history is None or isinstance(history, History):
        return history
    return History(history)


def in_how_many(affected: int, runs: int) -> str:
    """Words for a symptom seen in some of several runs; empty when in the only one or in all.

    Example:
      >>> in_how_many(2, 5), in_how_many(1, 1), in_how_many(3, 3)
      (' in 2 of 5 runs', '', ' in all 3 runs')
    """
    if runs == 1:
        return ""
    return f" in all {runs} runs" if affected == runs else f" in {affected} of {runs} runs"


def mean_log(values: np.ndarray) -> float:
    """Mean of natural logs; -inf where any of them is."""
    return -math.inf if np.isneginf(values).any() else float(np.mean(values))
