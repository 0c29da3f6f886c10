"""Tables for the terminal, one function each: something to say in, a rich table out."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from jgrad.activations import Traits
from jgrad.diagnosis import Profile, factor, signed

from ._conclude import accuracy
from ._summary import Summary


def ranking(summary: Summary) -> Table:
    """What became of each configuration, the fastest first."""
    table = _table("configuration", "outcome", steps=1, accuracy=1, rate=1, gain=1, theory=1)
    table.add_column("at the start", overflow="fold")
    for entry in summary.entries:
        predicted = entry.comparison.predicted_rate if entry.comparison else math.nan
        table.add_row(
            entry.label,
            f"[{'green' if entry.trains else 'red'}]{entry.outcome}",
            f"{entry.steps:.0f}" if math.isfinite(entry.steps) else "–",
            accuracy(entry),
            f"{entry.learning_rate:g}",
            signed(entry.start.rate),
            signed(predicted),
            ", ".join(dict.fromkeys(f.symptom for f in entry.findings)) or "–",
        )
    table.caption = "gain: ln of what a layer multiplies the gradient norm by, before training"
    return table


def activations(traits: Mapping[str, Traits], gains: Mapping[str, Any] | None = None) -> Table:
    """The catalogue: what is stated about each activation, and its Gaussian gains where given."""
    table = _table("name", "range", "slope", lipschitz=1)
    table.add_column("saturates")
    table.add_column("kinks")
    if gains:
        table.add_column("√E φ²", justify="right")
        table.add_column("√E φ'²", justify="right")
    for name, facts in traits.items():
        row = [
            name,
            _interval(facts.lower, facts.upper),
            _interval(facts.slope_lower, facts.slope_upper),
            number(facts.lipschitz),
            facts.saturates,
            ", ".join(map(number, facts.kinks)) or "–",
        ]
        if gains:
            found = gains.get(name)
            row += (
                [f"{math.sqrt(found.second):.4f}", f"{math.sqrt(found.slope_second):.4f}"]
                if found
                else ["–", "–"]
            )
        table.add_row(*row)
    return table


def flow(profile: Profile, run: int = 0) -> Table:
    """A flow by position along the main path, the output at the top as the gradient meets it."""
    table = _table("site", "activation")
    for name in ("rms z", "rms φ'", "φ' = 0", "gradient", "φ", "linear"):
        table.add_column(name, justify="right", no_wrap=True)
    read = {name: values[run] for name, values in profile.values.items()}
    for i in reversed(range(len(profile.names))):
        table.add_row(
            profile.names[i],
            profile.activations[i],
            f"{math.sqrt(read['z_second'][i]):.3g}",
            f"{math.sqrt(read['slope_second'][i]):.3g}",
            f"{100 * read['zero_slope_share'][i]:.0f} %",
            factor(read["log_dz"][i]),
            signed(read["log_gain"][i]),
            signed(read["linear_log_gain"][i]),
        )
    table.caption = (
        "φ, linear: ln of what the activation and the linear map do to the gradient norm"
    )
    return table


def facts(rows: Iterable[tuple[str, str, str]]) -> Table:
    """Name, value, and what it means."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def number(value: float) -> str:
    """A number in few digits.

    Example:
      >>> number(0.25), number(-0.0), number(1.0507009873554805), number(float("inf"))
      ('0.25', '0', '1.0507', '∞')
    """
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value + 0.0:.5g}".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return f"{number(low)} … {number(high)}"


def _table(*words: str, **numbers: int) -> Table:
    """A table with columns of words, then of numbers set to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
