"""What a sweep tells its caller while it runs."""

import dataclasses
import time
from collections.abc import Callable
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a sweep stands; handed to the caller's function between chunks, on the host.

    Attributes:
      stage: "compile" is about to begin, "train" has finished a chunk, "resume" found the program's
        results on disk.
      program: the program's label.
      index: which program, from 0.
      programs: how many there will be at most.
      points: how many trainings the program runs at once.
      step: steps trained so far, of `steps`.
      steps: steps in all.
      elapsed: seconds since the sweep began.
      remaining: seconds left if the rest goes as what is done; None before the first chunk.
    """

    stage: Literal["compile", "train", "resume"]
    program: str
    index: int
    programs: int
    points: int
    step: int
    steps: int
    elapsed: float
    remaining: float | None


class Clock:
    """Turns what happens in a sweep into `Progress`, for one caller's function.

    Resumed programs take no time and count for none in the estimate.
    """

    def __init__(self, report: Callable[[Progress], object] | None, programs: int):
        self._report = report
        self._programs = programs
        self._resumed = 0
        self._began = time.monotonic()

    def tell(
        self,
        stage: Literal["compile", "train", "resume"],
        program: str,
        index: int,
        points: int,
        step: int,
        steps: int,
    ) -> None:
        """Report one event."""
        elapsed = time.monotonic() - self._began
        self._resumed += stage == "resume"
        done = index + step / steps - self._resumed
        left = self._programs - index - step / steps
        if self._report is not None:
            self._report(
                Progress(
                    stage=stage,
                    program=program,
                    index=index,
                    programs=self._programs,
                    points=points,
                    step=step,
                    steps=steps,
                    elapsed=elapsed,
                    remaining=elapsed / done * left if done > 0 else None,
                )
            )
