"""Plots that are files of their own, drawn with Matplotlib: an activation, a phase plane."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.interpolate import CubicSpline

from jgrad import activations, results, theory

from ._chart import COLOURS, INK, MUTED, RULE
from .terminal import number

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
}

#: jax.nn's own function where it goes by another name or needs to be told.
_USUAL = {
    "tanh": jnp.tanh,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
}

#: φ' below this share of sup |φ'| is shaded as saturated.
FLAT = 0.01


@contextlib.contextmanager
def _drawing() -> Iterator[None]:
    with mpl.rc_context(_SETTINGS):
        yield


def _kind(path: str | Path) -> str:
    """The file type that a path's ending asks for."""
    kind = Path(path).suffix.lstrip(".") or "png"
    known = Figure().canvas.get_supported_filetypes()
    if kind not in known:
        msg = f"cannot draw a .{kind}; a plot's file ends in one of {', '.join(sorted(known))}"
        raise ValueError(msg)
    return kind


def _save(figure: Figure, path: str | Path) -> Path:
    kind, path = _kind(path), Path(path)
    with results.replacing(path) as part:
        figure.savefig(part, format=kind, dpi=160)
    return path


def plot(
    paint: Callable[[Figure], object],
    path: str | Path,
    *,
    size: tuple[float, float] = (7.2, 4.5),
) -> Path:
    """Write what `paint` draws on a figure, in the reports' style; the file's path comes back.

    Args:
      paint: is given an empty Matplotlib figure.
      path: where to; its ending chooses the file type. Written whole or not at all.
      size: width and height in inches.

    Raises:
      ValueError: a file type that cannot be drawn.
    """
    _kind(path)
    with _drawing():
        figure = Figure(figsize=size)
        paint(figure)
        return _save(figure, path)


def plot_activation(name: str, path: str | Path) -> Path:
    """Draw φ, φ' and φ'' of a catalogue entry, and ln |φ'| with the zeros that autodiff makes.

    Shaded is where |φ'| is under 1 % of its supremum: hardly any gradient gets through. Below, on a
    logarithmic scale, the true slope beside `jax.grad` of the usual function in float32, and from
    where on that one is exactly 0 while φ' is not.

    Raises:
      ValueError: no such activation, or a file type that cannot be drawn.
    """
    phi = activations.get(name)
    _kind(path)
    facts = activations.traits(phi)
    reach = _reach(phi, facts.lipschitz)
    z = np.linspace(-reach, reach, 1201)
    curves = [
        (f"φ  {phi.__name__}", np.asarray(phi(jnp.asarray(z, jnp.float32)))),
        ("φ′ slope", np.asarray(activations.slope(phi)(jnp.asarray(z, jnp.float32)))),
        ("φ″ curvature", np.asarray(activations.slope(phi, order=2)(jnp.asarray(z, jnp.float32)))),
    ]
    with _drawing():
        figure = Figure(figsize=(7.2, 6.4))
        above, below = figure.subplots(2, 1, height_ratios=(3, 2), sharex=False)
        for i, (label, values) in enumerate(curves):
            above.plot(z, values, color=COLOURS[i], ls=("-", "--", "-.")[i], lw=2, label=label)
        flat = np.abs(curves[1][1]) < FLAT * facts.lipschitz
        _shade(above, z, flat, "saturated")
        low, high = _window(np.concatenate([v for _, v in curves]), curves[0][1])
        above.set(title=f"{phi.__name__}", ylim=(low, high), xlim=(-reach, reach), xlabel="z")
        above.legend(loc="upper left")
        _tails(below, phi)
        return _save(figure, path)


