"""The conclusion in words, with the numbers behind it. The words of findings are diagnosis's."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jgrad.diagnosis import factor, folds, signed

from ._entry import Entry, percent
from ._summary import Summary


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
    """Which trained, how fast and why; of several data sets, a sentence on each."""
    parts = {task: summary.of(task) for task in summary.tasks}
    if len(parts) == 1:
        return _concluded(summary)
    count, of = sum(e.trains for e in summary.base), len(summary.base)
    verb = "trains" if count == 1 else "train"
    return Conclusion(
        f"{count} of {of} networks {verb} on {len(parts)} data sets.",
        tuple((task, _title(part)) for task, part in parts.items()),
    )


def _concluded(summary: Summary) -> Conclusion:
    """The conclusion on one data set."""
    if summary.entries[0].by_loss:
        return _judged_by_loss(summary)
    points = []
    for activation, failing in _failing(summary).items():
        fails = not any(e.trained.any() for e in failing)
        head = f"Why {activation} fails" if fails else f"Where {activation} is unsure"
        points.append((head, _why(failing, summary)))
        tried = [r for e in failing for r in summary.remedies(e.label)]
        if tried:
            points.append((f"Remedies for {activation}", _remedies(tried, summary)))
    healthy = [e for e in summary.base if e.trains]
    if healthy:
        points.append(("What trains as it is", _healthy(healthy)))
    fastest = [e for e in summary.entries if e.trains and math.isfinite(e.steps)]
    if fastest:
        points.append(("The fastest", _pace(fastest, _unit(summary))))
    compared = [e for e in summary.entries if e.comparison is not None]
    if compared:
        points.append(("Theory beside measurement", _theory(compared)))
    return Conclusion(_title(summary), tuple(points))


def _judged_by_loss(summary: Summary) -> Conclusion:
    """The conclusion where there is nothing but a loss: what each remedy does, and why."""
    tried = [e for e in summary.entries if e.verdict is not None]
    helping = [e.remedy for e in tried if e.works]
    if not tried:
        title = f"{len(summary.entries)} trainings of one loss, none a remedy of another."
    elif helping:
        verb = "helps" if len(helping) == 1 else "help"
        title = f"{len(helping)} of {len(tried)} remedies {verb}: {_listed(helping)}."
    else:
        title = f"None of {len(tried)} remedies is shown to help."
    points = []
    for entry in summary.base:
        faults = [str(finding) for finding in entry.findings if finding.fault]
        said = "It diverges at every learning rate tried"
        if not entry.diverged.all():
            said = f"It ends at a test loss of {entry.ended}"
        gradient = f"At the start the gradient {folds(entry.start.rate)}"
        points.append((entry.label, ". ".join([said, gradient, *faults])))
    for word in ("helps", "not shown to help", "harms"):
        of_word = [e.verdict for e in tried if e.verdict is not None and e.verdict.word == word]
        if of_word:
            said = "; ".join(f"{verdict.label}, {verdict.said}" for verdict in of_word)
            points.append((word, said))
    return Conclusion(title, tuple((_capital(head), f"{text}.") for head, text in points))


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
            "score": e.yardstick.score,
            "test": e.score,
            "diverged": e.diverged,
            "learning_rate": e.learning_rate,
            "log_gain_a_layer": e.start.rate,
            "predicted_log_gain_a_layer": e.comparison.predicted_rate if e.comparison else None,
            "findings": e.findings,
            "verdict": e.verdict,
        }
        for e in summary.entries
    ]
    return {"conclusion": said.title, "points": dict(said.points), "ranking": ranking}


def _failing(summary: Summary) -> dict[str, list[Entry]]:
    """Activation → its plain entries that fail, the activation that loses most gradient first."""
    failing = sorted((e for e in summary.base if not e.trains), key=lambda e: e.start.rate)
    kinds = dict.fromkeys(e.settings["activation"] for e in failing)
    return {k: [e for e in failing if e.settings["activation"] == k] for k in kinds}


def _title(summary: Summary) -> str:
    base = summary.base
    healthy = [e for e in base if e.trains]
    kind = "plain " if len(base) < len(summary.entries) else ""
    layers = f"{summary.depth}-layer " if summary.depth else ""
    verb = "trains" if len(healthy) == 1 else "train"
    said = f"{len(healthy)} of {len(base)} {kind}{layers}networks {verb}"
    kinds = dict.fromkeys(e.settings["activation"] for e in healthy)
    never = [kind for kind in _failing(summary) if kind not in kinds]
    if never and healthy:
        said += f", none of them with {_listed(never, 'or')}"
    treated = [e for es in _failing(summary).values() for e in es if summary.remedies(e.label)]
    if not treated:
        return said + "."
    by_mends: dict[str, list[str]] = {}
    for kind in dict.fromkeys(e.settings["activation"] for e in treated):
        mends = _mends_all(summary, [e for e in treated if e.settings["activation"] == kind])
        verb = "mends" if len(mends) == 1 else "mend"
        by_mends.setdefault(f"{_listed(mends)} {verb}" if mends else "", []).append(kind)
    said = [said, *(f"{who} {_listed(whom)}" for who, whom in by_mends.items() if who)]
    if "" in by_mends:
        said.append(f"nothing tried mends {_listed(by_mends[''], 'or')}")
    return "; ".join(said) + "."


def _mends_all(summary: Summary, failing: list[Entry]) -> list[str]:
    """The remedies that made each of these train, the fastest first."""
    common = set.intersection(*({r.remedy for r in _mending(summary, e)} for e in failing))
    return list(dict.fromkeys(r.remedy for r in summary.entries if r.remedy in common))


def _mending(summary: Summary, entry: Entry) -> list[Entry]:
    return [r for r in summary.remedies(entry.label) if r.trains]


def _why(failing: list[Entry], summary: Summary) -> str:
    """The outcome of an activation's failing entries, and what diagnosis says of them."""
    gone = [e for e in failing if e.diverged.all()]
    ended = [e for e in failing if e not in gone]
    said = []
    if ended:
        said.append(
            f"With {_inits(ended)} it ends at {percent(max(e.mean for e in ended))} "
            f"{_unit(summary)}{' or less' if len(ended) > 1 else ''}; chance is "
            f"{percent(summary.yardstick.chance)}."
        )
    if gone:
        said.append(f"With {_inits(gone)} it diverges at every learning rate tried.")
    faulty = [e for e in failing if any(f.fault for f in e.findings)]
    if faulty:
        said.append(_course(faulty[0]))
    sound = [e for e in failing if e not in faulty and math.isfinite(e.start.rate)]
    if sound:
        rates = _listed(dict.fromkeys(signed(e.start.rate) for e in sound))
        said.append(
            f"With {_inits(sound)} the gradient arrives ({rates} e-folds a layer), so its size at "
            f"the start is not what stops it in {summary.step[-1]} steps."
        )
    later = [(e, f) for e in sound for f in e.later if f.fault and f.numbers["runs"] > 0.5]
    if later:
        entry, finding = later[0]
        said.append(f"By step {entry.record[-1]}, {entry.name} is {finding}.")
    return " ".join(said)


