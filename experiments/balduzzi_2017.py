"""Do gradients shatter, and where?

Balduzzi et al. show that with rectifiers that switch independently between examples the gradients
of two examples correlate by 2^-L. In a plain network they do not switch independently: inputs
merge on the way up, c → 1, so that two examples soon share their gates, and the correlation of the
gradients at the input falls as a power of the depth only. What keeps examples apart, and realises
2^-L, is batch normalisation. With f = v·h_L, δ of layer l between two examples whose correlation
there is c is multiplied by E φ'(u)φ'(v)/E φ'², (π - arccos c)/π for relu; a skip adds one to both.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import inits, reports, theory


def run(
    *, depths: Sequence[int], drawn_depth: int, width: int, batch: int, seeds: int
) -> xr.Dataset:
    """Correlations of two examples' input gradients by depth, and the gradient along a circle."""
    keys = jax.random.split(jax.random.key(0), seeds)
    angle = np.linspace(0, 2 * math.pi, 257)
    measured, along = [], []
    for layer in LAYERS.values():
        found = []
        for depth in depths:
            correlation = functools.partial(
                _correlation, layer, depth=depth, width=width, batch=batch
            )
            found.append(jax.jit(jax.vmap(correlation))(keys))
        measured.append(found)
        circle = functools.partial(_along_a_circle, layer, depth=drawn_depth, width=width)
        along.append(jax.jit(circle)(keys[0], jnp.asarray(angle, jnp.float32)))
    index = np.array(depths) - 1
    predicted = [np.cumprod(kept(max(depths), batch))[index] for kept in KEPT.values()]
    independent = [
        [theory.shattering(depth, scale) for depth in depths] for scale in (None, None, 1.0)
    ]
    correlation = "correlation of two examples' gradients at the input"
    return xr.Dataset(
        {
            "correlation": variable(("net", "depth", "seed"), measured, correlation),
            "predicted": variable(("net", "depth"), predicted, f"{correlation}, mean-field theory"),
            "independent": variable(
                ("net", "depth"), independent, f"{correlation}, were gates independent"
            ),
            "gradient": variable(
                ("net", "angle"), along, "df/dt over its root mean square, t the angle"
            ),
        },
        {
            "net": list(LAYERS),
            "depth": list(depths),
            "angle": variable(("angle",), angle, "angle on a circle of inputs", "rad"),
        },
        {"drawn_depth": drawn_depth},
    )


#: The two matrices of a layer or block, of which only one with a skip uses the second.
Weights = tuple[jax.Array, jax.Array]
Layer = Callable[[jax.Array, Weights], jax.Array]


def _plain(h: jax.Array, weights: Weights) -> jax.Array:
    return math.sqrt(2) * jax.nn.relu(h @ weights[0])


def _batch_norm(h: jax.Array, weights: Weights) -> jax.Array:
    z = h @ weights[0]
    # The batch's statistics as constants: f of one example is then a function of that example.
    mean, deviation = jax.lax.stop_gradient((z.mean(0), z.std(0)))
    return math.sqrt(2) * jax.nn.relu((z - mean) / deviation)


def _skip(h: jax.Array, weights: Weights) -> jax.Array:
    return h + math.sqrt(2) * jax.nn.relu(h @ weights[0]) @ weights[1]


#: Name → one layer or block, (h [batch, width], two matrices) -> h.
LAYERS: Mapping[str, Layer] = {
    "plain": _plain,
    "batch norm": _batch_norm,
    "skip": _skip,
}


def _network(
    layer: Layer, key: jax.Array, depth: int, width: int
) -> Callable[[jax.Array], jax.Array]:
    """The sum over examples of f = v·h_depth, a function of x [batch, width]."""
    of_weights, of_end = jax.random.split(key)
    keys = jax.random.split(of_weights, (2, depth))
    draw = jax.vmap(lambda key: inits.get("lecun_normal")(key, (width, width), jnp.float32))
    weights = draw(keys[0]), draw(keys[1])
    end = jax.random.normal(of_end, (width,))

    def f(x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda h, w: (layer(h, w), None), x, weights)[0].sum(0) @ end

    return f


def _correlation(
    layer: Layer,
    key: jax.Array,
    *,
    depth: int,
    width: int,
    batch: int,
) -> jax.Array:
    """Mean product of two examples' input gradients over the mean square of one."""
    of_net, of_x = jax.random.split(key)
    g = jax.grad(_network(layer, of_net, depth, width))(jax.random.normal(of_x, (batch, width)))
    squares = jnp.sum(g**2)
    return (jnp.sum(g.sum(0) ** 2) - squares) / ((batch - 1) * squares)


def _along_a_circle(
    layer: Layer,
    key: jax.Array,
    angle: jax.Array,
    *,
    depth: int,
    width: int,
) -> jax.Array:
    """The df/dt at x = u cos t + v sin t, over its root mean square."""
    of_net, of_plane = jax.random.split(key)
    u, v = jax.random.normal(of_plane, (2, 1, width))
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    g = jax.grad(_network(layer, of_net, depth, width))(cos * u + sin * v)
    slope = jnp.sum(g * (cos * v - sin * u), axis=1)
    return slope / jnp.sqrt(jnp.mean(slope**2))


def _shared(correlations: np.ndarray) -> np.ndarray:
    """E φ'(u)φ'(v)/E φ'² of relu at each correlation."""
    pair = theory.dual("relu")
    return np.array([pair(1.0, 1.0, c)[1] for c in correlations]) / pair(1.0, 1.0, 1.0)[1]


