"""The page: a summary's conclusion, figures and tables as one HTML text with nothing outside it."""

import html
import math
import re
from collections.abc import Iterable
from importlib import resources

import numpy as np

from jgrad.diagnosis import DEAD, SATURATED, STEEP, signed

from . import _figures
from ._conclude import accuracy, conclude
from ._summary import Entry, Summary

#: Lines in one panel of curves: more cannot be told apart.
LINES = 7


def page(summary: Summary) -> str:
    """The report as one HTML text: opens with no network, reads on a phone, prints."""
    said = conclude(summary)
    body = "\n".join(
        (
            _section("What came out", _points(said.points)),
            _ranking(summary),
            _losses(summary),
            _arrivals(summary),
            _heat(summary),
            _beside(summary),
            _method(summary),
        )
    )
    css = resources.files("jgrad.reports").joinpath("page.css").read_text("utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(said.title)}</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<header>
<p class="kicker">jgrad · gradient flow, measured and predicted</p>
<h1>{_text(said.title)}</h1>
{_facts(summary)}
</header>
<main>
{body}
</main>
<footer>Written by jgrad {_text(summary.attrs.get("jgrad", ""))}.</footer>
</body>
</html>
"""


def _facts(summary: Summary) -> str:
    attrs = summary.attrs
    rates = int(attrs.get("trainings", 0))
    facts = [
        ("data", attrs.get("data", "")),
        ("layers", summary.depth),
        ("configurations", len(summary.entries)),
        ("seeds", summary.seeds),
        ("steps", int(summary.step[-1])),
        ("trainings", rates or ""),
        ("programs compiled", attrs.get("n_programs", "")),
        ("seconds", _seconds(attrs)),
    ]
    items = [f"<li>{_text(k)} <b>{_text(v)}</b></li>" for k, v in facts if v != ""]
    return f'<ul class="facts">{"".join(items)}</ul>'


def _points(points: Iterable[tuple[str, str]]) -> str:
    rows = (f"<dt>{_text(head)}</dt><dd>{_prose(text)}</dd>" for head, text in points)
    return f'<dl class="points">{"".join(rows)}</dl>'


def _ranking(summary: Summary) -> str:
    rows = "".join(_row(place, e, summary) for place, e in enumerate(summary.entries, 1))
    table = f"""<div class="wide"><table>
<thead><tr><th class="number secondary">#</th><th>configuration</th>
<th class="secondary">outcome</th><th class="number">steps</th><th class="number">accuracy</th>
<th class="strip secondary">each seed</th>
<th class="number secondary">learning<br>rate</th>
<th class="number secondary">log-gain<br>a layer</th>
<th class="number secondary">theory</th><th class="secondary">diagnosis</th></tr></thead>
<tbody>{rows}</tbody></table></div>"""
    level, chance = 100 * summary.entries[0].level, 100 * summary.chance
    caption = (
        f"<b>The fastest first.</b> A run counts as trained when its test accuracy ends at "
        f"{level:.0f} % or above (chance is {chance:.0f} %, the tick); <b>steps</b> is the median "
        "over seeds of the recorded step from which it stays there. <b>Accuracy</b> is that of "
        "the last step on the test set, mean ± standard deviation over seeds. The learning rate is "
        "the one with the least training loss at the end, so the test set chooses nothing. "
        "<b>Log-gain a layer</b> is what a layer multiplies the gradient norm by before training, "
        "as a power of e: 0 keeps it, −1 divides it by e."
    )
    return _section("Which trained, and how fast", table + _caption(caption))


def _row(place: int, entry: Entry, summary: Summary) -> str:
    kind = "works" if entry.trains else "fails"
    steps = f"{entry.steps:.0f}" if math.isfinite(entry.steps) else "–"
    predicted = entry.comparison.predicted_rate if entry.comparison else math.nan
    faults = ", ".join(dict.fromkeys(f.symptom for f in entry.findings)) or "–"
    told = " · ".join(str(f) for f in entry.findings)
    return (
        f'<tr><td class="number secondary">{place}</td><td>{_text(entry.label)}</td>'
        f'<td class="secondary {kind}">{_text(entry.outcome)}</td><td class="number">{steps}</td>'
        f'<td class="number {kind}">{accuracy(entry)}</td>'
        f'<td class="strip secondary">{_strip(entry, summary)}</td>'
        f'<td class="number secondary">{entry.learning_rate:g}</td>'
        f'<td class="number secondary">{signed(entry.start.rate)}</td>'
        f'<td class="number secondary">{signed(predicted)}</td>'
        f'<td class="why secondary" title="{_text(told)}">{_text(faults)}</td></tr>'
    )


def _strip(entry: Entry, summary: Summary) -> str:
    """The accuracies of the seeds as dots on a line from 0 to 100 %."""
    colour = "#00664b" if entry.trains else "#a83a00"
    chance = 6 + 148 * summary.chance
    dots = "".join(
        f'<circle cx="{6 + 148 * a:.1f}" cy="9" r="4" fill="{colour}" fill-opacity=".55"/>'
        for a in entry.accuracy
    )
    return (
        f'<svg viewBox="0 0 160 18" role="img" aria-label="'
        f'{", ".join(f"{a:.1%}" for a in entry.accuracy)}">'
        f'<path d="M6 9H154" stroke="#d7dce2"/>'
        f'<path d="M{chance:.1f} 4V14" stroke="#5b6470"/>{dots}</svg>'
    )


def _losses(summary: Summary) -> str:
    chance = summary.baseline
    scale = (summary.step, chance, _loss_limits(summary, chance))
    plots = [
        _figures.losses(f"{kind}, as it is", entries, names, *scale)
        for kind, entries, names in _by_activation(summary)
    ]
    for entry in summary.base:
        treated = sorted(summary.remedies(entry.label), key=lambda e: e.remedy)[: LINES - 1]
        if treated:
            names = ["as it is", *(e.remedy for e in treated)]
            plots.append(_figures.losses(entry.label, [entry, *treated], names, *scale))
    caption = (
        "<b>A line that stays on the dotted one has learned nothing:</b> that is the loss of one "
        f"who knows only how often each answer comes, {chance:.3g}. Training loss by step at each "
        "configuration's best learning rate; mean over seeds of its logarithm, shaded from the "
        "least to the largest."
    )
    return _section("How they learned", _grid("four", plots, caption))


def _arrivals(summary: Summary) -> str:
    plots = [
        _figures.arrivals(kind, entries, names) for kind, entries, names in _by_activation(summary)
    ]
    caption = (
        "<b>Read from right to left, the way the gradient goes.</b> The norm of ∂L/∂z at each "
        "layer, as a part of the gradient at the last activation, before the first training step; "
        "mean over seeds, shaded from the least to the largest. Dashed: what mean-field theory "
        "foretells from the activation and the variance of the weights, with no network at hand."
    )
    return _section("How much gradient arrives", _grid("four", plots, caption))


def _heat(summary: Summary) -> str:
    if summary.depth < 2:
        return ""
    plots = [_figures.heat(entry) for entry in _plain_then_mended(summary)]
    stops = ", ".join(_hex(_figures.DIVERGING(i / 8)) for i in range(9))
    scale = (
        f'<p class="scale"><span>divides by e<sup>{_figures.HEAT:g}</sup> or more</span>'
        f'<i style="background:linear-gradient(90deg,{stops})"></i>'
        f"<span>multiplies by e<sup>{_figures.HEAT:g}</sup> or more</span></p>"
    )
    caption = (
        "<b>Pale is healthy: the layer hands on as much gradient as it gets.</b> What "
        "the step from each layer to the one below it multiplies the gradient norm by (an "
        "activation and a linear map), from the input (bottom) to the output (top), at each "
        "training step where the flow was recorded; mean over seeds of the logarithm. Grey: no "
        "gradient arrives at all."
    )
    return _section(
        "The gain of every layer while it trains", scale + _grid("many", plots, caption)
    )


def _beside(summary: Summary) -> str:
    compared = [
        e for _, entries, _ in _by_activation(summary) for e in entries if e.comparison is not None
    ]
    if not compared:
        return ""
    limits = _limits(compared)
    plots = [_figures.beside(e, limits) for e in compared]
    overview = (
        f'<div class="pair"><div>{_figures.rates(summary)}</div><div>'
        + _caption(
            "<b>On the diagonal, theory is right.</b> Log-gain a layer of the whole network "
            "before training, each plain configuration a dot. At 0 the gradient keeps its size; at "
            "−1 every layer divides it by e, and thirty layers leave 10<sup>−13</sup> of it."
        )
        + _caption(
            "<b>Below: who did it, layer by layer.</b> Blue: what the activation does to the "
            "gradient norm, ln(‖∂L/∂z‖ / ‖∂L/∂a‖). Orange: what the linear map does. Dots are "
            "means over seeds, bars their standard deviation, dashes the forecast."
        )
        + "</div></div>"
    )
    return _section("Measured beside predicted", overview + _grid("many", plots, ""))


def _method(summary: Summary) -> str:
    rows = "".join(
        f"<tr><td>{_text(k)}</td><td><code>{_value(v)}</code></td></tr>"
        for k, v in sorted(summary.attrs.items())
    )
    text = (
        f"A gradient is said to <b>vanish</b> or <b>explode</b> where its norm changes "
        f"{math.exp(STEEP):.0f}-fold or more along the layers; a layer is <b>dead</b> where "
        f"{100 * DEAD:.0f} % of its units have slope 0 on every example; an activation is "
        f"<b>saturated</b> where its mean squared slope is at most {SATURATED:g} of the largest "
        "possible. Compared are gradients of the loss by the activations, never by the weights."
    )
    table = f'<div class="wide"><table class="facts-table"><tbody>{rows}</tbody></table></div>'
    return _section("How it was made", _caption(text) + table)


def _by_activation(summary: Summary) -> list[tuple[str, list[Entry], list[str]]]:
    """(activation, its plain entries, their initialisers), in an order that no result changes."""
    kinds = sorted({e.settings["activation"] for e in summary.base})
    grouped = []
    for kind in kinds:
        entries = [e for e in summary.base if e.settings["activation"] == kind]
        entries = sorted(entries, key=lambda e: e.name)[:LINES]
        grouped.append((kind, entries, [e.name for e in entries]))
    return grouped


def _plain_then_mended(summary: Summary) -> list[Entry]:
    """The plain entries by activation, each followed by the changed nets that mend it."""
    ordered = []
    for _, entries, _ in _by_activation(summary):
        for entry in entries:
            mended = [r for r in summary.remedies(entry.label) if r.trains and _changes_net(r)]
            ordered += [entry, *sorted(mended, key=lambda e: e.remedy)]
    return ordered


def _changes_net(entry: Entry) -> bool:
    return entry.settings["norm"] != "none" or entry.settings["skip"] != "none"


def _loss_limits(summary: Summary, chance: float) -> tuple[float, float]:
    """One logarithmic scale for all panels of losses, from the least mean to a bit over chance."""
    means = np.concatenate([e.loss.mean(0) for e in summary.entries])
    means = means[np.isfinite(means)]
    low = float(np.clip(means.min(initial=chance), 1e-4, chance / 8))
    return 0.8 * low, float(np.clip(means.max(initial=chance), 1.6 * chance, 4 * chance))


def _limits(entries: list[Entry]) -> tuple[float, float]:
    """One vertical scale for all panels of measured beside predicted gains."""
    values = np.concatenate(
        [e.profiles[0].path(n).mean(0) for e in entries for n in ("log_gain", "linear_log_gain")]
    )
    values = values[np.isfinite(values)]
    return float(values.min()) - 0.15, float(max(values.max(), 0.0)) + 0.15


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _grid(kind: str, plots: list[str], caption: str) -> str:
    return f'<div class="grid {kind}">{"".join(plots)}</div>{_caption(caption) if caption else ""}'


def _caption(text: str) -> str:
    return f'<p class="caption">{text}</p>'


def _seconds(attrs: dict) -> str:
    if "compile_seconds" not in attrs:
        return ""
    return f"{attrs['compile_seconds']:.0f} compiling, {attrs['train_seconds']:.0f} training"


def _hex(colour: tuple[float, float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in colour[:3])


def _value(value: object) -> str:
    """An attribute as it is read: no more digits than mean something."""
    return _text(f"{value:.4g}" if isinstance(value, float) else value)


def _prose(text: str) -> str:
    """Words with their powers raised: e^0.31, and 1.2e-05 as 1.2 × 10⁻⁵."""
    text = re.sub(r"e\^(\d+(?:\.\d+)?)", r"e<sup>\1</sup>", _text(text))

    def power(found: re.Match[str]) -> str:
        return f"{found[1]} × 10<sup>{int(found[2])}</sup>".replace("-", "−")

    return re.sub(r"\b(\d+(?:\.\d+)?)e([+-]\d+)", power, text)


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
