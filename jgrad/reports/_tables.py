"""The report's tables, one function each: a summary in, HTML out."""

import html
import math
from collections.abc import Iterable

import numpy as np

from jgrad.diagnosis import signed
from jgrad.results import Verdict

from ._entry import Entry, percent
from ._summary import Summary

_GOOD, _BAD, _UNSURE = "#00664b", "#a83a00", "#5b6470"


def ranking(summary: Summary) -> str:
    """What became of each configuration of one data set, the best first."""
    score, by_loss = summary.yardstick.score, summary.entries[0].by_loss
    theory = any(entry.comparison is not None for entry in summary.entries)
    head = [
        '<th class="number secondary">#</th><th>configuration</th>'
        '<th class="secondary">outcome</th>',
        "" if by_loss else '<th class="number">steps</th>',
        f'<th class="number">{"test loss" if by_loss else _text(score)}</th>',
        "" if by_loss else '<th class="strip secondary">each seed</th>',
        '<th class="number secondary">learning<br>rate</th>'
        '<th class="number secondary">log-gain<br>a layer</th>',
        '<th class="number secondary">theory</th>' if theory else "",
        '<th class="secondary">diagnosis</th>',
    ]
    rows = (_row(place, entry, theory=theory) for place, entry in enumerate(summary.entries, 1))
    return _table("".join(head), rows)


def _row(place: int, entry: Entry, *, theory: bool) -> str:
    kind = _kind(entry)
    steps = f"{entry.steps:.0f}" if math.isfinite(entry.steps) else "–"
    predicted = entry.comparison.predicted_rate if entry.comparison else math.nan
    faults = ", ".join(dict.fromkeys(f.symptom for f in entry.findings)) or "–"
    told = " · ".join(str(f) for f in entry.findings)
    cells = [
        f'<td class="number secondary">{place}</td><td>{_text(entry.short)}</td>'
        f'<td class="secondary {kind}">{_text(entry.outcome)}</td>',
        "" if entry.by_loss else f'<td class="number">{steps}</td>',
        f'<td class="number {kind}">{_text(entry.ended)}</td>',
        "" if entry.by_loss else f'<td class="strip secondary">{_strip(entry)}</td>',
        f'<td class="number secondary">{entry.learning_rate:g}</td>'
        f'<td class="number secondary">{signed(entry.start.rate)}</td>',
        f'<td class="number secondary">{signed(predicted)}</td>' if theory else "",
        f'<td class="why secondary" title="{_text(told)}">{_text(faults)}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _strip(entry: Entry) -> str:
    """The scores of the seeds as dots on a line from 0 to 100 %, a tick at chance."""
    kept = entry.score[~entry.diverged]
    dots = "".join(
        f'<circle cx="{6 + 148 * np.clip(a, 0, 1):.1f}" cy="9" r="4" '
        f'fill="{_GOOD if entry.works else _BAD}" fill-opacity=".55"/>'
        for a in kept
    )
    tick = 6 + 148 * entry.yardstick.chance
    return (
        f'<svg viewBox="0 0 160 18" role="img" aria-label="{", ".join(map(percent, kept))}">'
        f'<path d="M6 9H154" stroke="#d7dce2"/>'
        f'<path d="M{tick:.1f} 4V14" stroke="#5b6470"/>{dots}</svg>'
    )


def across(summary: Summary) -> str:
    """The scores of several data sets side by side: a row for what else differs."""
    cells: dict[str, dict[str, Entry]] = {}
    for entry in summary.entries:
        cells.setdefault(entry.short, {})[entry.settings["data"]] = entry
    head = "<th>configuration</th>" + "".join(
        f'<th class="number">{_text(task)}<br>{_text(summary.of(task).yardstick.score)}</th>'
        for task in summary.tasks
    )
    rows = (
        f"<tr><td>{_text(name)}</td>"
        + "".join(
            f'<td class="number {_kind(by_task[task])}">{_text(by_task[task].ended)}</td>'
            if task in by_task
            else '<td class="number">–</td>'
            for task in summary.tasks
        )
        + "</tr>"
        for name, by_task in sorted(cells.items())
    )
    return _table(head, rows)


def effects(summary: Summary) -> str:
    """What each remedy does to its baseline's score: the mean difference and its interval."""
    judged = [(entry, entry.verdict) for entry in summary.entries if entry.verdict is not None]
    judged.sort(key=lambda pair: (pair[0].baseline, -pair[1].difference))
    ends = [v for _, verdict in judged for v in (verdict.low, verdict.high, verdict.difference)]
    reach = max([abs(v) for v in ends if math.isfinite(v)], default=0.0) or 1.0
    scale = 1 if summary.entries[0].by_loss else 100
    rows = []
    for entry, verdict in judged:
        colour = {True: _GOOD, False: _BAD, None: _UNSURE}[verdict.helps]
        kind = {True: "works", False: "fails", None: ""}[verdict.helps]
        by = f"{scale * verdict.difference:+.3g}".replace("-", "−")
        p = "–" if math.isnan(verdict.p) else f"{verdict.p:.2g}"
        rows.append(
            f'<tr><td class="secondary">{_text(entry.baseline)}</td><td>{_text(entry.remedy)}</td>'
            f'<td class="number">{by}</td><td class="interval">{_bar(verdict, reach, colour)}</td>'
            f'<td class="number secondary">{p}</td><td class="{kind}">{verdict.word}</td></tr>'
        )
    unit = "" if summary.entries[0].by_loss else "<br>points"
    head = (
        '<th class="secondary">baseline</th><th>remedy</th>'
        f'<th class="number">better by{unit}</th><th class="interval">95 % interval</th>'
        '<th class="number secondary">p</th><th>verdict</th>'
    )
    return _table(head, rows)


def _bar(verdict: Verdict, reach: float, colour: str) -> str:
    """A difference and its interval on a line from -reach to reach, a tick at 0."""
    low, high = verdict.low, verdict.high
    x, left, right = (110 + 100 * value / reach for value in (verdict.difference, low, high))
    bar = ""
    if math.isfinite(low):
        bar = f'<path d="M{left:.1f} 9H{right:.1f}" stroke="{colour}" stroke-width="3"/>'
    return (
        f'<svg viewBox="0 0 220 18" role="img" aria-label="{low:.3g} to {high:.3g}">'
        '<path d="M4 9H216" stroke="#d7dce2"/><path d="M110 2V16" stroke="#5b6470"/>'
        f'{bar}<circle cx="{x:.1f}" cy="9" r="4.5" fill="{colour}"/></svg>'
    )


def _kind(entry: Entry) -> str:
    """The class of a cell that says how it went."""
    if entry.by_loss and not entry.works and not entry.diverged.all():
        return "fails" if entry.verdict is not None and entry.verdict.helps is False else ""
    return "works" if entry.works else "fails"


def _table(head: str, rows: Iterable[str]) -> str:
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
