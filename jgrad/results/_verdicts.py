"""Whether a remedy helps, with its uncertainty: paired differences over seeds.

Both trainings of a pair have the same seed, so the same batches and (where the shapes agree) the
same parameters. Each configuration stands at its own best learning rate, chosen by its training
loss; the score compared, that of `scores` on the test examples, chose nothing. The interval is
Student's, of each remedy by itself; as several remedies are tried, their p-values are corrected by
Holm's step-down (Holm, 1979, Scandinavian Journal of Statistics 6), so an interval may leave 0 out
and the remedy not be shown to help.

What is random here is the seed: the intervals speak of other parameters and other batches, not of
other test examples. Of a baseline that was picked because it did worst a part of the gain is luck:
the same remedy on new seeds would gain a little less.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats

from ._read import rate_window
from ._scores import scores

#: Error probability over all remedies of one sweep.
LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One remedy beside its baseline.

    Attributes:
      label: the configuration.
      baseline: what it was to remedy.
      score: "test accuracy", "test explained variance" or "test loss".
      difference: mean over seeds of (remedy - baseline), in the score's units; for a loss too,
        positive is better.
      low: lower end of the 95 % interval of that mean; NaN with a single seed.
      high: its upper end.
      seeds: how many pairs.
      p: two-sided, corrected for all verdicts of the sweep; NaN with a single seed.
      tried: how many verdicts that is.
      diverged: in how many pairs one of the two diverged, and is scored as it was before it did.
      random: how many configurations the random arm has.
      beats_random: how many of these it is better than, each at its own best learning rate.
    """

    label: str
    baseline: str
    score: str
    difference: float
    low: float
    high: float
    seeds: int
    p: float
    tried: int
    diverged: int
    random: int
    beats_random: int

    @property
    def helps(self) -> bool | None:
        """True or False where the difference is significant; None where it is not."""
        return self.difference > 0 if self.p <= LEVEL else None

    @property
    def word(self) -> str:
        """In words: "helps", "harms" or "not shown to help"."""
        return {True: "helps", False: "harms", None: "not shown to help"}[self.helps]

    @property
    def said(self) -> str:
        """By how much, and how sure that is, in words."""
        # Of a loss of one's own nobody knows the unit.
        scale, unit = (1, "") if self.score == "test loss" else (100, " points")
        said = f"{self.score} {'better' if self.difference >= 0 else 'worse'} by "
        said += f"{scale * abs(self.difference):.3g}{unit}"
        if self.seeds < 2:
            said += ", one seed: nothing is known of its spread"
        else:
            interval = f"95 % interval {scale * self.low:.3g} to {scale * self.high:.3g}"
            of = f", corrected for {self.tried} verdicts" if self.tried > 1 else ""
            said += f" ({interval}, {self.seeds} seeds, p = {self.p:.2g}{of})"
        if self.diverged:
            said += f"; in {self.diverged} of {self.seeds} pairs one diverged"
        if self.random:
            said += f"; better than {self.beats_random} of {self.random} random configurations"
        return said

    def __str__(self) -> str:
        return f"{self.label}: {self.word}: {self.said}"


def verdicts(dataset: xr.Dataset) -> tuple[Verdict, ...]:
    """A verdict for every configuration that has a baseline, the surest help first.

    The random arm is judged by nobody: its configurations were not chosen.

    Raises:
      ValueError: a baseline is not among the configurations.
    """
    score, gone = _ends(dataset)
    labels = dataset.label.values.tolist()
    chosen = len(score) - int(dataset.attrs.get("random", 0))
    arm = score[chosen:].mean(-1)
    found = []
    told = (dataset[name].values.tolist() for name in ("label", "baseline", "score"))
    for mine, lost, label, baseline, name in itertools.islice(
        zip(score, gone, *told, strict=True), chosen
    ):
        if not baseline:
            continue
        if baseline not in labels:
            msg = f"{label!r} has the baseline {baseline!r}, which is not among the configurations"
            raise ValueError(msg)
        theirs = score[labels.index(baseline)]
        low, high, p = _interval(mine, theirs)
        of = Verdict(
            label=label,
            baseline=baseline,
            score=f"test {name}",
            difference=float((mine - theirs).mean()),
            low=low,
            high=high,
            seeds=len(mine),
            p=p,
            tried=1,
            diverged=int((lost | gone[labels.index(baseline)]).sum()),
            random=len(arm),
            beats_random=int((mine.mean() > arm).sum()),
        )
        found.append(of)
    corrected = _holm([verdict.p for verdict in found])
    found = [
        dataclasses.replace(v, p=p, tried=len(found)) for v, p in zip(found, corrected, strict=True)
    ]
    return tuple(sorted(found, key=lambda v: (v.helps is not True, -v.difference)))


def _ends(
    dataset: xr.Dataset,
) -> tuple[Float[np.ndarray, "configs seeds"], Bool[np.ndarray, "configs seeds"]]:
    """Each configuration's last score by seed at its best rate, and what diverged.

    A score that is no number counts as the worst that is one.
    """
    best = rate_window(dataset).best
    at = (dataset.learning_rate == best).argmax("rate")
    gone = np.isnan(dataset.train_loss.isel(step=-1)).isel(rate=at)
    every = scores(dataset).where(np.isfinite)
    score = every.isel(step=-1).isel(rate=at).transpose("config", "seed").values
    kinds = dataset.score.values
    for kind in np.unique(kinds.tolist()):
        of_kind = kinds == kind
        worst = every.isel(config=of_kind).min()
        score[of_kind] = np.where(np.isnan(score[of_kind]), worst.fillna(0), score[of_kind])
    return score, gone.transpose("config", "seed").values


def _interval(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Student's 95 % interval of the mean of mine - theirs, and the two-sided p of its being 0."""
    difference = mine - theirs
    count, mean = len(difference), difference.mean()
    if count < 2:
        return math.nan, math.nan, math.nan
    error = difference.std(ddof=1) / math.sqrt(count)
    rounding = 4 * np.finfo(np.float32).eps * max(abs(mine).max(), abs(theirs).max())
    if np.ptp(difference) <= rounding:
        # The same in every pair, but for the rounding of what was recorded: of that spread
        # Student's t knows nothing, and what is left are the signs.
        return float(mean), float(mean), 1.0 if abs(mean) <= rounding else 2.0 ** (1 - count)
    half = stats.t.ppf(1 - LEVEL / 2, count - 1) * error
    p = 2 * stats.t.sf(abs(mean) / error, count - 1)
    return float(mean - half), float(mean + half), float(p)


def _holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values; NaN stays NaN.

    Example:
      >>> _holm([0.01, 0.04, 0.03])
      [0.03, 0.06, 0.06]
    """
    known = [k for k in np.argsort(p) if not math.isnan(p[k])]
    corrected, largest = list(map(float, p)), 0.0
    for rank, k in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p[k]))
        corrected[k] = float(largest)
    return corrected
