"""Small charts as inline SVG: drawn in the page's own type, a few kilobytes each, in no time.

A chart is a frame (its scales and its room) and marks, each a function of the frame and of arrays
that gives SVG text. Lengths are in CSS pixels at the chart's natural width.
"""

import base64
import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.image import imsave

INK, MUTED, RULE = "#1b1f24", "#5b6470", "#d7dce2"

#: Okabe & Ito's colours, darkened where they would not read on white.
COLOURS = ("#0072b2", "#d55e00", "#00835f", "#a4457f", "#7a6000", "#3c9bd6", "#444444")

#: A dash pattern for each colour, so that lines are told apart without it.
DASHES = ("", "7 2.5", "2 2", "8 2.5 2 2.5", "4 2", "10 3", "1 2.5")


class Axis(NamedTuple):
    """One direction of a chart.

    Attributes:
      low: the value at its start.
      high: the value at its end.
      ticks: (value, text) to be labelled.
      label: what it shows, with its unit.
      log: values are placed by their logarithm.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str
    log: bool = False

    def place(self, values: np.ndarray | float) -> np.ndarray:
        """Where values lie between the start (0) and the end (1)."""
        low, high, at = self.low, self.high, np.asarray(values, float)
        if self.log:
            low, high, at = math.log(low), math.log(high), np.log(at)
        return (at - low) / (high - low) if high > low else np.full_like(at, 0.5)


class Frame(NamedTuple):
    """The room of a chart: its size, its margins, its axes."""

    x: Axis
    y: Axis
    width: float = 340.0
    height: float = 220.0
    left: float = 48.0
    right: float = 10.0
    top: float = 8.0
    bottom: float = 38.0

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values as pixels."""
        inner = self.width - self.left - self.right
        tall = self.height - self.top - self.bottom
        return self.left + inner * self.x.place(x), self.top + tall * (1 - self.y.place(y))


def ticks(
    low: float, high: float, count: int = 5, text: Callable[[float], str] | None = None
) -> list[tuple[float, str]]:
    """Round values between two ends, about `count` of them, with their texts.

    Example:
      >>> ticks(0.0, 30.0, 4)
      [(0.0, '0'), (10.0, '10'), (20.0, '20'), (30.0, '30')]
    """
    if high <= low:
        return [(low, f"{low:g}")]
    raw = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.999 * raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    said = text or (lambda value: f"{value:g}".replace("-", "−"))
    return [(i * step, said(i * step)) for i in range(first, last + 1)]


def decades(low: float, high: float) -> list[tuple[float, str]]:
    """Ticks of a logarithmic axis: powers of ten, and 2 and 5 times them where those are few.

    Example:
      >>> [text for _, text in decades(0.04, 5.0)]
      ['0.05', '0.1', '0.2', '0.5', '1', '2', '5']
      >>> [text for _, text in decades(1e-4, 5.0)]
      ['0.0001', '0.001', '0.01', '0.1', '1']
    """
    between = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [m * 10.0**p for p in powers for m in between]
    return [(v, f"{v:.6g}") for v in values if 0.999 * low <= v <= 1.001 * high]


def layers(depth: int) -> list[tuple[float, str]]:
    """Ticks of an axis of layers: the first, the last, and the middle where there is one.

    Example:
      >>> [text for _, text in layers(30)]
      ['1', '10', '20', '30']
    """
    if depth < 4:
        return [(float(i), f"{i}") for i in range(1, depth + 1)]
    inner = [at for at, _ in ticks(0.0, float(depth), 4) if 0.1 * depth < at < 0.9 * depth]
    return [(at, f"{at:.0f}") for at in (1.0, *inner, float(depth))]


def power_of_ten(exponent: float) -> str:
    """10 to that power.

    Example:
      >>> power_of_ten(-12.0), power_of_ten(0.0)
      ('10⁻¹²', '1')
    """
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return f"10{f'{exponent:.0f}'.translate(raised)}" if exponent else "1"


