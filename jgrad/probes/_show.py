"""How a flow is shown: as text, in a terminal of rich, in a notebook."""

import html
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ._site_flow import SiteFlow

if TYPE_CHECKING:
    from ._flow import Flow

# Columns of the table that hold words.
_TEXTS = ("site", "activation")


def text(flow: "Flow") -> str:
    """The table in plain text, and a sentence on the whole."""
    header, *rows = _table(flow)
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]

    def line(row):
        cells = [
            cell.ljust(width) if title in _TEXTS else cell.rjust(width)
            for title, cell, width in zip(header, row, widths, strict=True)
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), *(line(row) for row in rows), *_footer(flow)])


def for_rich(flow: "Flow") -> Any:
    """The table for a terminal; only rich calls this, so it is there."""
    from rich.table import Table
    from rich.text import Text

    header, *rows = _table(flow)
    table = Table(caption="\n".join(_footer(flow)), caption_justify="left")
    for title in header:
        table.add_column(title, justify="left" if title in _TEXTS else "right")
    for row in rows:
        table.add_row(*map(Text, row))  # as it is: "[0]" is a step, and no markup
    return table


def in_html(flow: "Flow") -> str:
    """The table for a notebook."""
    header, *rows = (tuple(map(html.escape, row)) for row in _table(flow))
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    foot = "<br>".join(map(html.escape, _footer(flow)))
    return f"<table><tr>{head}</tr>{body}</table><p>{foot}</p>"


def _table(flow: "Flow") -> Iterator[tuple[str, ...]]:
    """Rows of text: a header, then a site each; batch axes are averaged over, steps as a range."""
    flow = flow.on_host()
    columns = {
        "mean φ'": "slope_mean",
        "φ'=0": "zero_slope_share",
        "dead": "dead_share",
        "ln‖δa‖": "log_da",
        "ln gain φ": "log_gain",
        "ln gain W": "linear_log_gain",
    }
    yield ("site", "activation", "shape", *columns)
    for key in flow:
        of_site = flow[key]
        shape = "×".join(map(str, (*of_site.site.steps, *of_site.site.shape)))
        cells = [_cell(of_site, name) for name in columns.values()]
        # Both branches ran, and the gradient of the one not taken is 0: the numbers say less.
        mark = " (select)" if of_site.site.select else ""
        yield (key, of_site.site.activation + mark, shape, *cells)


def _cell(of_site: SiteFlow, name: str) -> str:
    try:
        with np.errstate(all="ignore"):  # what is no number is not shown
            values = np.asarray(getattr(of_site, name), np.float64)
    except ValueError:  # not measured
        return "·"
    finite = values[~np.isnan(values)]
    if not finite.size:
        return "·"
    if "share" in name:
        return f"{finite.mean():.1%}"
    low, high = f"{finite.min():.3g}", f"{finite.max():.3g}"
    return low if low == high else f"{low} … {high}"


def _footer(flow: "Flow") -> list[str]:
    positions = len(flow.positions)
    try:
        with np.errstate(all="ignore"):
            total = float(np.mean(flow.on_host().total_log_gain))
    except ValueError:
        return []
    if not math.isfinite(total):
        return [f"Along the main path ({positions} activations) no gradient comes through."]
    way = "falls" if total < 0 else "grows"
    return [
        f"Along the main path ({positions} activations) the gradient's norm {way} by "
        f"e^{abs(total):.3g}, from the last activation to the first."
    ]