def _tails(axes: Axes, phi: Callable[[jax.Array], jax.Array]) -> None:
    """|φ'| on a logarithmic scale: the faithful one, and autodiff's of the usual formula."""
    z = jnp.linspace(-60.0, 60.0, 2401)
    true = np.asarray(activations.log_slope(phi)(z), float) / np.log(10)
    usual = _USUAL.get(phi.__name__, getattr(jax.nn, phi.__name__, None))
    finite = np.isfinite(true)
    axes.plot(z, np.where(finite, true, np.nan), color=COLOURS[1], lw=2, label="φ′, faithful")
    if usual is not None:
        with np.errstate(divide="ignore"):
            naive = np.log10(np.abs(np.asarray(jax.vmap(jax.grad(usual))(z), float)))
        axes.plot(
            z,
            np.where(np.isfinite(naive), naive, np.nan),
            color=INK,
            lw=1.2,
            ls=(0, (4, 3)),
            label=f"jax.grad of jax.nn's {phi.__name__}, float32",
        )
        # Within two decades of float32's smallest normal number a 0 is fair.
        false_zero = np.isneginf(naive) & finite & (true > -36)
        for side in (-1, 1):
            at = np.asarray(z)[false_zero & (np.sign(z) == side)]
            if at.size:
                first = at[np.argmin(np.abs(at))]
                where = np.flatnonzero(np.asarray(z) == first)[0]
                axes.axvspan(first, side * 60, color=COLOURS[1], alpha=0.10, lw=0)
                axes.annotate(
                    f"autodiff says 0 from z = {number(float(first))}",
                    (first, true[where]),
                    xytext=(0.97 if side > 0 else 0.03, 0.9),
                    textcoords="axes fraction",
                    ha="right" if side > 0 else "left",
                    va="top",
                    fontsize=9,
                    arrowprops={"arrowstyle": "->", "color": MUTED, "lw": 0.8},
                )
    lowest = np.nanmin(np.where(finite, true, np.nan), initial=0.0)
    axes.set(xlim=(-60, 60), xlabel="z", ylabel="log₁₀ |φ′|")
    axes.set_ylim(
        max(lowest, -45) * 1.05 - 0.2,
        max(np.nanmax(true[finite]), 0.0) + 0.08 * -max(lowest, -45) + 0.3,
    )
    axes.legend(loc="lower center", ncols=2, fontsize=9)


def plot_phases(name: str, path: str | Path, *, sigma_b: float = 0.0) -> Path:
    """Draw the order-to-chaos plane of an activation, and how deep a net can be trained across it.

    Above: ln χ₁ over (σ_w, σ_b). The thick line χ₁ = 1 parts order (gradients vanish) from chaos
    (they explode); thin lines tell over how many layers a squared gradient changes by a factor e,
    hatching where the variance grows without bound.
    Below: along the dotted row σ_b, the depth to which inputs are told apart, 6 ξ_c (Schoenholz et
    al., 2017, arXiv:1611.01232), which is endless on the critical line, and where gradients have
    changed by as much.

    Raises:
      ValueError: no such activation, or a file type that cannot be drawn.
    """
    phi = activations.get(name)
    _kind(path)
    row = _critical(name, sigma_b)
    middle = row[0][0] if row else 1.5
    widths = np.linspace(max(0.1, 0.35 * middle), 1.9 * middle, 141)
    biases = np.linspace(0.0, max(2 * sigma_b, 0.6), 101)
    with _drawing():
        figure = Figure(figsize=(7.6, 7.2))
        plane, depths = figure.subplots(2, 1, sharex=True, height_ratios=[1.75, 1])
        _draw_plane(figure, plane, widths, biases, *_log_chi(phi, widths, biases))
        _draw_depths(depths, name, widths, sigma_b, [width for width, _ in row])
        plane.axhline(sigma_b, color=INK, lw=1, ls=":")
        for width, q in row:
            point = theory.fixed_point(name, width, sigma_b, q0=q)
            plane.plot(width, sigma_b, "o", color=INK, mfc="white", mew=1.8, ms=8, zorder=5)
            depths.axvline(width, color=INK, lw=1.6)
            above = sigma_b < biases[-1] / 2
            plane.annotate(
                f"critical: σ_w = {width:.4g}{'' if point.stable else ', unstable'}",
                (width, sigma_b),
                xytext=(11, 7 if above else -15),
                textcoords="offset points",
                path_effects=_HALO,
            )
        plane.set_title(f"{name}: between order and chaos")
        return _save(figure, path)


