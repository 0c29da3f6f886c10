"""The report's figures, one function each: entries in, HTML out."""

import html
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from ._chart import (
    COLOURS,
    DASHES,
    INK,
    MUTED,
    Axis,
    Frame,
    band,
    chart,
    decades,
    dots,
    image,
    key,
    layers,
    line,
    power_of_ten,
    ticks,
    whiskers,
)
from ._entry import Entry
from ._summary import Summary

#: The scale of the heat maps ends at this many e-folds a layer, either way.
HEAT = 1.5

#: What shrinks is blue, what grows is orange, what keeps its size is nearly white.
DIVERGING = LinearSegmentedColormap.from_list(
    "shrinks, keeps, grows",
    ["#08306b", "#2f7ebc", "#a9d0e8", "#f8f8f6", "#fdb97d", "#d9570a", "#7f2704"],
)

#: No gradient arrives.
NOTHING = (0.78, 0.80, 0.83, 1.0)

_PANEL = {"width": 262.0, "height": 196.0}
_TILE = {"width": 190.0, "height": 150.0, "left": 40.0, "right": 6.0}
_FORECAST = "3 2.5"


def losses(
    title: str,
    entries: Sequence[Entry],
    names: Sequence[str],
    step: np.ndarray,
    limits: tuple[float, float],
) -> str:
    """Training loss by step, mean over seeds and their range; a line an entry.

    By its logarithm, where no limit is 0 or below.
    """
    low, high = limits
    log, yardstick = low > 0, entries[0].yardstick
    unit = f" ({yardstick.loss_unit}s)" if yardstick.loss_unit else ""
    frame = Frame(
        Axis(step[0], step[-1], ticks(float(step[0]), float(step[-1]), 4), "training step"),
        Axis(
            low, high, decades(low, high) if log else ticks(low, high), f"training loss{unit}", log
        ),
        **_PANEL,
    )
    marks = [line(frame, step[[0, -1]], np.full(2, yardstick.baseline_loss), MUTED, "1 3", 1.0)]
    for i, entry in enumerate(entries):
        curve = np.clip(np.nan_to_num(entry.loss, nan=high, posinf=high, neginf=low), low, high)
        mean = np.exp(np.log(curve).mean(0)) if log else curve.mean(0)
        marks.append(band(frame, step, curve.min(0), curve.max(0), COLOURS[i]))
        marks.append(line(frame, step, mean, COLOURS[i], DASHES[i]))
    return _panel(title, names, chart(frame, marks, _said(f"{title}: training loss by step")))


def arrivals(title: str, entries: Sequence[Entry], names: Sequence[str]) -> str:
    """What part of the gradient at the last activation reaches each layer, at the start."""
    reached = [_reached(entry) for entry in entries]
    finite = np.concatenate([r[np.isfinite(r)] for r in reached])
    low, high = min(finite.min(initial=0.0), -2.4), max(finite.max(initial=0.0), 1.0)
    depth = max(entry.depth for entry in entries)
    frame = Frame(
        Axis(1, depth, layers(depth), "layer (1 is next to the input)"),
        Axis(
            low - 0.4,
            high + 0.4,
            [(v, t) for v, t in ticks(low, high, 5, power_of_ten) if v == round(v)],
            "gradient that arrives (1 = all)",
        ),
        **_PANEL,
    )
    marks = []
    for i, (entry, part) in enumerate(zip(entries, reached, strict=True)):
        layer = np.arange(1, part.shape[-1] + 1)
        marks.append(band(frame, layer, part.min(0), part.max(0), COLOURS[i]))
        marks.append(line(frame, layer, part.mean(0), COLOURS[i]))
        if entry.comparison is not None:
            marks.append(line(frame, layer, _foretold(entry), INK, _FORECAST, 1.1))
    drawn = chart(frame, marks, _said(f"{title}: part of the gradient that reaches each layer"))
    foretold = ["forecast"] * any(e.comparison is not None for e in entries)
    return _panel(
        title, [*names, *foretold], drawn, [""] * len(names) + [_FORECAST] * len(foretold)
    )


