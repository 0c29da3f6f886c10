"""Recurrent gradients vanish or explode with the recurrent scale; clipping lets them train.

First, at initialisation: a tanh network h_t = tanh(W x_t + g O h_(t-1)), O orthogonal, on the
sequences of the adding problem; the gradient's growth per step back in time, probed, beside the
largest Lyapunov exponent of theory. Then trainings of a network without saturation, relu with g O
= the identity (Le, Jaitly & Hinton, 2015), by plain gradient descent at several learning rates,
with and without clipping of the whole gradient's norm, on paired seeds.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, level, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import data, models, probes, reports, theory
from jgrad.sweeps import Study, Supervised, Trial, compare, grid

CLIP = "global_norm:1.0"
#: Examples in the batch that is probed.
PROBED = 128


def run(
    *,
    scales: Sequence[float],
    length: int,
    width: int,
    rates: Sequence[float],
    seeds: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """Growth per step at every scale beside theory's; how trainings end, clipped and not."""
    task = f"adding:length={length}"
    found = [_growth(task, scale, width=width, seeds=seeds) for scale in scales]
    growth, predicted = (np.stack(parts) for parts in zip(*found, strict=True))
    trained = compare(
        Study(
            trials=grid(
                Trial(
                    model=models.RNN(width=width, activation="relu", recurrent="identity"),
                    data=task,
                    init="lecun_normal",
                    batch=32,
                ),
                clip=["none", CLIP],
            ),
            learning_rates=rates,
            seeds=range(seeds),
            steps=steps,
            chunk=chunk,
        )
    )
    last = trained.test_loss.isel(step=-1).values
    baseline = float(trained.baseline_loss.values[0])
    # A training that broke down has learned nothing, however large its loss.
    loss = np.where(trained.diverged | ~np.isfinite(last), np.inf, last)
    point = ("clipping", "rate", "seed")
    return xr.Dataset(
        {
            "growth": variable(("scale", "seed"), growth, "ln growth of ‖δz‖ a step back", "nat"),
            "predicted": variable(
                ("scale", "seed"), predicted, "theory's, of that network's own input", "nat"
            ),
            "diverged": variable(point, trained.diverged.values.astype(float), "loss not finite"),
            "worse": variable(point, (loss > baseline).astype(float), "worse than a constant"),
            "loss": variable(point, np.minimum(loss, 10 * baseline), "test loss, capped at 10×"),
            "largest": variable(
                point,
                np.log(trained.gradient_norm.isel(quantile=-1).max("step").values),
                "ln of the largest 95th percentile of the gradient's norm",
                "nat",
            ),
            "baseline": variable((), baseline, "test loss of the best constant"),
        },
        {
            "scale": list(scales),
            "clipping": ["none", "clipped"],
            "rate": list(rates),
            "seed": range(seeds),
        },
    )


