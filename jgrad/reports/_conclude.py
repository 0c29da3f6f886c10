"""The conclusion in words, with the numbers behind it. The words of findings are diagnosis's."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jgrad.diagnosis import factor, folds

from ._summary import Entry, Summary


class Conclusion(NamedTuple):
    """What a sweep showed.

    Attributes:
      title: one sentence.
      points: (a few words, sentences) each, in the order in which they are to be read.
    """

    title: str
    points: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "\n".join([self.title, *(f"{head}: {text}" for head, text in self.points)])


def conclude(summary: Summary) -> Conclusion:
    """Which trained, how fast and why, from the summary of a sweep."""
    points = []
    for activation in dict.fromkeys(e.settings["activation"] for e in summary.base):
        of_it = [e for e in summary.base if e.settings["activation"] == activation]
        failing = [e for e in of_it if not e.trains]
        if failing:
            points.append((f"{activation} fails", _why_failing(failing, of_it, summary.chance)))
            tried = [r for e in failing for r in summary.remedies(e.label)]
            if tried:
                points.append((f"Remedies for {activation}", _remedies(tried)))
    healthy = [e for e in summary.base if e.trains]
    if healthy:
        points.append(("What trains as it is", _healthy(healthy)))
    fastest = [e for e in summary.entries if e.trains and math.isfinite(e.steps)]
    if fastest:
        points.append(("Fastest", _pace(fastest)))
    compared = [e for e in summary.entries if e.comparison is not None]
    if compared:
        points.append(("Theory beside measurement", _theory(compared)))
    return Conclusion(_title(summary), tuple(points))


def as_plain(summary: Summary) -> dict[str, Any]:
    """The ranking and the conclusion for machines."""
    said = conclude(summary)
    ranking = [
        {
            "label": e.label,
            "baseline": e.baseline,
            **e.settings,
            "outcome": e.outcome,
            "steps": e.steps,
            "accuracy": e.accuracy,
            "learning_rate": e.learning_rate,
            "log_gain_a_layer": e.start.rate,
            "predicted_log_gain_a_layer": e.comparison.predicted_rate if e.comparison else None,
            "findings": e.findings,
        }
        for e in summary.entries
    ]
    return {"conclusion": said.title, "points": dict(said.points), "ranking": ranking}


def accuracy(entry: Entry) -> str:
    """Final test accuracy in percent, mean ± standard deviation over seeds."""
    spread = f" ± {100 * entry.spread:.1f}" if len(entry.accuracy) > 1 else ""
    return f"{100 * entry.mean:.1f}{spread} %"


def _title(summary: Summary) -> str:
    base = summary.base
    healthy = [e for e in base if e.trains]
    said = f"{len(healthy)} of {len(base)} plain {summary.depth}-layer networks train"
    activations = dict.fromkeys(e.settings["activation"] for e in base)
    never = [a for a in activations if not any(e.settings["activation"] == a for e in healthy)]
    if never and healthy:
        said += f", none of them with {_listed(never, 'or')}"
    failing = [e for e in base if not e.trains and summary.remedies(e.label)]
    mends = _mends_all(summary, failing)
    if failing and mends:
        whom = "the one that fails" if len(failing) == 1 else "every one of the failing"
        whom += " that were treated" if len(failing) < len(base) - len(healthy) else ""
        return f"{said}; {_listed(mends)} mend{'s' if len(mends) == 1 else ''} {whom}."
    if failing:
        return f"{said}; no remedy tried mends all that fail."
    return said + "."


def _mends_all(summary: Summary, failing: list[Entry]) -> list[str]:
    """The remedies that made each of these train."""
    sets = [{r.remedy for r in summary.remedies(e.label) if r.trains} for e in failing]
    common = set.intersection(*sets) if sets else set()
    order = [r.remedy for r in summary.entries if r.remedy in common]
    return list(dict.fromkeys(order))


def _why_failing(failing: list[Entry], of_it: list[Entry], chance: float) -> str:
    inits = _listed([e.settings["init"] for e in failing])
    worst = min(failing, key=lambda e: -abs(e.start.log_gain))
    best = max(e.mean for e in failing)
    which = f"with {inits} initialisation" + (
        "" if len(failing) < len(of_it) or len(of_it) == 1 else ", all that were tried"
    )
    said = f"{which}, it ends at {100 * best:.0f} % accuracy or less (chance is {chance:.0%})"
    said = said.replace("%)", " %)")
    return f"{said}. {_course(worst)}."


def _course(entry: Entry) -> str:
    """How the gradient goes at the start, beside its forecast."""
    start = entry.start
    said = f"With {entry.settings['init']} its gradient {folds(start.rate)}"
    if entry.comparison is not None:
        said += f" where theory says that it {folds(entry.comparison.predicted_rate)}"
    said += f": {factor(start.log_gain)} of it reaches the first layer"
    if entry.findings:
        said += f" ({entry.findings[0].symptom}: {entry.findings[0].cause})"
    return said


def _remedies(tried: list[Entry]) -> str:
    """Which remedies trained, the fastest first, and which did not."""
    names = list(dict.fromkeys(e.remedy for e in tried))
    by_name = {name: [e for e in tried if e.remedy == name] for name in names}
    works = {n: es for n, es in by_name.items() if all(e.trains for e in es)}
    partly = {n: es for n, es in by_name.items() if n not in works and any(e.trains for e in es)}
    fails = [n for n in names if n not in works and n not in partly]
    said = []
    if works:
        ordered = sorted(works.items(), key=lambda item: _median_steps(item[1]))
        each = [f"{name} ({_gist(entries)})" for name, entries in ordered]
        said.append(f"made to train by {_listed(each)}")
    if partly:
        each = [f"{n} ({sum(e.trains for e in es)} of {len(es)})" for n, es in partly.items()]
        said.append(f"in part by {_listed(each)}")
    if fails:
        verb = "does" if len(fails) == 1 else "do"
        said.append(f"{_listed(fails)} {verb} not help" + _unchanged(by_name, fails))
    return "; ".join(said) + "."


def _gist(entries: list[Entry]) -> str:
    rate = float(np.mean([e.start.rate for e in entries]))
    mean = np.mean([e.mean for e in entries])
    return (
        f"{100 * mean:.0f} %, from step {_median_steps(entries):.0f} on; the gradient "
        f"now {folds(rate)}"
    )


def _unchanged(by_name: dict[str, list[Entry]], fails: list[str]) -> str:
    """A word on remedies that leave the network, and so its first gradients, as they were."""
    entries = [e for name in fails for e in by_name[name]]
    if all(e.settings["norm"] == "none" and e.settings["skip"] == "none" for e in entries):
        rate = float(np.mean([e.start.rate for e in entries]))
        return f": the gradient still {folds(rate)}, whatever is done with it afterwards"
    return ""


def _healthy(healthy: list[Entry]) -> str:
    labels = _listed([f"{e.label} ({accuracy(e)})" for e in healthy])
    rates = [e.start.rate for e in healthy]
    low, high = min(rates), max(rates)
    return f"{labels}. Their gradients change by {low:+.2f} to {high:+.2f} e-folds a layer."


def _pace(entries: list[Entry]) -> str:
    top = sorted(entries, key=lambda e: (e.steps, -e.mean))[:3]
    each = [f"{e.label} (step {e.steps:.0f}, {accuracy(e)})" for e in top]
    level = f"{100 * top[0].level:.0f} %"
    return f"to {level} test accuracy: {_listed(each)}."


def _theory(compared: list[Entry]) -> str:
    """How far the predicted gains are off."""
    comparisons = [e.comparison for e in compared if e.comparison is not None]
    off = [abs(c.measured_rate - c.predicted_rate) for c in comparisons]
    worst = compared[int(np.argmax(off))]
    return (
        f"over {len(off)} configurations the measured gain a layer differs from the predicted one "
        f"by {np.median(off):.3f} e-folds in the median, by {max(off):.3f} at most ({worst.label})."
    )


def _median_steps(entries: list[Entry]) -> float:
    return float(np.median([e.steps for e in entries]))


def _listed(words: Iterable[str], last: str = "and") -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