def heat(entry: Entry) -> str:
    """Gain from each layer to the one below by training step, mean over seeds."""
    gains = np.stack([_block_gains(entry, r) for r in range(len(entry.profiles))], axis=1)
    depth, count = gains.shape
    shown = sorted({0, count // 2, count - 1})
    frame = Frame(
        Axis(0, count, [(i + 0.5, f"{entry.record[i]}") for i in shown], "training step"),
        Axis(0, depth, [(d - 0.5, f"{d}") for d in sorted({1, (depth + 1) // 2, depth})], "layer"),
        **_TILE,
    )
    colours = DIVERGING(np.clip(0.5 + 0.5 * np.nan_to_num(gains) / HEAT, 0, 1))
    colours[np.isnan(gains)] = NOTHING
    description = _said(f"{entry.short}: gradient gain by layer and training step")
    return _panel(entry.short, (), chart(frame, [image(frame, colours)], description, grid=False))


def beside(entry: Entry, limits: tuple[float, float]) -> str:
    """Measured gains of each layer with their spread over seeds, and the forecast dashed."""
    profile, compared = entry.profiles[0], entry.comparison
    layer = np.arange(1, profile.depth + 1)
    frame = Frame(
        Axis(0, profile.depth + 1, layers(profile.depth), "layer"),
        Axis(*limits, ticks(*limits, 4), "log-gain"),
        **_TILE,
    )
    marks = [line(frame, layer[[0, -1]], np.zeros(2), MUTED, "", 0.8)]
    for i, name in enumerate(("log_gain", "linear_log_gain")):
        values = profile.path(name)
        marks.append(whiskers(frame, layer, values.mean(0), values.std(0), COLOURS[i]))
        marks.append(dots(frame, layer, values.mean(0), COLOURS[i]))
        if compared is not None:
            predicted = (compared.predicted, compared.linear_predicted)[i]
            marks.append(line(frame, layer, predicted, INK, _FORECAST, 1.1))
    description = _said(f"{entry.short}: measured and predicted gain of each layer")
    return _panel(entry.short, (), chart(frame, marks, description))


def rates(summary: Summary) -> str:
    """Measured against predicted gain a layer, a dot for each configuration with a forecast."""
    kinds = sorted({e.settings["activation"] for e in summary.base})
    found = [(e, e.comparison) for e in summary.base if e.comparison is not None]
    both = [v for _, c in found for v in (c.predicted_rate, c.measured_rate) if np.isfinite(v)]
    low, high = min([*both, -0.2]) - 0.1, max([*both, 0.2]) + 0.1
    frame = Frame(
        Axis(low, high, ticks(low, high, 5), "predicted (e-folds a layer)"),
        Axis(low, high, ticks(low, high, 5), "measured (e-folds a layer)"),
        height=300.0,
    )
    ends = np.array([low, high])
    marks = [line(frame, ends, ends, MUTED, _FORECAST, 1.1)]
    for i, kind in enumerate(kinds):
        of_kind = [(e, c) for e, c in found if e.settings["activation"] == kind]
        predicted = np.array([c.predicted_rate for _, c in of_kind])
        measured = np.array([c.measured_rate for _, c in of_kind])
        names = [_said(e.short) for e, _ in of_kind]
        marks.append(dots(frame, predicted, measured, COLOURS[i % len(COLOURS)], names, 4.5))
    drawn = chart(frame, marks, "measured against predicted gain a layer")
    return _panel("All layers together", kinds, drawn, [""] * len(kinds))


def _panel(
    title: str, names: Sequence[str], drawn: str, dashes: Sequence[str] | None = None
) -> str:
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    if names and names[-1] == "forecast":
        colours[-1] = INK
    legend = key([*map(_said, names)], colours, dashes or DASHES[: len(names)]) if names else ""
    return f'<figure class="panel"><h3>{_said(title)}</h3>{legend}{drawn}</figure>'


def _reached(entry: Entry) -> np.ndarray:
    """[seeds, depth]: log10 of the part of the gradient that reaches each layer; NaN if none."""
    profile = entry.profiles[0]
    with np.errstate(invalid="ignore"):
        part = (profile.path("log_dz") - profile.path("log_da")[:, -1:]) / math.log(10)
    return np.where(np.isfinite(part), part, np.nan)


def _foretold(entry: Entry) -> np.ndarray:
    """[depth]: log10 of the predicted part of the gradient that reaches each layer."""
    compared = entry.comparison
    assert compared is not None
    down = compared.predicted[::-1] + np.append(0.0, compared.linear_predicted[:0:-1])
    return np.cumsum(down)[::-1] / math.log(10)


def _block_gains(entry: Entry, record: int) -> np.ndarray:
    """[depth - 1]: ln(‖δz‖ of a layer / ‖δz‖ of the one above), mean over seeds.

    That is what the activation and the linear map behind it do; NaN where no gradient arrives.
    """
    profile = entry.profiles[record]
    total = profile.path("log_gain")[:, :-1] + profile.path("linear_log_gain")[:, 1:]
    finite = np.isfinite(total)
    count = finite.sum(0)
    total = np.where(finite, total, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _said(text: str) -> str:
    return html.escape(text, quote=True)