def _by_plain(depth: int, batch: int) -> np.ndarray:
    del batch
    net = theory.Plain(phi="relu", depth=depth, sigma_w=math.sqrt(2))
    return _shared(theory.forecast(net).c)


def _by_batch_norm(depth: int, batch: int) -> np.ndarray:
    net = theory.BatchNorm(phi="relu", depth=depth, batch=batch)
    return _shared(theory.forecast(net).c)


def _by_skip(depth: int, batch: int) -> np.ndarray:
    del batch
    net = theory.Residual(phi="relu", depth=depth, sigma_v=math.sqrt(2), branch="two")
    return (1 + _shared(theory.forecast(net).c)) / 2


#: Name → what part of the correlation each layer keeps, (depth, batch) -> [depth].
KEPT: Mapping[str, Callable[[int, int], np.ndarray]] = {
    "plain": _by_plain,
    "batch norm": _by_batch_norm,
    "skip": _by_skip,
}


def rows(data: xr.Dataset) -> list[Row]:
    """The correlation at every third depth, beside theory and beside independent gates."""
    mean, error = mean_and_error(data.correlation)
    return [
        Row(
            f"{net}, L = {depth}",
            float(mean.sel(net=net, depth=depth)),
            float(error.sel(net=net, depth=depth)),
            float(found.sel(net=net, depth=depth)),
            source,
        )
        for net in data.net.values
        for depth in data.depth.values[::3]
        for source, found in (("theory", data.predicted), ("Balduzzi", data.independent))
    ]


def answer(data: xr.Dataset) -> str:
    """Which network shatters, at the deepest that 2^-L can still be told from zero."""
    mean, error = mean_and_error(data.correlation)
    clear = data.independent.sel(net="plain") > 2 * error.sel(net="batch norm")
    depth = int(data.depth.where(clear, drop=True).max())
    at = {net: float(mean.sel(net=net, depth=depth)) for net in data.net.values}
    halved = 2.0**-depth
    shattered = [net for net, found in at.items() if abs(math.log(abs(found) / halved)) < 0.4]
    off = abs(mean - data.predicted)
    worst = float(off.max())
    return (
        f"With {depth} layers two examples' gradients correlate by {at['plain']:.4f} in a plain "
        f"network, {at['batch norm']:.4f} under batch norm and {at['skip']:.4f} with skips, where "
        f"2^-L is {halved:.4f}: {' and '.join(shattered) or 'none of them'} shatters as 2^-L, and "
        f"mean-field theory with the gates' true correlation is within {worst:.3f} of all "
        f"{off.size} measurements."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Correlations by depth; the gradient along a circle of inputs for each network."""
    grid = figure.add_gridspec(len(data.net), 2, width_ratios=(1.15, 1))
    axes = figure.add_subplot(grid[:, 0])
    panels = [figure.add_subplot(grid[k, 1]) for k in range(len(data.net))]
    mean, error = mean_and_error(data.correlation)
    dashed = (0, (4, 3))
    for net, colour in zip(data.net.values, reports.COLOURS, strict=False):
        found, spread = mean.sel(net=net), error.sel(net=net)
        seen = found > 2 * spread
        axes.errorbar(
            data.depth[seen],
            found[seen],
            2 * spread[seen],
            fmt="o",
            color=colour,
            ms=5.5,
            capsize=3,
            label=net,
        )
        axes.plot(data.depth, data.predicted.sel(net=net), color=colour, lw=1.4, ls=dashed)
    axes.plot(
        data.depth,
        data.independent.sel(net="plain"),
        color=reports.MUTED,
        lw=4,
        alpha=0.35,
        label="2⁻ᴸ, independent gates",
    )
    axes.plot([], [], color=reports.INK, lw=1.4, ls=dashed, label="theory")
    axes.set(
        title="How gradients lose their correlation",
        xlabel="layers L",
        ylabel="correlation of two examples' gradients",
        xscale="log",
        yscale="log",
        ylim=(float(mean.where(mean > 2 * error).min()) / 3, 1.3),
    )
    axes.set_xticks(data.depth.values, [f"{depth}" for depth in data.depth.values])
    axes.minorticks_off()
    axes.legend(loc="lower left")
    for net, panel, colour in zip(data.net.values, panels, reports.COLOURS, strict=False):
        panel.plot(data.angle, data.gradient.sel(net=net), color=colour, lw=1.2)
        panel.set_ylabel(net)
        panel.set_yticks([0])
        panel.set_xticks([0, math.pi, 2 * math.pi], ["0", "π", "2π"])
    panels[0].set_title(f"df/dt along a circle of inputs, {data.drawn_depth} layers")
    panels[-1].set_xlabel("angle t")


EXPERIMENT = Experiment(
    name="balduzzi_2017",
    question="Do the gradients of deep networks shatter into white noise?",
    source="Balduzzi et al., 2017, The Shattered Gradients Problem, arXiv:1702.08591",
    scales={
        "tiny": {"depths": [2], "drawn_depth": 2, "width": 48, "batch": 8, "seeds": 3},
        "small": {
            "depths": [1, 2, 3, 4, 6, 8, 12, 16, 24],
            "drawn_depth": 24,
            "width": 192,
            "batch": 64,
            "seeds": 16,
        },
        "full": {
            "depths": [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64],
            "drawn_depth": 24,
            "width": 1024,
            "batch": 128,
            "seeds": 24,
        },
    },
    run=run,
    title="correlation of two examples' gradients at the input",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(10.0, 4.8),
)

if __name__ == "__main__":
    main(EXPERIMENT)