_ORDER = "order\ngradients vanish,\ninputs merge"

#: Text that is read on any ground.
_HALO = [patheffects.withStroke(linewidth=3.5, foreground="white", alpha=0.85)]


def _draw_plane(
    figure: Figure,
    axes: Axes,
    widths: np.ndarray,
    biases: np.ndarray,
    log_chi: np.ndarray,
    bounded: np.ndarray,
) -> None:
    size = min(1.2, float(np.abs(log_chi).max()))
    shown = axes.pcolormesh(
        widths, biases, log_chi, cmap="RdBu_r", vmin=-size, vmax=size, shading="gouraud"
    )
    # Vector files keep the plane as an image: a mesh of triangles shows its seams.
    shown.set_rasterized(True)
    bar = figure.colorbar(shown, ax=axes, pad=0.02, extend="both")
    bar.set_label("ln χ₁, growth of the squared\ngradient norm a layer")
    bar.outline.set_visible(False)
    settled = np.where(bounded, log_chi, np.nan)
    axes.contour(widths, biases, settled, levels=[0.0], colors=[INK], linewidths=2.4)
    # Labels where the lines cross a row that is clear of other words, and each other.
    row, labelled = len(biases) * 2 // 3, [np.inf]
    for depth, sign in itertools.product((30, 10, 3, 1), (-1, 1)):
        lines = axes.contour(
            widths, biases, settled, levels=[sign / depth], colors=[INK], linewidths=0.8
        )
        for k in np.flatnonzero(np.diff(np.sign(settled[row] - sign / depth)) > 0)[:1]:
            x = float(widths[k])
            if np.abs(np.subtract(labelled, x)).min() < 0.03 * (widths[-1] - widths[0]):
                continue
            labelled.append(x)
            words = f"{depth} layer{'s' * (depth > 1)}"
            axes.clabel(
                lines, fmt=lambda _, words=words: words, fontsize=8, manual=[(x, biases[row])]
            )
    if not bounded.all():
        with mpl.rc_context({"hatch.color": RULE, "hatch.linewidth": 0.7}):
            axes.contourf(
                widths, biases, ~bounded, levels=[0.5, 1.5], colors="none", hatches=["///"]
            )
    chaos = "chaos\ngradients explode,\ninputs part"
    if not bounded[:, -1].any():
        chaos = "no fixed point\nvariance and gradients\ngrow without bound"
    for x, side, words in ((0.015, "left", _ORDER), (0.985, "right", chaos)):
        axes.text(
            x,
            0.965,
            words,
            transform=axes.transAxes,
            ha=side,
            va="top",
            fontweight="bold",
            path_effects=_HALO,
        )
    axes.grid(visible=False)
    axes.set(ylabel="σ_b, scale of the biases", ylim=(biases[0], biases[-1]))


def _draw_depths(
    axes: Axes, name: str, widths: np.ndarray, sigma_b: float, critical: list[float]
) -> None:
    """Depth scales along one row, on a grid that is denser near the critical points."""
    near = [w * (1 + s * d) for w in critical for s in (-1, 1) for d in np.geomspace(2e-4, 0.2, 14)]
    places = np.unique([*widths[::4], *(w for w in near if widths[0] < w < widths[-1])])
    memory = 6 * np.array([_memory(name, float(width), sigma_b) for width in places])
    log_chi, _ = _log_chi(activations.get(name), widths, np.array([sigma_b]))
    with np.errstate(divide="ignore"):
        gradient = 6 / np.abs(log_chi[0])
    top = 2000.0
    clipped = np.where(np.isfinite(memory), np.minimum(memory, top), np.nan)
    axes.fill_between(places, clipped, 1.0, color=COLOURS[2], alpha=0.13, lw=0)
    axes.plot(places, clipped, color=COLOURS[2], lw=2.2, label="inputs forgotten to e⁻⁶: 6 ξ_c")
    axes.plot(
        widths,
        np.minimum(gradient, top),
        color=COLOURS[1],
        lw=1.5,
        ls=(0, (4, 2)),
        label="squared gradient changed by e⁶: 6 / |ln χ₁|",
    )
    axes.set(
        yscale="log",
        ylim=(1, top),
        xlim=(widths[0], widths[-1]),
        xlabel="σ_w, scale of the weights",
        ylabel=f"layers, at σ_b = {number(sigma_b)}",
    )
    axes.legend(loc="upper right", fontsize=9, frameon=True, framealpha=0.9, edgecolor="white")