def line(
    frame: Frame, x: np.ndarray, y: np.ndarray, colour: str, dash: str = "", width: float = 1.7
) -> str:
    """A line through the points; it breaks where a value is not finite."""
    px, py = frame.at(x, y)
    drawn = np.isfinite(px) & np.isfinite(py)
    steps = (
        f"{'L' if i and drawn[i - 1] else 'M'}{px[i]:.1f} {py[i]:.1f}"
        for i in np.flatnonzero(drawn)
    )
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
        f'stroke-linejoin="round"{dashes}/>'
    )


def band(frame: Frame, x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> str:
    """The area between two curves, where both are finite."""
    keep = np.isfinite(low) & np.isfinite(high)
    (right, up), (left, down) = frame.at(x[keep], high[keep]), frame.at(x[keep], low[keep])
    corners = [*zip(right, up, strict=True), *zip(left[::-1], down[::-1], strict=True)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
    return f'<polygon points="{points}" fill="{colour}" fill-opacity=".16"/>'


def dots(
    frame: Frame, x: np.ndarray, y: np.ndarray, colour: str, names: Sequence[str] = (), r: float = 2
) -> str:
    """A dot at each point; with names, each tells its own when pointed at."""
    px, py = frame.at(x, y)
    told = [f"<title>{name}</title>" for name in names] or [""] * len(px)
    return "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{r:g}" fill="{colour}">{name}</circle>'
        for a, b, name in zip(px, py, told, strict=True)
        if np.isfinite(a) and np.isfinite(b)
    )


def whiskers(frame: Frame, x: np.ndarray, y: np.ndarray, half: np.ndarray, colour: str) -> str:
    """A vertical bar from y - half to y + half at each point."""
    px, low = frame.at(x, y - half)
    _, high = frame.at(x, y + half)
    return "".join(
        f'<path d="M{a:.1f} {b:.1f}V{c:.1f}" stroke="{colour}" stroke-width="1"/>'
        for a, b, c in zip(px, low, high, strict=True)
        if np.isfinite(b) and np.isfinite(c)
    )


def image(frame: Frame, colours: np.ndarray) -> str:
    """Cells of colour, [rows, columns, 4] between 0 and 1, bottom row first, filling the frame."""
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(colours[::-1]), format="png")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return (
        f'<image x="{frame.left}" y="{frame.top}" width="{frame.width - frame.left - frame.right}"'
        f' height="{frame.height - frame.top - frame.bottom}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{data}"/>'
    )


def chart(frame: Frame, marks: Iterable[str], description: str, *, grid: bool = True) -> str:
    """The `<svg>`: marks inside axes. It scales with its column and is read out as described."""
    bottom, right = frame.height - frame.bottom, frame.width - frame.right
    parts = []
    for value, text in frame.y.ticks:
        _, [y] = frame.at(np.array([frame.x.low]), np.array([value]))
        if grid:
            parts.append(f'<path class="grid-line" d="M{frame.left} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{frame.left - 6}" y="{y + 4:.1f}" class="end">{text}</text>')
    for value, text in frame.x.ticks:
        [x], _ = frame.at(np.array([value]), np.array([frame.y.low]))
        parts.append(f'<path class="tick" d="M{x:.1f} {bottom}v4"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" class="middle">{text}</text>')
    x, y = (frame.left + right) / 2, (frame.top + bottom) / 2
    parts += [
        *marks,
        f'<path class="axis" d="M{frame.left} {frame.top}V{bottom}H{right}"/>',
        f'<text x="{x:.1f}" y="{frame.height - 5}" class="middle name">{frame.x.label}</text>',
        f'<text transform="translate(11 {y:.1f}) rotate(-90)" class="middle name">'
        f"{frame.y.label}</text>",
    ]
    return (
        f'<svg class="plot" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" '
        f'aria-label="{description}">{"".join(parts)}</svg>'
    )


def key(names: Sequence[str], colours: Sequence[str], dashes: Sequence[str]) -> str:
    """The legend, as HTML that wraps: a stroke of each line and its name."""
    items = (
        f'<span><svg viewBox="0 0 26 8"><path d="M0 4H26" stroke="{colour}" stroke-width="2.2" '
        f'stroke-dasharray="{dash}"/></svg>{name}</span>'
        for name, colour, dash in zip(names, colours, dashes, strict=True)
    )
    return f'<p class="key">{"".join(items)}</p>'
