"""Batch normalisation explodes gradients, at a rate that the activation and the batch decide.

Networks of `depth` layers h ← φ(BN(W h)) are drawn and one backward pass is probed: the slope of
ln ‖δz‖² over the layers, away from both ends, is the rate. Theory is exact in the batch size and
has infinite width.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, beside, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import activations, inits, probes, reports, theory

#: Layers at each end that are still on their way to the fixed point.
ENDS = 5


def run(
    *, phis: Sequence[str], batches: Sequence[int], depth: int, width: int, seeds: int
) -> xr.Dataset:
    """The gradient's norm by layer, the rate fitted to it, and theory's."""
    log_gradient = np.array(
        [
            [_log_gradients(phi, batch, depth=depth, width=width, seeds=seeds) for batch in batches]
            for phi in phis
        ]
    )
    layers = np.arange(1, depth + 1)
    inner = slice(ENDS, depth - ENDS)
    slopes = np.polynomial.polynomial.polyfit(
        layers[inner], 2 * log_gradient[..., inner].reshape(-1, layers[inner].size).T, 1
    )[1].reshape(log_gradient.shape[:-1])
    predicted = [[theory.batch_norm_rate(phi, batch) for batch in batches] for phi in phis]
    return xr.Dataset(
        {
            "log_gradient": variable(
                ("phi", "batch", "seed", "layer"), log_gradient, "ln ‖δz‖", "nat"
            ),
            "rate": variable(
                ("phi", "batch", "seed"), np.exp(-slopes), "growth of ‖δz‖² a layer, backwards"
            ),
            "predicted": variable(("phi", "batch"), predicted, "theory's growth of ‖δz‖² a layer"),
            "limit": variable(
                ("phi",), [theory.batch_norm_rate(phi) for phi in phis], "the same at large batch"
            ),
        },
        {"phi": list(phis), "batch": list(batches), "layer": layers},
    )


def _log_gradients(phi: str, batch: int, *, depth: int, width: int, seeds: int) -> np.ndarray:
    """The ln ‖δz‖ of every layer, [seeds, depth]."""
    keys = jax.random.split(jax.random.key(batch), seeds)
    one = functools.partial(_gradient_flow, phi, batch=batch, depth=depth, width=width)
    return np.asarray(jax.jit(jax.vmap(one))(keys)["z"].log_dz)


def _gradient_flow(phi: str, key: jax.Array, *, batch: int, depth: int, width: int) -> probes.Flow:
    of_x, of_weights, of_loss = jax.random.split(key, 3)
    draw = functools.partial(inits.get("lecun_normal"), shape=(width, width), dtype=jnp.float32)
    weights = jax.vmap(draw)(jax.random.split(of_weights, depth))
    x, towards = (jax.random.normal(k, (batch, width)) for k in (of_x, of_loss))

    def layer(h: jax.Array, w: jax.Array) -> tuple[jax.Array, None]:
        z = h @ w
        z = (z - z.mean(0, keepdims=True)) / z.std(0, keepdims=True)
        return activations.get(phi)(probes.tap(z, "z")), None

    def loss(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.scan(layer, x, weights)[0] * towards)

    return probes.gradient_flow(loss)(x)


def rows(data: xr.Dataset) -> list[Row]:
    """The rate for every activation and batch size."""
    return beside(data.rate, data.predicted, lambda at: f"{at['phi']}, batch {at['batch']}")


def answer(data: xr.Dataset) -> str:
    """Whether it explodes, and how far theory is off."""
    mean, _ = mean_and_error(data.rate)
    off = abs(mean / data.predicted - 1)
    explodes = mean > 1
    where = "in all" if explodes.all() else f"in {int(explodes.sum())} of"
    worst, best = (
        mean.where(mean == mean.max(), drop=True),
        mean.where(mean == mean.min(), drop=True),
    )
    return (
        f"Batch norm lets the gradient grow {where} {mean.size} cases, by a factor per layer from "
        f"{math.sqrt(float(mean.min())):.3f} ({best.phi.item()}, batch {best.batch.item()}) to "
        f"{math.sqrt(float(mean.max())):.3f} ({worst.phi.item()}, batch {worst.batch.item()}); "
        f"theory's ‖δz‖² rate is off by {100 * float(off.median()):.2f} % in the median and "
        f"{100 * float(off.max()):.1f} % at most."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Gradients by layer at the middle batch size; rates by batch size, theory dashed."""
    by_layer, by_batch = figure.subplots(1, 2)
    middle = data.batch.values[len(data.batch) // 2]
    batches = np.unique(np.geomspace(data.batch[0], 4 * data.batch[-1], 40).astype(int))
    for phi, colour in zip(data.phi.values, reports.COLOURS, strict=False):
        found = data.sel(phi=phi, batch=middle)
        grown = found.log_gradient - found.log_gradient.isel(layer=-1)
        by_layer.plot(data.layer, np.exp(grown.mean("seed")), color=colour, lw=2.2, label=phi)
        steps = data.layer[-1] - data.layer
        predicted = float(found.predicted) ** (steps / 2)
        by_layer.plot(data.layer, predicted, color=reports.INK, lw=1, ls=(0, (4, 3)))
        mean, error = mean_and_error(data.rate.sel(phi=phi))
        by_batch.errorbar(data.batch, mean, 2 * error, fmt="o", color=colour, ms=6, capsize=3)
        curve = [theory.batch_norm_rate(phi, int(batch)) for batch in batches]
        by_batch.plot(batches, curve, color=reports.INK, lw=1, ls=(0, (4, 3)))
        by_batch.text(batches[-1], curve[-1], f" {phi}", color=colour, va="center")
    by_layer.plot([], [], color=reports.INK, lw=1, ls=(0, (4, 3)), label="theory")
    by_layer.set(
        title="Gradients explode under batch norm",
        xlabel="layer",
        ylabel=f"‖δz‖, relative to the last layer (batch {middle})",
        yscale="log",
    )
    by_layer.legend()
    by_batch.set(
        title="… at the rate theory gives",
        xlabel="batch size",
        ylabel="growth of ‖δz‖² per layer",
        xscale="log",
        xlim=(None, 3 * batches[-1]),
    )
    by_batch.set_xticks(data.batch.values, [f"{batch}" for batch in data.batch.values])
    by_batch.minorticks_off()


EXPERIMENT = Experiment(
    name="yang_2019",
    question="How fast does batch normalisation explode gradients?",
    source="Yang et al., 2019, A Mean Field Theory of Batch Normalization, arXiv:1902.08129",
    scales={
        "tiny": {"phis": ["relu"], "batches": [8], "depth": 14, "width": 32, "seeds": 2},
        "small": {
            "phis": ["relu", "gelu", "tanh", "identity"],
            "batches": [8, 32, 128],
            "depth": 24,
            "width": 384,
            "seeds": 8,
        },
        "full": {
            "phis": ["relu", "gelu", "silu", "tanh", "selu", "identity"],
            "batches": [6, 8, 16, 32, 128, 512],
            "depth": 40,
            "width": 1024,
            "seeds": 16,
        },
    },
    run=run,
    title="growth of ‖δz‖² per layer, backwards",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.6, 4.4),
)

if __name__ == "__main__":
    main(EXPERIMENT)
