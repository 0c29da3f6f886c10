"""Tables for the terminal, one function each: something to say in, a rich table out."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from jgrad import theory
from jgrad.activations import Traits
from jgrad.diagnosis import Profile, factor, folds, signed

from ._summary import Summary


def ranking(summary: Summary) -> Table:
    """What became of each configuration, the best first; one data set after the other."""
    told = dict.fromkeys(entry.yardstick.score for entry in summary.entries)
    table = _table("configuration", "outcome")
    for name in ("steps", " or ".join(told), "rate", "gain", "theory"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("at the start", overflow="fold")
    for entry in (e for task in summary.tasks for e in summary.of(task).entries):
        predicted = entry.comparison.predicted_rate if entry.comparison else math.nan
        table.add_row(
            entry.label,
            f"[{'green' if entry.works else 'red'}]{entry.outcome}",
            f"{entry.steps:.0f}" if math.isfinite(entry.steps) else "–",
            entry.ended,
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


def phases(
    name: str,
    sigma_b: float,
    moments: theory.Moments,
    critical: Sequence[tuple[float, float]],
    points: Mapping[float, theory.FixedPoint],
) -> tuple[Table, ...]:
    """What mean-field theory says of an activation: moments, critical points, fixed points."""
    rows = [
        (f"E {name}", number(moments.mean), "mean output at z ~ N(0, 1)"),
        ("E φ²", number(moments.second), "what a layer keeps of the signal"),
        ("E φ'²", number(moments.slope_second), "what a layer keeps of the squared gradient"),
        ("gain forward", number(moments.gain_forward), "σ_w that keeps the signal"),
        ("gain backward", number(moments.gain_backward), "σ_w that keeps the gradient there"),
    ]
    for width, q in critical:
        rows.append(("critical σ_w", number(width), f"χ₁ = 1 at σ_b = {sigma_b:g}, q = {q:.4g}"))
    tables = [facts(rows)]
    for width, point in points.items():
        gain = math.log(point.chi1) / 2 if point.chi1 > 0 else -math.inf
        rows = [
            ("σ_w", number(width), f"with σ_b = {sigma_b:g}"),
            ("q*", number(point.q), "where z² settles" if point.stable else "a fixed point of z²"),
            ("c*", number(point.c), "where the correlation of two inputs settles"),
            ("χ₁", number(point.chi1), f"so the gradient {folds(gain)}"),
            ("ξ_q", number(point.xi_q), "layers over which z² forgets the input's size"),
            ("ξ_c", number(point.xi_c), "layers over which the correlation settles"),
            ("ξ_∇", number(abs(point.xi_gradient)), "layers for a factor e in squared gradients"),
            (
                "trainable",
                number(6 * point.xi_c) if point.stable else "–",
                "layers, about: 6 ξ_c" if point.stable else "unstable: z² drifts away from q*",
            ),
        ]
        tables.append(facts(rows))
    return tuple(tables)


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