def _growth(task: str, scale: float, *, width: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """The growth per step back in time of each seed's network, and theory's of the same."""
    split = data.load(task)
    model = models.RNN(width=width, recurrent_scale=scale).sized(split.shape, split.outputs)
    batch = jnp.asarray(split.x_train[:PROBED]), jnp.asarray(split.y_train[:PROBED])
    _, _, state = models.build(model, jax.random.key(0))

    def probed(key: jax.Array) -> tuple[probes.Flow, jax.Array]:
        params = models.build(model, key, init="lecun_normal").params
        loss = Supervised(model).loss
        flow = probes.gradient_flow(lambda p: loss(p, state, batch, key)[0])(params)
        return flow, params["first"]["kernel"]

    flow, kernels = jax.jit(jax.vmap(probed))(jax.random.split(jax.random.key(1), seeds))
    drive = np.einsum("ntk,skgw->sntgw", split.x_train[:PROBED], np.asarray(kernels))
    sigma_u = np.sqrt((drive**2).mean((1, 2, 3, 4)))
    half = split.shape[0] // 2  # by then the state has settled
    log_dz = np.asarray(flow.profile("log_dz"))
    growth = (log_dz[:, half] - log_dz[:, -1]) / (log_dz.shape[1] - 1 - half)
    steps = split.shape[0]
    forecasts = [
        theory.forecast(
            theory.Recurrent(phi="tanh", steps=steps, sigma_w=scale, sigma_u=float(sigma))
        )
        for sigma in sigma_u
    ]
    return growth, np.array([float(f.layer_log_gain[half:-1].mean()) for f in forecasts])


def rows(data: xr.Dataset) -> list[Row]:
    """Growth at every scale; then, at every learning rate, how many trainings break down."""
    mean, error = mean_and_error(data.growth)
    gains = [
        Row(
            f"g = {scale:g}: growth",
            float(mean.sel(scale=scale)),
            float(error.sel(scale=scale)),
            float(data.predicted.sel(scale=scale).mean()),
            "theory.Recurrent",
        )
        for scale in data.scale.values
    ]
    share, spread = mean_and_error(data.worse)
    ends = [
        Row(
            f"rate {rate:g}, {clip}: failed",
            float(share.sel(rate=rate, clipping=clip)),
            float(spread.sel(rate=rate, clipping=clip)),
            float("nan"),
        )
        for rate in data.rate.values
        for clip in data.clipping.values
    ]
    return [*gains, *ends]


def answer(data: xr.Dataset) -> str:
    """Where it turns, how well theory knows, and what clipping saves."""
    mean, _ = mean_and_error(data.growth)
    off = float(abs(mean - data.predicted.mean("seed")).max())
    grows = data.scale.values[mean.values > 0]
    turn = f"grows from g = {grows.min():g} on" if grows.size else "grows at none of these scales"
    broken = data.worse.mean(("rate", "seed"))
    paired = data.worse.mean("rate")
    saved, error = mean_and_error(paired.sel(clipping="none") - paired.sel(clipping="clipped"))
    does = "saves" if float(saved) > 2 * float(error) else "is not shown to save"
    best = data.loss.mean("seed").min("rate")
    without, clipped = (
        (float(broken.sel(clipping=name)), float(best.sel(clipping=name)))
        for name in ("none", "clipped")
    )
    return (
        f"Back in time the gradient {turn}, as theory says within {off:.3f} e-folds a step, and "
        f"clipping {does} trainings: over all learning rates {without[0]:.0%} end worse than a "
        f"constant without it and {clipped[0]:.0%} with it (paired difference "
        f"{float(saved):.2f} ± {float(error):.2f}), and at the best rate the test loss is "
        f"{without[1]:.3g} and {clipped[1]:.3g}, a constant's {float(data.baseline):.3g}."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Growth by scale beside theory; final loss by learning rate, every training a dot."""
    growth, ends = figure.subplots(1, 2)
    mean, error = mean_and_error(data.growth)
    growth.axhline(0, color=reports.MUTED, lw=1)
    growth.plot(
        data.scale,
        data.predicted.mean("seed"),
        color=reports.INK,
        lw=1,
        ls=(0, (4, 3)),
        label="theory",
    )
    growth.errorbar(
        data.scale,
        mean,
        2 * error,
        fmt="o",
        color=reports.COLOURS[0],
        ms=6,
        capsize=3,
        label="probed",
    )
    growth.set(
        title="The recurrent scale decides",
        xlabel="g, scale of the orthogonal recurrent weights",
        ylabel="ln growth of ‖δz‖ per step back",
    )
    growth.legend()
    level(ends, "a constant", "right", y=float(data.baseline))
    for k, clip in enumerate(data.clipping.values):
        colour = reports.COLOURS[1 - k]
        shift = 0.94 if k == 0 else 1.06
        of_clip = data.loss.sel(clipping=clip)
        name = "no clipping" if clip == "none" else "norm clipped at 1"
        x = np.broadcast_to(data.rate.values[:, None] * shift, of_clip.shape)
        ends.plot(
            x.ravel(), of_clip.values.ravel(), "o", color=colour, alpha=0.55, ms=6, label=name
        )
        ends.plot(data.rate * shift, of_clip.median("seed"), color=colour, lw=1.6)
    ends.set(
        title="Clipping lets it train",
        xlabel="learning rate",
        ylabel="test loss (at the top: diverged)",
        xscale="log",
        yscale="log",
    )
    ends.legend()


EXPERIMENT = Experiment(
    name="pascanu_2013",
    question="When do recurrent gradients explode, and does clipping let such a network train?",
    source="Pascanu, Mikolov & Bengio, 2013, On the difficulty of training RNNs, arXiv:1211.5063",
    scales={
        "tiny": {
            "scales": [0.8, 1.6],
            "length": 8,
            "width": 12,
            "rates": [0.01, 0.3],
            "seeds": 2,
            "steps": 4,
            "chunk": 2,
        },
        "small": {
            "scales": [0.5, 0.8, 1.0, 1.2, 1.5, 2.0],
            "length": 40,
            "width": 64,
            "rates": [0.01, 0.03, 0.1],
            "seeds": 5,
            "steps": 1200,
            "chunk": 100,
        },
        "full": {
            "scales": [0.5, 0.7, 0.9, 1.0, 1.1, 1.3, 1.6, 2.0, 3.0],
            "length": 100,
            "width": 128,
            "rates": [0.001, 0.003, 0.01, 0.03],
            "seeds": 8,
            "steps": 4000,
            "chunk": 200,
        },
    },
    run=run,
    title="ln growth of the gradient a step back; share of trainings worse than a constant",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.6, 4.4),
)

if __name__ == "__main__":
    main(EXPERIMENT)