def _unit(summary: Summary) -> str:
    """What follows a percentage."""
    numbers = summary.yardstick.score == "explained variance"
    return "of the test variance explained" if numbers else "test accuracy"


def _inits(entries: list[Entry]) -> str:
    return _listed(e.name for e in entries)


def _course(entry: Entry) -> str:
    """How the gradient goes at the start, beside its forecast, and who does it."""
    start = entry.start
    said = f"With {entry.name} the gradient {folds(start.rate)}"
    if entry.comparison is not None:
        said += f" (theory: it {folds(entry.comparison.predicted_rate)})"
    finding = next(f for f in entry.findings if f.fault)
    return (
        f"{said}, so that {factor(start.log_gain)} of it reaches the first layer; {finding.cause}."
    )


# A remedy that ends this far above chance, and still below what counts as trained, is no nothing.
_SOMETHING = 0.15


def _remedies(tried: list[Entry], summary: Summary) -> str:
    """Which remedies trained, the fastest first, which got some way, and which did not help."""
    names = list(dict.fromkeys(e.remedy for e in tried))
    by_name = {name: [e for e in tried if e.remedy == name] for name in names}
    works = {n: es for n, es in by_name.items() if all(e.trains for e in es)}
    partly = {n: es for n, es in by_name.items() if n not in works and any(e.trains for e in es)}
    fails = [n for n in names if n not in works and n not in partly]
    breaks = [n for n in fails if all(e.diverged.all() for e in by_name[n])]
    fails = [n for n in fails if n not in breaks]
    reached = {n: float(np.nanmean([e.mean for e in by_name[n]])) for n in fails}
    chance = summary.yardstick.chance
    some = {n: mean for n, mean in reached.items() if mean > chance + _SOMETHING}
    fails = [n for n in fails if n not in some]
    said = []
    if works:
        ordered = sorted(works.items(), key=lambda item: _median_steps(item[1]))
        each = [f"{name} ({_gist(entries)})" for name, entries in ordered]
        said.append(f"it trains with {_listed(each)}")
    if partly:
        each = [f"{n} ({sum(e.trains for e in es)} of {len(es)})" for n, es in partly.items()]
        said.append(f"with some initialisations with {_listed(each)}")
    if some:
        each = [f"{percent(mean)} with {n}" for n, mean in some.items()]
        said.append(f"it gets no further than {_listed(each)}")
    if fails:
        verb = "does" if len(fails) == 1 else "do"
        said.append(f"{_listed(fails)} {verb} not help" + _unchanged(summary, by_name, fails))
    if breaks:
        each = [f"{n} (the gradient {folds(_rate(by_name[n]))})" for n in breaks]
        said.append(f"it diverges with {_listed(each)}")
    return ". ".join(map(_capital, said)) + "."


