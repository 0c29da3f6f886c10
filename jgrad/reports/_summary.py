"""A sweep read off: one entry a configuration, at its best learning rate."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from jgrad import results
from jgrad.diagnosis import Comparison, Finding, History, Profile, compare, diagnose
from jgrad.results import Verdict, Yardstick

from ._entry import Entry

#: What a dataset must hold to be reported.
NEEDED = (
    "label",
    "baseline",
    "score",
    "train_loss",
    "learning_rate",
    "log_gain",
    "linear_log_gain",
)

#: What describes a configuration.
SETTINGS = ("data", "activation", "init", "norm", "skip", "optimizer", "clip")

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
class Summary:
    """A whole sweep, or its part on one data set: its entries, best first, and what all share."""

    entries: tuple[Entry, ...]
    step: np.ndarray
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

    @property
    def tasks(self) -> tuple[str, ...]:
        """The data sets, by name; "" is a loss of one's own."""
        return tuple(sorted({entry.settings["data"] for entry in self.entries}))

    def of(self, task: str) -> "Summary":
        """The part on one data set."""
        mine = tuple(entry for entry in self.entries if entry.settings["data"] == task)
        return dataclasses.replace(self, entries=mine)

    @property
    def yardstick(self) -> Yardstick:
        """What all entries on one data set are held against."""
        return self.entries[0].yardstick

    @property
    def depth(self) -> int | None:
        """How many layers the plain networks have; None where they differ."""
        depths = {entry.depth for entry in self.base}
        return depths.pop() if len(depths) == 1 else None


def summarise(dataset: xr.Dataset) -> Summary:
    """What a sweep's Dataset says, one entry a configuration, best first.

    The order: configurations that train with more seeds first, then those that train in fewer
    steps, then by score. The learning rate of a configuration is chosen by its training loss, so
    the test chooses nothing.

    Raises:
      ValueError: the dataset is not of a sweep, or does not say how it is judged: says what is
        missing.
    """
    missing = [name for name in NEEDED if name not in dataset]
    if missing:
        msg = f"not the results of a sweep: no {', '.join(missing)} in it"
        raise ValueError(msg)
    if "" in dataset["score"].values.tolist():
        msg = (
            "these results of several data sets were written by an older jgrad, which did not say "
            "how each is judged: run the sweep again for a report"
        )
        raise ValueError(msg)
    table = _Table(dataset)
    verdicts = {verdict.label: verdict for verdict in results.verdicts(dataset)}
    entries = [
        _entry(table, c, verdicts.get(str(label))) for c, label in enumerate(dataset.label.values)
    ]
    entries.sort(key=_rank)
    return Summary(
        entries=tuple(entries),
        step=table.step,
        seeds=dataset.sizes["seed"],
        attrs=dict(dataset.attrs),
    )


def _rank(entry: Entry) -> tuple[float, ...]:
    """What sorts the best first."""
    better = entry.mean if entry.by_loss else -entry.mean
    return -float(entry.trained.sum()), entry.steps, math.inf if math.isnan(better) else better


class _Table:
    """A sweep's Dataset as NumPy arrays with their axes in one order; NaN where not recorded."""

    def __init__(self, dataset: xr.Dataset):
        size = dataset.sizes
        curve, flow = ("config", "rate", "seed", "step"), ("record", "depth")
        columns = (dataset[name].values.tolist() for name in Yardstick._fields)
        self.yardsticks = [Yardstick(*row) for row in zip(*columns, strict=True)]
        self.level = float(dataset.attrs.get("trains_above", math.nan))
        self.step, self.record = dataset["step"].values, dataset["record"].values
        self.learning_rate = dataset["learning_rate"].transpose(*curve[:2]).values
        #: Of each configuration, the index of the rate at which verdicts are given too.
        self.best = (dataset.learning_rate == results.rate_window(dataset).best).argmax("rate")
        self.loss = dataset["train_loss"].transpose(*curve).values.astype(float)
        self.diverged = ~np.isfinite(self.loss[..., -1])
        if "diverged" in dataset:
            self.diverged |= dataset["diverged"].transpose(*curve[:3]).values
        self.score = results.scores(dataset).transpose(*curve).values.astype(float)
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


def _entry(table: _Table, c: int, verdict: Verdict | None) -> Entry:
    """The entry of the configuration at that index, at its best learning rate."""
    yardstick = table.yardsticks[c]
    best = int(table.best[c])
    profiles = tuple(_profile(table, c, best, i) for i in range(len(table.record)))
    baseline = yardstick.baseline_loss
    history = History(table.loss[c, best], None if math.isnan(baseline) else baseline)
    level = table.level
    if yardstick.score == "loss":
        level = math.nan
    elif not level > yardstick.chance:
        level = (1 + yardstick.chance) / 2
    curves = table.score[c, best]
    last = np.where(table.diverged[c, best], np.nan, curves[:, -1])
    findings, later, comparison = _read(profiles, history, _forecast(table, c))
    return Entry(
        label=table.labels["label"][c],
        baseline=table.labels["baseline"][c],
        settings={name: table.labels[name][c] for name in SETTINGS},
        yardstick=yardstick,
        learning_rate=float(table.learning_rate[c, best]),
        score=-last if yardstick.score == "loss" else last,
        loss=table.loss[c, best],
        reached=np.array([_reached(curve, table.step, level) for curve in curves]),
        level=level,
        record=table.record,
        profiles=profiles,
        findings=findings,
        later=later,
        comparison=comparison,
        verdict=verdict,
    )


def _read(
    profiles: tuple[Profile, ...], history: History, forecast: SimpleNamespace | None
) -> tuple[tuple[Finding, ...], tuple[Finding, ...], Comparison | None]:
    """Findings at the first and at the last record, and what theory says beside the first."""
    first, last = profiles[0], profiles[-1]
    if not first.depth:
        return (), (), None
    beside = None if forecast is None else compare(forecast, first)
    return diagnose(first, history, forecast), diagnose(last, history), beside


def _reached(curve: np.ndarray, step: np.ndarray, level: float) -> float:
    """The first step from which the curve stays at or above the level; NaN if it ends below it."""
    below = np.flatnonzero(~(curve >= level))
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
