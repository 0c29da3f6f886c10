"""The page: a summary's conclusion, figures and tables as one HTML text with nothing outside it."""

import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from importlib import resources

import numpy as np

from jgrad.diagnosis import DEAD, SATURATED, STEEP

from . import _figures, _tables
from ._conclude import conclude
from ._entry import Entry, percent
from ._summary import Summary

#: Lines in one panel of curves: more cannot be told apart.
LINES = 7

#: Log-gains a layer that differ by less look the same.
_SAME = 0.01


def page(summary: Summary) -> str:
    """The report as one HTML text: opens with no network, reads on a phone, prints."""
    said = conclude(summary)
    parts = [summary.of(task) for task in summary.tasks]
    sections = [_section("What came out", _points(said.points))]
    if len(parts) > 1:
        sections.append(_across(summary))
    for task, part in zip(summary.tasks, parts, strict=True):
        if len(parts) > 1:
            sections.append(f'<h2 class="part">{_text(task)}</h2>')
            sections.append(_points(conclude(part).points))
        sections += [show(part) for show in _SHOWN]
    body = "\n".join([*sections, _method(summary)])
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
    facts = [
        ("data", ", ".join(summary.tasks)),
        ("layers", summary.depth or ""),
        ("configurations", len(summary.entries)),
        ("seeds", summary.seeds),
        ("steps", int(summary.step[-1])),
        ("trainings", attrs.get("n_points", "")),
        ("programs compiled", attrs.get("n_programs", "")),
        ("seconds", _seconds(attrs)),
    ]
    items = [f"<li>{_text(k)} <b>{_text(v)}</b></li>" for k, v in facts if v != ""]
    return f'<ul class="facts">{"".join(items)}</ul>'


def _points(points: Iterable[tuple[str, str]]) -> str:
    rows = (f"<dt>{_text(head)}</dt><dd>{_prose(text)}</dd>" for head, text in points)
    return f'<dl class="points">{"".join(rows)}</dl>'


def _across(summary: Summary) -> str:
    caption = (
        "<b>Each data set by its own score:</b> accuracy, or the share of the variance explained, "
        "on the test set at the end; mean ± standard deviation over seeds, green where it trains "
        "with all of them."
    )
    return _section("All data sets", _tables.across(summary) + _caption(caption))


def _ranking(summary: Summary) -> str:
    entry, yardstick = summary.entries[0], summary.yardstick
    gain = (
        "The learning rate is the one at which fewest seeds diverge and the training loss ends "
        "lowest, so the test set chooses nothing. <b>Log-gain a layer</b> is what a layer "
        "multiplies the gradient norm by before training, as a power of e: 0 keeps it, −1 divides "
        "it by e."
    )
    if entry.by_loss:
        said = "<b>The least test loss first</b>, mean ± standard deviation over seeds. "
        title = "Where it ended"
    else:
        what = "variance explained" if yardstick.score != "accuracy" else "accuracy"
        said = (
            f"<b>The fastest first.</b> A run counts as trained when its {what} on the test set "
            f"ends at {percent(entry.level)} or above (chance is {percent(yardstick.chance)}, the "
            "tick); <b>steps</b> is the median over seeds of the recorded step from which it stays "
            f"there. <b>{what[0].upper()}{what[1:]}</b> is that of the last step, mean ± standard "
            "deviation over the seeds that did not diverge. "
        )
        title = "Which trained, and how fast"
    return _section(title, _tables.ranking(summary) + _caption(said + gain))


def _effects(summary: Summary) -> str:
    if all(entry.verdict is None for entry in summary.entries):
        return ""
    caption = (
        "<b>A bar that crosses the line shows nothing.</b> The difference to the baseline "
        "with the same seeds, each at its own best learning rate: its mean and Student's 95 % "
        "interval, of each remedy by itself. <b>p</b> is corrected for all remedies tried (Holm); "
        "a remedy helps or harms where it is at most 0.05. With few seeds hardly anything can be "
        "shown; and what is shown is of other seeds, not of other data."
    )
    return _section("What is shown, and what is not", _tables.effects(summary) + _caption(caption))


def _losses(summary: Summary) -> str:
    baseline = summary.yardstick.baseline_loss
    scale = (summary.step, _loss_limits(summary))
    plots = []
    if not summary.entries[0].by_loss:
        plots = [
            _figures.losses(f"{kind}, as it is", entries, names, *scale)
            for kind, entries, names in _by_activation(summary)
        ]
    for entry in summary.base:
        for part in _panels(_treated(summary, entry), LINES - 1):
            names = ["as it is", *(e.remedy for e in part)]
            plots.append(_figures.losses(entry.label, [entry, *part], names, *scale))
    caption = (
        "Training loss by step at each configuration's best learning rate; mean over seeds, "
        "shaded from the least to the largest."
    )
    numbers = summary.yardstick.score == "explained variance"
    known = "the answers' mean" if numbers else "how often each answer comes"
    if math.isfinite(baseline):
        caption = (
            "<b>A line that stays on the dotted one has learned nothing:</b> that is the loss of "
            f"one who knows only {known}, {baseline:.3g}. {caption}"
        )
    return _section("How they learned", _grid("four", plots, caption))


