"""What all experiments share: from a question to its table, its answer, its figure, its data.

An experiment is a value. `run` measures, for every seed, and puts beside it what theory or the
paper says; it leaves a dataset, and all that follows reads nothing else: `rows` (measured beside
predicted), `answer` (one sentence, made of the numbers) and `paint` (the figure). A file holds one
experiment, named as the file, and ends in

    if __name__ == "__main__":
        main(EXPERIMENT)
"""

import argparse
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from jgrad import reports, results


class Row(NamedTuple):
    """A line of the table.

    Attributes:
      quantity: what it is, beside what the table's title says.
      measured: the mean over seeds.
      error: the standard error of that mean; NaN where there is none.
      predicted: what it should be; NaN where nothing is said.
      source: who says so.
    """

    quantity: str
    measured: float
    error: float
    predicted: float
    source: str = "theory"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question put to the literature, and how it is answered.

    Attributes:
      name: of its file, and of the files that it writes.
      question: one sentence.
      source: the paper.
      scales: name → the keyword arguments of `run`: "small" (under 90 s on 2 cores), "full", and
        "tiny", which only shows that everything works.
      run: measures; a dataset of `variable`s, seeds along a dimension "seed".
      title: the table's, with the unit of its numbers.
      rows: its lines.
      answer: one sentence, made of the dataset's numbers.
      paint: draws the figure.
      size: the figure's, in inches.
    """

    name: str
    question: str
    source: str
    scales: Mapping[str, Mapping[str, Any]]
    run: Callable[..., xr.Dataset]
    title: str
    rows: Callable[[xr.Dataset], Sequence[Row]]
    answer: Callable[[xr.Dataset], str]
    paint: Callable[[Figure, xr.Dataset], object]
    size: tuple[float, float] = (7.2, 4.5)


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> None:
    """Run an experiment from the command line, tell its result and write its files."""
    parser = argparse.ArgumentParser(
        description=f"{experiment.question} ({experiment.source})",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--scale", choices=list(experiment.scales), default="small")
    parser.add_argument("--out", type=Path, default=Path("results"), metavar="FOLDER")
    given = parser.parse_args(argv)
    console = Console(highlight=False)
    console.print(f"\n[bold]{experiment.question}[/]\n[dim]{experiment.source}[/]\n")
    began = time.monotonic()
    dataset, written = perform(experiment, given.scale, given.out)
    console.print(table(experiment.title, experiment.rows(dataset)))
    console.print(f"\n[bold]{experiment.answer(dataset)}[/]\n")
    files = ", ".join(map(str, written))
    console.print(f"[dim]{time.monotonic() - began:.0f} s · {files}[/]", soft_wrap=True)


def perform(experiment: Experiment, scale: str, out: Path) -> tuple[xr.Dataset, tuple[Path, Path]]:
    """The dataset of one run, and the files it was written to in `out`: data and figure."""
    settings = experiment.scales[scale]
    dataset = experiment.run(**settings).assign_attrs(
        **results.provenance(),
        experiment=experiment.name,
        question=experiment.question,
        source=experiment.source,
        scale=scale,
        settings=json.dumps(settings),
    )
    data, figure = (out / f"{experiment.name}.{kind}" for kind in ("nc", "png"))
    results.save(dataset, data)
    reports.plot(lambda drawn: experiment.paint(drawn, dataset), figure, size=experiment.size)
    return dataset, (data, figure)


def variable(dims: Sequence[str], values: Any, long_name: str, units: str = "1") -> xr.Variable:
    """Values with their dimensions, what they are and their unit ("1" for a pure number)."""
    return xr.Variable(dims, np.asarray(values), {"long_name": long_name, "units": units})


def mean_and_error(array: xr.DataArray, over: str = "seed") -> tuple[xr.DataArray, xr.DataArray]:
    """The mean along a dimension, and its standard error (deviation, n - 1, over √n)."""
    return array.mean(over), array.std(over, ddof=1) / math.sqrt(array.sizes[over])


def at_best_rate(trained: xr.Dataset) -> xr.Dataset:
    """A sweep's curves with every configuration at its best rate, as `results.verdicts` reads it.

    Without the dimension "rate"; what has no such dimension is left out.
    """
    best = trained.learning_rate == results.rate_window(trained).best
    of_points = [name for name, array in trained.data_vars.items() if "rate" in array.dims]
    return trained[of_points].isel(rate=best.argmax("rate").drop_vars("step", errors="ignore"))


def level(
    axes: Axes, name: str, side: str, *, x: float | None = None, y: float | None = None
) -> None:
    """A thin line at that x or y with its name at that side, "left" or "right"."""
    right = side == "right"
    name_at: dict[str, Any] = {"textcoords": "offset points", "color": reports.MUTED}
    if x is not None:
        axes.axvline(x, color=reports.MUTED, lw=1)
        name_at |= {"xycoords": ("data", "axes fraction"), "ha": "left" if right else "right"}
        axes.annotate(name, (x, 0), (5 if right else -5, 4), **name_at)
    if y is not None:
        axes.axhline(y, color=reports.MUTED, lw=1)
        name_at |= {"xycoords": ("axes fraction", "data"), "ha": side}
        axes.annotate(name, (float(right), y), (-5 if right else 5, 3), **name_at)


def beside(
    measured: xr.DataArray,
    predicted: xr.DataArray,
    name: Callable[[Mapping[Any, Any]], str],
) -> list[Row]:
    """A row for every place of `predicted`: the mean over seeds, its error, what it should be.

    `name` says what a place is, given its coordinates; the last dimension goes fastest.
    """
    mean, error = mean_and_error(measured)
    axes = [[(dim, value) for value in predicted[dim].values] for dim in predicted.dims]
    places = map(dict, itertools.product(*axes))
    return [
        Row(name(at), float(mean.sel(at)), float(error.sel(at)), float(predicted.sel(at)))
        for at in places
    ]


def table(title: str, rows: Sequence[Row]) -> Table:
    """Measured beside predicted, with the difference in standard errors where both are known."""
    drawn = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    drawn.add_column("", no_wrap=True)
    for name in ("measured", "± error", "predicted", "in errors"):
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("by", style="dim", overflow="fold")
    for row in rows:
        off = (row.measured - row.predicted) / row.error if row.error > 0 else math.nan
        numbers = map(reports.terminal.number, (row.measured, row.error, row.predicted))
        shown = ("–" if "nan" in cell else cell for cell in (*numbers, f"{off:+.1f}"))
        drawn.add_row(row.quantity, *shown, row.source if math.isfinite(row.predicted) else "")
    return drawn