def _memory(name: str, sigma_w: float, sigma_b: float) -> float:
    """ξ_c where layers lead; NaN where they lead nowhere."""
    try:
        point = theory.fixed_point(name, sigma_w, sigma_b)
    except ValueError:
        return np.nan
    return point.xi_c if point.stable else np.nan


def _critical(name: str, sigma_b: float) -> list[tuple[float, float]]:
    """The critical points at σ_b, none where there is none."""
    try:
        return [(float(w), float(q)) for w, q in theory.critical(name, sigma_b)]
    except ValueError:
        return []


def _log_chi(
    phi: Callable[[jax.Array], jax.Array], widths: np.ndarray, biases: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[biases, widths] each: ln χ₁ where the layers lead from q = 1, and whether q stays bounded.

    E φ² and E φ'² are integrated once, on a grid of q, and read between its points: the layer map
    is then iterated over the whole plane at once.
    """
    q = np.geomspace(1e-6, 1e4, 241)
    second, steep = theory.average(phi, q, lambda at: at.value**2, lambda at: at.slope**2)
    x = np.log(q)
    ln_second = CubicSpline(x, np.log(np.maximum(second, 1e-300)))
    ln_steep = CubicSpline(x, np.log(np.maximum(steep, 1e-300)))
    w2, b2 = np.meshgrid(widths**2, biases**2)
    at = np.zeros_like(w2)
    for _ in range(2000):
        before = at
        passed = w2 * np.exp(ln_second(at)) + b2
        at = np.clip(np.log(np.maximum(passed, q[0])), x[0], x[-1])
        if np.abs(at - before).max() < 1e-9:
            break
    return np.log(w2) + ln_steep(at), at < x[-1] - 1e-3


def _reach(phi: Callable[[jax.Array], jax.Array], lipschitz: float) -> float:
    """How far to draw: to where the flat ends have been flat for a while, between 4 and 12."""
    z = jnp.linspace(0.0, 12.0, 241)
    slope = np.abs(np.asarray(activations.slope(phi)(jnp.concatenate([-z[::-1], z]))))
    z_all = np.abs(np.concatenate([-np.asarray(z)[::-1], np.asarray(z)]))
    steep = z_all[(slope > FLAT * lipschitz) & (slope < 0.98 * lipschitz)]
    return float(np.clip(1.5 * steep.max(initial=0.0), 4.0, 12.0)) if steep.size else 4.0


def _window(every: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Heights that show the slopes whole and cut a φ that runs away."""
    finite = every[np.isfinite(every)]
    low, high = max(finite.min(), -2.5), min(finite.max(), max(2.5, np.abs(values).min()))
    return float(low) - 0.15, float(high) + 0.15


def _shade(axes: Axes, z: np.ndarray, flat: np.ndarray, label: str) -> None:
    """Shade where `flat` holds over a stretch, and say what it is in the last one."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]]).astype(int)))
    stretches = [(z[a], z[b - 1]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    stretches = [(a, b) for a, b in stretches if b - a > 0.03 * (z[-1] - z[0])]
    for start, stop in stretches:
        axes.axvspan(float(start), float(stop), color=MUTED, alpha=0.13, lw=0)
    if stretches:
        axes.text(
            float(np.mean(stretches[-1])),
            0.3,
            label,
            transform=axes.get_xaxis_transform(),
            color=MUTED,
            ha="center",
        )
