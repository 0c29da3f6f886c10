"""What became of one configuration, at its best learning rate, and how that is said."""

import dataclasses
import math

import numpy as np

from jgrad.diagnosis import Comparison, Finding, Profile, Span, span
from jgrad.results import Verdict, Yardstick


@dataclasses.dataclass(frozen=True)
class Entry:
    """What became of one configuration.

    Attributes:
      label: its short name.
      baseline: the label of the configuration that it is to remedy, "" if it is none.
      settings: data, activation, init, norm, skip, optimizer, clip.
      yardstick: how it is judged, and what its numbers are held against.
      learning_rate: the best of those tried, as `results.rate_window` has it.
      score: accuracy, explained variance or loss on the test at the end, by seed; NaN where it
        diverged.
      loss: training loss, [seeds, steps].
      reached: by seed, the first recorded step from which the score stays at the level or above;
        NaN where it never does.
      level: the score that counts as trained: the sweep's own where that is above chance, else
        halfway from chance to 1; NaN where it is judged by its loss.
      record: the training steps at which the flow was recorded.
      profiles: the flow at each of them, over seeds; of no depth where there is no activation.
      findings: what `diagnose` says of the flow at the start, given how the loss went.
      later: the same of the flow at the last record.
      comparison: measured beside predicted at the start; None where there is no forecast.
      verdict: whether it helps its baseline; None where it has none, or was drawn at random.
    """

    label: str
    baseline: str
    settings: dict[str, str]
    yardstick: Yardstick
    learning_rate: float
    score: np.ndarray
    loss: np.ndarray
    reached: np.ndarray
    level: float
    record: np.ndarray
    profiles: tuple[Profile, ...]
    findings: tuple[Finding, ...]
    later: tuple[Finding, ...]
    comparison: Comparison | None
    verdict: Verdict | None

    @property
    def name(self) -> str:
        """What its label says beside data set and activation."""
        return self._without("data", "activation")

    @property
    def short(self) -> str:
        """What its label says beside the data set."""
        return self._without("data")

    def _without(self, *settings: str) -> str:
        known = [self.settings[name] for name in settings]
        parts = [part for part in self.label.split(" + ") if part not in known]
        return " + ".join(parts) or self.label

    @property
    def by_loss(self) -> bool:
        """It is judged by its loss alone: less is better, and nothing counts as trained."""
        return self.yardstick.score == "loss"

    @property
    def diverged(self) -> np.ndarray:
        """Bool by seed."""
        return np.isnan(self.score)

    @property
    def mean(self) -> float:
        """Mean final score over the seeds that did not diverge; NaN where all did."""
        return float(self.score[~self.diverged].mean()) if not self.diverged.all() else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of the same (n - 1); 0 for one seed."""
        kept = self.score[~self.diverged]
        return float(kept.std(ddof=1)) if len(kept) > 1 else 0.0

    @property
    def trained(self) -> np.ndarray:
        """Bool by seed: the final score is at least the level."""
        return self.score >= self.level

    @property
    def trains(self) -> bool:
        """It trains with every seed."""
        return bool(self.trained.all())

    @property
    def works(self) -> bool:
        """It trains with every seed; where nothing says what training is, it is shown to help."""
        helps = self.verdict is not None and self.verdict.helps is True
        return helps if self.by_loss else self.trains

    @property
    def outcome(self) -> str:
        """In words: "trains", "trains in 2 of 3 seeds", "does not train" or "diverges"."""
        if self.diverged.all():
            return "diverges"
        if self.by_loss:
            return self.verdict.word if self.verdict else "as it is"
        n, of = int(self.trained.sum()), len(self.trained)
        if n == of:
            return "trains"
        return f"trains in {n} of {of} seeds" if n else "does not train"

    @property
    def ended(self) -> str:
        """The final score in words: mean ± standard deviation over seeds, or that it diverged.

        Shares are told in percent.
        """
        if self.diverged.all():
            return "diverged"
        said = _number(self.mean, self.by_loss)
        if self.spread:
            said += f" ± {_number(self.spread, self.by_loss)}"
        if self.by_loss:
            said += f" {self.yardstick.loss_unit}" if self.yardstick.loss_unit else ""
        else:
            said += " %"
        return said + (f", {self.diverged.sum()} diverged" if self.diverged.any() else "")

    @property
    def steps(self) -> float:
        """Median over seeds of the step from which it counts as trained; inf where one never is."""
        return float(np.median(np.where(np.isnan(self.reached), math.inf, self.reached)))

    @property
    def remedy(self) -> str:
        """What it changes of its baseline, in the label's words; "" if it remedies nothing."""
        return self.label.removeprefix(f"{self.baseline} + ") if self.baseline else ""

    @property
    def depth(self) -> int:
        """How many activations the gradient passes."""
        return self.profiles[0].depth

    @property
    def start(self) -> Span:
        """The gains of the whole path at the first record, mean over seeds where any arrives."""
        profile = self.profiles[0]
        if not profile.depth:
            return Span(0, 0, math.nan, math.nan, math.nan)
        arrives = np.isfinite(profile.path("log_da")[:, -1])
        return span(profile, 0, profile.depth - 1, arrives)


def percent(share: float) -> str:
    """A share as a whole percentage; it may be negative.

    Example:
      >>> percent(0.534), percent(-0.2)
      ('53 %', '−20 %')
    """
    return f"{100 * share:.0f} %".replace("-", "−")


def _number(value: float, plain: bool) -> str:
    return (f"{value:.3g}" if plain else f"{100 * value:.1f}").replace("-", "−")