def _arrivals(summary: Summary) -> str:
    groups = _by_activation(summary)
    if summary.entries[0].by_loss:
        groups = [
            (entry.label, [entry, *part], ["as it is", *(e.remedy for e in part)])
            for entry in summary.base
            for part in _panels(_treated(summary, entry), LINES - 1)
        ] or groups
    groups = [group for group in groups if any(entry.depth for entry in group[1])]
    if not groups:
        return ""
    plots = [_figures.arrivals(kind, entries, names) for kind, entries, names in groups]
    caption = (
        "<b>Read from right to left, the way the gradient goes.</b> The norm of ∂L/∂z at each "
        "layer, as a part of the gradient at the last activation, before the first training step; "
        "mean over seeds, shaded from the least to the largest."
    )
    if any(entry.comparison is not None for entry in summary.entries):
        caption += (
            " Dashed: what mean-field theory foretells from the activation and the variance of the "
            "weights, with no network at hand."
        )
    return _section("How much gradient arrives", _grid("four", plots, caption))


def _heat(summary: Summary) -> str:
    plots = [_figures.heat(entry) for entry in _plain_then_mended(summary) if entry.depth > 1]
    if not plots:
        return ""
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


#: What is shown of each data set.
_SHOWN: tuple[Callable[[Summary], str], ...] = (
    _ranking,
    _effects,
    _losses,
    _arrivals,
    _heat,
    _beside,
)


def _panels(entries: Sequence[Entry], lines: int) -> list[Sequence[Entry]]:
    """As many as one panel holds, and again."""
    return [entries[k : k + lines] for k in range(0, len(entries), lines)]


def _treated(summary: Summary, entry: Entry) -> list[Entry]:
    """The entry's remedies, in an order that no result changes."""
    return sorted(summary.remedies(entry.label), key=lambda e: e.remedy)


def _by_activation(summary: Summary) -> list[tuple[str, list[Entry], list[str]]]:
    """(activation, its plain entries, the rest of their labels), whatever the results were.

    What does not fit into one panel goes on in another.
    """
    grouped = []
    for kind in sorted({e.settings["activation"] for e in summary.base}):
        entries = [e for e in summary.base if e.settings["activation"] == kind]
        panels = _panels(sorted(entries, key=lambda e: e.name), LINES)
        grouped += [(kind, [*part], [e.name for e in part]) for part in panels]
    return grouped


def _plain_then_mended(summary: Summary) -> list[Entry]:
    """The plain entries by activation, each followed by the changed nets that mend it."""
    ordered = []
    for _, entries, _ in _by_activation(summary):
        for entry in entries:
            # Those that hand on the gradient as before would show the same again.
            mended = [
                r
                for r in summary.remedies(entry.label)
                if r.works and abs(r.start.rate - entry.start.rate) > _SAME
            ]
            ordered += [entry, *sorted(mended, key=lambda e: e.remedy)]
    return ordered


def _loss_limits(summary: Summary) -> tuple[float, float]:
    """One scale for all panels of losses: from the least mean to a bit over the baseline's loss."""
    chance = summary.yardstick.baseline_loss
    means = np.concatenate([e.loss.mean(0) for e in summary.entries])
    means = means[np.isfinite(means)]
    if math.isfinite(chance):
        low = float(np.clip(means.min(initial=chance), 1e-4, chance / 8))
        return 0.8 * low, float(np.clip(means.max(initial=chance), 1.6 * chance, 4 * chance))
    if not means.size:
        return 0.1, 1.0
    # Nobody knows what is much: what most of the curves reach, not what one that diverges does.
    low, high = float(means.min()), float(np.quantile(means, 0.99))
    return (0.8 * low, 1.2 * high) if low > 0 else (low - 0.05 * (high - low), high)


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
    return f'<p class="caption">{text.replace(" %", "&nbsp;%")}</p>'


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
    """Words with their powers raised: e^0.31, and 1.2e-05 as 1.2 × 10⁻⁵; minus signs as such."""
    text = re.sub(r"e\^(\d+(?:\.\d+)?)", r"e<sup>\1</sup>", _text(text))
    text = re.sub(r"(?<=[ (])-(?=\d)", "−", text).replace(" %", "&nbsp;%")

    def power(found: re.Match[str]) -> str:
        return f"{found[1]} × 10<sup>{int(found[2])}</sup>".replace("-", "−")

    return re.sub(r"\b(\d+(?:\.\d+)?)e([+-]\d+)", power, text)


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
