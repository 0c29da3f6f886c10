"""A sweep read off: one entry a configuration, at its best learning rate."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from jgrad.diagnosis import Comparison, Finding, History, Profile, Span, compare, diagnose, span

#: What a dataset must hold to be reported.
NEEDED = ("train_loss", "test_accuracy", "learning_rate", "log_gain", "linear_log_gain")

#: What describes a configuration.
SETTINGS = ("activation", "init", "norm", "skip", "optimizer", "clip")

#: A setting that is a truth value, in words.
_WORDS = {"False": "none", "True": "residual"}

_MEASURES = (
    "log_gain",
    "linear_log_gain",
    "log_da",
    "log_dz",
    "z_second",
    "slope_second",
    "zero_slope_share",
    "dead_share",
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """What became of one configuration.

    Attributes:
      label: its short name.
      baseline: the label of the configuration that it is to remedy, "" if it is none.
      settings: activation, init, norm, skip, optimizer, clip.
      learning_rate: the best of those tried: the least mean training loss at the end.
      accuracy: final test accuracy by seed.
      diverged: by seed.
      loss: training loss, [seeds, steps].
      reached: by seed, the first recorded step from which the accuracy stays at the level or above;
        NaN where it never does.
      level: the test accuracy that counts as trained: the sweep's own, else halfway from chance
        to 1.
      record: the training steps at which the flow was recorded.
      profiles: the flow at each of them, over seeds.
      findings: what `diagnose` says of the flow at the start, given how the loss went.
      later: the same of the flow at the last record.
      comparison: measured beside predicted at the start; None where there is no forecast.
    """

    label: str
    baseline: str
    settings: dict[str, str]
    learning_rate: float
    accuracy: np.ndarray
    diverged: np.ndarray
    loss: np.ndarray
    reached: np.ndarray
    level: float
    record: np.ndarray
    profiles: tuple[Profile, ...]
    findings: tuple[Finding, ...]
    later: tuple[Finding, ...]
    comparison: Comparison | None

    @property
    def name(self) -> str:
        """What its label says beside the activation."""
        parts = self.label.split(" + ")
        return " + ".join(p for p in parts if p != self.settings["activation"]) or self.label

    @property
    def mean(self) -> float:
        """Mean final test accuracy over seeds."""
        return float(self.accuracy.mean())

    @property
    def spread(self) -> float:
        """Standard deviation of the final test accuracy over seeds (n - 1); 0 for one seed."""
        return float(self.accuracy.std(ddof=1)) if len(self.accuracy) > 1 else 0.0

    @property
    def trained(self) -> np.ndarray:
        """Bool by seed: the final test accuracy is at least the level."""
        return self.accuracy >= self.level

    @property
    def outcome(self) -> str:
        """In words: "trains", "trains in 2 of 3 seeds", "diverges" or "does not train"."""
        n, of = int(self.trained.sum()), len(self.trained)
        if n == of:
            return "trains"
        if n:
            return f"trains in {n} of {of} seeds"
        return "diverges" if self.diverged.all() else "does not train"

    @property
    def trains(self) -> bool:
        """It trains with every seed."""
        return bool(self.trained.all())

    @property
    def steps(self) -> float:
        """Median over seeds of the step from which it counts as trained; inf where one never is."""
        return float(np.median(np.where(np.isnan(self.reached), math.inf, self.reached)))

    @property
    def remedy(self) -> str:
        """What it changes of its baseline, in the label's words; "" if it remedies nothing."""
        return self.label.removeprefix(f"{self.baseline} + ") if self.baseline else ""

    @property
    def start(self) -> Span:
        """The gains of the whole path at the first record."""
        return self.whole(0)

    def whole(self, record: int) -> Span:
        """The gains of the whole path at a record, mean over seeds where a gradient arrives."""
        profile = self.profiles[record]
        arrives = np.isfinite(profile.path("log_da")[:, -1])
        return span(profile, 0, profile.depth - 1, arrives)


@dataclasses.dataclass(frozen=True)
class Summary:
    """A whole sweep: its entries, best first, and what holds for all of them.

    `chance` and `baseline` are the accuracy and the loss of one who knows only the classes.
    """

    entries: tuple[Entry, ...]
    chance: float
    baseline: float
    step: np.ndarray
    depth: int
    seeds: int
    attrs: dict[str, Any]

    def __getitem__(self, label: str) -> Entry:
        """The entry of that label."""
        return next(entry for entry in self.entries if entry.label == label)

    @property
    def base(self) -> tuple[Entry, ...]:
        """The entries that remedy no other."""
        return tuple(entry for entry in self.entries if not entry.baseline)

    def remedies(self, label: str) -> tuple[Entry, ...]:
        """The entries that remedy the one of that label, best first."""
        return tuple(entry for entry in self.entries if entry.baseline == label)


def summarise(dataset: xr.Dataset) -> Summary:
    """What a sweep's Dataset says, one entry a configuration, best first.

    The order: configurations that train with more seeds first, then those that train in fewer
    steps, then by accuracy. The learning rate of a configuration is chosen by its training loss,
    so the test accuracy chooses nothing.

    Raises:
      ValueError: the dataset is not of a sweep: says what is missing.
    """
    missing = [name for name in NEEDED if name not in dataset]
    if missing:
        msg = f"not the results of a sweep: no {', '.join(missing)} in it"
        raise ValueError(msg)
    if np.isnan(dataset["test_accuracy"].values).all():
        msg = (
            "a report ranks by test accuracy, of which there is none here: "
            "jgrad.results.verdicts compares by test loss"
        )
        raise ValueError(msg)
    if "chance" not in dataset.attrs and "classes" not in dataset.attrs:
        several = np.unique(dataset["data"].values.tolist()) if "data" in dataset else ()
        msg = (
            f"a report is of one data set, these results are of {', '.join(several) or 'none'} "
            "(no 'chance' or 'classes' in the attributes); jgrad.results.verdicts takes them"
        )
        raise ValueError(msg)
    table = _Table(dataset)
    entries = [_entry(table, c) for c in range(dataset.sizes["config"])]
    entries.sort(key=lambda e: (-e.trained.sum(), e.steps, -e.mean))
    return Summary(
        entries=tuple(entries),
        chance=table.chance,
        baseline=table.baseline,
        step=table.step,
        depth=dataset.sizes["depth"],
        seeds=dataset.sizes["seed"],
        attrs=dict(dataset.attrs),
    )