def _gist(entries: list[Entry]) -> str:
    mean = float(np.mean([e.mean for e in entries]))
    return (
        f"{percent(mean)}, at step {_median_steps(entries):.0f}; the gradient now "
        f"{folds(_rate(entries))}"
    )


def _rate(entries: list[Entry]) -> float:
    """Mean gain a layer at the start."""
    return float(np.mean([e.start.rate for e in entries]))


def _network(entry: Entry) -> tuple[object, ...]:
    """What decides the gradients before training."""
    shared = (entry.settings[name] for name in ("activation", "init", "norm", "skip"))
    return (*shared, entry.depth)


def _unchanged(summary: Summary, by_name: dict[str, list[Entry]], fails: list[str]) -> str:
    """A word on remedies that leave the network, and so its first gradients, as they were."""
    entries = [e for name in fails for e in by_name[name]]
    if all(_network(e) == _network(summary[e.baseline]) for e in entries):
        return f": the gradient still {folds(_rate(entries))}, whatever is done with it afterwards"
    return ""


def _healthy(healthy: list[Entry]) -> str:
    labels = _listed([f"{e.short} ({e.ended})" for e in healthy])
    rates = [e.start.rate for e in healthy if math.isfinite(e.start.rate)]
    if not rates:
        return f"{labels}."
    low, high = min(rates), max(rates)
    change = signed(low) if signed(low) == signed(high) else f"{signed(low)} to {signed(high)}"
    return f"{labels}. The gradient changes by {change} e-folds a layer."


def _pace(entries: list[Entry], unit: str) -> str:
    top = sorted(entries, key=lambda e: (e.steps, -e.mean))[:3]
    each = [f"{e.short} (step {e.steps:.0f}, {e.ended})" for e in top]
    return f"To {percent(top[0].level)} {unit}: {_listed(each)}."


def _theory(compared: list[Entry]) -> str:
    """How far the predicted gains are off."""
    comparisons = [e.comparison for e in compared if e.comparison is not None]
    off = [abs(c.measured_rate - c.predicted_rate) for c in comparisons]
    worst = compared[int(np.argmax(off))]
    return (
        f"Over {len(off)} configurations the measured gain a layer differs from the predicted one "
        f"by {np.median(off):.3f} e-folds in the median, by {max(off):.3f} at most ({worst.short})."
    )


def _median_steps(entries: list[Entry]) -> float:
    return float(np.median([e.steps for e in entries]))


def _listed(words: Iterable[str], last: str = "and") -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _capital(text: str) -> str:
    """The text with a large first letter; the others stay."""
    return text[0].upper() + text[1:]