class _Table:
    """A sweep's Dataset as NumPy arrays with their axes in one order; NaN where not recorded."""

    def __init__(self, dataset: xr.Dataset):
        size = dataset.sizes
        curve, flow = ("config", "rate", "seed", "step"), ("record", "depth")
        attrs = dataset.attrs
        self.chance = float(attrs["chance"] if "chance" in attrs else 1 / int(attrs["classes"]))
        self.baseline = float(attrs.get("baseline_loss", -math.log(self.chance or 1)))
        self.level = float(dataset.attrs.get("trains_above", (1 + self.chance) / 2))
        self.step, self.record = dataset["step"].values, dataset["record"].values
        self.learning_rate = dataset["learning_rate"].transpose(*curve[:2]).values
        self.loss = dataset["train_loss"].transpose(*curve).values.astype(float)
        tail = max(1, self.loss.shape[-1] // 10)
        last = self.loss[..., -tail:].mean(-1)
        self.diverged = (
            dataset["diverged"].transpose(*curve[:3]).values
            if "diverged" in dataset
            else ~np.isfinite(last)
        )
        self.last_loss = np.where(self.diverged | ~np.isfinite(last), math.inf, last)
        accuracy = dataset["test_accuracy"]
        self.accuracy_step = self.step if "step" in accuracy.dims else self.step[-1:]
        accuracy = accuracy if "step" in accuracy.dims else accuracy.expand_dims("step", -1)
        self.accuracy = np.nan_to_num(accuracy.transpose(*curve).values.astype(float))
        shape = [size[d] for d in (*curve[:3], *flow)]
        self.flow = {
            name: dataset[name].transpose(*curve[:3], *flow).values.astype(float)
            if name in dataset
            else np.full(shape, np.nan)
            for name in _MEASURES
        }
        self.forecast = None
        if "forecast_log_gain" in dataset:
            names = ("forecast_log_gain", "forecast_linear_log_gain")
            self.forecast = [dataset[n].transpose("config", "depth").values for n in names]
        numbered = np.tile([f"{i + 1}" for i in range(size["depth"])], (size["config"], 1))
        named = dataset["site"].values if "site" in dataset.coords else numbered
        #: Of each configuration, its sites; what comes after them is filled up.
        self.sites = [tuple(str(site) for site in row if site) for row in named]
        self.labels = {
            name: [_WORDS.get(str(value), str(value)) for value in dataset[name].values]
            if name in dataset
            else [""] * size["config"]
            for name in ("label", "baseline", *SETTINGS)
        }


def _entry(table: _Table, c: int) -> Entry:
    """The entry of the configuration at that index, at its best learning rate."""
    rates = table.learning_rate[c]
    best = int(np.argmin(np.where(np.isnan(rates), math.inf, table.last_loss[c].mean(-1))))
    profiles = tuple(_profile(table, c, best, i) for i in range(len(table.record)))
    history = History(table.loss[c, best], baseline=table.baseline)
    forecast = _forecast(table, c)
    level = table.level
    curves = table.accuracy[c, best]
    return Entry(
        label=table.labels["label"][c],
        baseline=table.labels["baseline"][c],
        settings={name: table.labels[name][c] for name in SETTINGS},
        learning_rate=float(rates[best]),
        accuracy=curves[:, -1],
        diverged=table.diverged[c, best],
        loss=table.loss[c, best],
        reached=np.array([_reached(curve, table.accuracy_step, level) for curve in curves]),
        level=level,
        record=table.record,
        profiles=profiles,
        findings=diagnose(profiles[0], history, forecast),
        later=diagnose(profiles[-1], history),
        comparison=None if forecast is None else compare(forecast, profiles[0]),
    )


def _reached(curve: np.ndarray, step: np.ndarray, level: float) -> float:
    """The first step from which the curve stays at or above the level; NaN if it ends below it."""
    below = np.flatnonzero(curve < level)
    if below.size == 0:
        return float(step[0])
    return math.nan if below[-1] == len(curve) - 1 else float(step[below[-1] + 1])


def _profile(table: _Table, c: int, rate: int, record: int) -> Profile:
    """The flow of all seeds at one record."""
    sites = table.sites[c]
    values = {name: flow[c, rate, :, record, : len(sites)] for name, flow in table.flow.items()}
    # -inf is a norm of exactly 0; NaN and +inf are norms of something not finite.
    broken = np.isnan(values["log_dz"]) | np.isposinf(values["log_dz"])
    values["nonfinite"] = broken.astype(float)
    return Profile(sites, (table.labels["activation"][c],) * len(sites), values, len(sites))


def _forecast(table: _Table, c: int) -> SimpleNamespace | None:
    """The forecast of the configuration, None where there is none."""
    if table.forecast is None:
        return None
    depth = len(table.sites[c])
    gain, linear = (values[c, :depth].astype(float) for values in table.forecast)
    if not np.isfinite(gain).all() or not np.isfinite(linear[1:]).all():
        return None
    return SimpleNamespace(log_gain=gain, linear_log_gain=linear)
