"""A skip lets depth train where its branches start small; at full size it explodes the gradient.

Relu perceptrons with He's weights and as many layers in each: plain; with a skip around every two
layers, h + s·W₂ φ(W₁ φ(h)), at s = 1; with SkipInit's (or ReZero's) s, learned from 0; with Fixup's
branches, whose last kernel starts at 0. Theory's growth of the stream's gradient is ½ ln(1 + s²) a
block, whichever number of layers that has; in a plain network it is 0, less what a finite width
takes off. Before training it is probed as ‖∂f/∂h‖ before the first block over that behind the last,
f a random map of the last layer, one example in each of many networks. Then all are trained on the
digits by momentum, each at its best learning rate, on paired seeds. A training that diverged has
nothing right.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, at_best_rate, beside, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import data, models, probes, reports, results, theory
from jgrad.models import Architecture
from jgrad.optim import Chain
from jgrad.sweeps import Study, Supervised, Trial, compare, drawn

#: Name → branch of `models.ResidualMLP` and what it is multiplied by at the start.
SKIPS = {"skip": ("plain", 1.0), "SkipInit": ("skipinit", 0.0), "Fixup": ("fixup", 0.0)}
NETS = ("plain", *SKIPS)
#: Layers in a block.
LAYERS = 2
TASK = "digits"


def run(
    *,
    depths: Sequence[int],
    width: int,
    networks: int,
    rates: Sequence[float],
    pairs: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """Growth through the whole network beside theory's; all trained, with verdicts, by depth."""
    growth = [[_growth(net, depth, width, networks) for depth in depths] for net in NETS]
    forecasts = [[_forecast(net, depth, width) for depth in depths] for net in NETS]
    studies = [_study(depth, width, rates, pairs, steps, chunk) for depth in depths]
    trained = [compare(study) for study in studies]
    best = [at_best_rate(of_depth) for of_depth in trained]
    ahead = []
    for study, of_depth in zip(studies, trained, strict=True):
        found = {verdict.label: verdict for verdict in results.verdicts(of_depth)}
        ahead.append([found[label] for label in study.labels[1:]])
    case = ("depth", "remedy")
    return xr.Dataset(
        {
            "growth": variable(("net", "depth", "seed"), growth, "growth of ‖∂f/∂h‖", "nat"),
            "predicted": variable(
                ("net", "depth"),
                [[_total(one) for one in of_net] for of_net in forecasts],
                "theory's",
                "nat",
            ),
            "apart": variable(
                ("net", "depth"),
                [[one.apart[-1] for one in of_net] for of_net in forecasts],
                "theory's 1 - c of two inputs that were uncorrelated, at the last activation",
            ),
            "accuracy": variable(
                ("depth", "net", "pair"),
                [one.test_accuracy.isel(step=-1).fillna(0) for one in best],
                "test accuracy",
            ),
            "diverged": variable(
                ("depth", "net", "pair"),
                [one.diverged.astype(float) for one in best],
                "some loss or gradient was not finite",
            ),
            "difference": variable(
                case, [[v.difference for v in of] for of in ahead], "accuracy ahead of plain"
            ),
            "low": variable(case, [[v.low for v in of] for of in ahead], "95 % interval's start"),
            "high": variable(case, [[v.high for v in of] for of in ahead], "95 % interval's end"),
        },
        {
            "net": list(NETS),
            "remedy": list(SKIPS),
            "depth": list(depths),
            "seed": range(networks),
            "pair": range(pairs),
        },
        {"steps": steps},
    )


def _model(net: str, depth: int, width: int) -> Architecture:
    """A network of `depth` layers."""
    if net == "plain":
        return models.MLP(depth=depth, width=width, activation="relu")
    branch, _ = SKIPS[net]
    return models.ResidualMLP(depth=depth // LAYERS, layers=LAYERS, width=width, branch=branch)


def _growth(net: str, depth: int, width: int, networks: int) -> np.ndarray:
    """The ln of what all blocks together do to the gradient's norm, [network]."""
    task = data.load(TASK)
    model = _model(net, depth, width).sized(task.shape, task.outputs)

    keys = jax.random.split(jax.random.key(0), networks)
    params, state = drawn(model, "he", keys)
    # Fixup's head starts at 0, and lets no gradient by: any other one does.
    params["head"]["kernel"] = jax.random.normal(jax.random.key(1), (networks, width, task.outputs))
    apply = Supervised(model).apply

    @jax.jit
    @jax.vmap
    def probed(params, state, x):
        _, grads, flow = probes.value_grad_and_flow(
            lambda params: apply(params, state, x[None])[0].sum()
        )(params)
        first = grads["first"]["linear"] if net == "plain" else grads["first"]
        # Of one example: a bias has the gradient of what it is added to.
        return jnp.log(jnp.linalg.norm(first["bias"])) - flow.profile("log_dz")[-1]

    return np.asarray(probed(params, state, jnp.asarray(task.x_train[:networks])))


def _forecast(net: str, depth: int, width: int) -> theory.Forecast:
    sigma_w = math.sqrt(2)
    if net == "plain":
        return theory.forecast(
            theory.Plain(phi="relu", depth=depth, sigma_w=sigma_w, width=float(width))
        )
    blocks, (_, scale) = depth // LAYERS, SKIPS[net]
    return theory.forecast(
        theory.Residual(phi="relu", depth=blocks, sigma_w=sigma_w, scale=scale, width=float(width))
    )


def _total(forecast: theory.Forecast) -> float:
    """The expected ln of the growth through all blocks, or from the last layer to the first."""
    # A finite width takes as much off the mean of the logarithm as it lets it vary.
    grown = forecast.layer_log_gain - forecast.log_variance
    return float(grown[1:].sum() if isinstance(forecast.network, theory.Plain) else grown.sum())


def _study(
    depth: int, width: int, rates: Sequence[float], pairs: int, steps: int, chunk: int
) -> Study:
    chain = Chain(optimizer="momentum")
    study = Study(
        trials=[
            Trial(model=_model(net, depth, width), data=TASK, batch=32, chain=chain) for net in NETS
        ],
        learning_rates=rates,
        seeds=range(pairs),
        steps=steps,
        chunk=chunk,
    )
    return dataclasses.replace(study, baseline=study.labels[0])


def rows(data: xr.Dataset) -> list[Row]:
    """The gradient's growth through each network beside theory's; then how trainings end."""
    grown = beside(
        data.growth, data.predicted, lambda at: f"{at['net']}, {at['depth']} layers: gradient"
    )
    right, error = mean_and_error(data.accuracy, "pair")
    trained = [
        Row(
            f"{net}, {depth} layers: test accuracy",
            float(right.sel(net=net, depth=depth)),
            float(error.sel(net=net, depth=depth)),
            math.nan,
        )
        for net in NETS
        for depth in data.depth.values
    ]
    return [*grown, *trained]


def answer(data: xr.Dataset) -> str:
    """What depth does to a plain network, and what each kind of skip does about it."""
    first, deep = data.isel(depth=0), data.isel(depth=-1)
    grown = deep.growth.mean("seed")
    off = float(abs(data.growth.mean("seed") - data.predicted).max())
    right = deep.accuracy.mean("pair")
    plain = {"net": "plain"}
    left, gone = float(deep.apart.sel(plain)), float(deep.diverged.sel(net="skip").sum())
    ahead = ", ".join(
        f"{net} (gradient {float(grown.sel(net=net)):+.1f}) {100 * float(one.difference):.0f} "
        f"({low:.0f} to {high:.0f})"
        for net in SKIPS
        for one in [deep.sel(remedy=net)]
        for low, high in [sorted((100 * float(one.low), 100 * float(one.high)))]
    )
    return (
        f"A plain network falls from {float(first.accuracy.sel(plain).mean()):.0%} right with "
        f"{int(first.depth)} layers to {float(right.sel(plain)):.0%} with {int(deep.depth)} after "
        f"{data.steps} steps, while its gradient changes by {float(grown.sel(plain)):+.1f} e-folds "
        f"in all (theory is within {off:.1f} everywhere) and by theory 1 - c of two inputs falls "
        f"from 1 to {left:.3f}; ahead of it with as many layers are, in points "
        f"(95 % intervals), {ahead}, and {int(gone)} of {deep.sizes['pair']} trainings of the skip "
        f"at full size diverged."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Test accuracy by depth; the gradient's growth by depth, theory as lines."""
    trained, gradient = figure.subplots(1, 2)
    right, spread = mean_and_error(data.accuracy, "pair")
    grown, error = mean_and_error(data.growth)
    for k, (net, marker) in enumerate(zip(NETS, "osD^", strict=True)):
        colour = reports.COLOURS[k]
        # Those that agree are drawn side by side.
        depth = data.depth + 0.015 * float(data.depth[-1]) * (k - 1.5)
        style = {"fmt": marker, "color": colour, "ms": 6.5, "capsize": 3}
        trained.errorbar(
            depth,
            100 * right.sel(net=net),
            200 * spread.sel(net=net),
            ls="-",
            lw=1.8,
            label="skip at full size" if net == "skip" else net,
            **style,
        )
        gradient.errorbar(depth, grown.sel(net=net), 2 * error.sel(net=net), **style)
        shares = data.diverged.sel(net=net).mean("pair").values
        for x, y, share in zip(depth.values, right.sel(net=net).values, shares, strict=True):
            if share > 0:
                trained.annotate(
                    f"{share:.0%} diverged",
                    (x, 100 * y),
                    (-10, -4),
                    textcoords="offset points",
                    ha="right",
                    color=colour,
                )
        gradient.plot(data.depth, data.predicted.sel(net=net), color=colour, lw=1.4, ls=(0, (4, 3)))
    gradient.plot([], [], color=reports.INK, lw=1.4, ls=(0, (4, 3)), label="theory")
    trained.set(
        title="Branches that start at 0 train at every depth",
        ylabel=f"test accuracy after {data.steps} steps, %",
        ylim=(-3, 103),
    )
    gradient.set(
        title="… a full-size skip explodes",
        ylabel="ln growth of ‖∂f/∂h‖ from output to input",
    )
    for axes in (trained, gradient):
        axes.set(xlabel="layers")
        axes.set_xticks(data.depth.values)
    trained.legend(loc="lower left")
    gradient.legend(loc="upper left")


EXPERIMENT = Experiment(
    name="skip_connections",
    question="Does a skip cure what depth does to a plain network, and which kind of skip?",
    source="Zhang, Dauphin & Ma, 2019, Fixup Initialization, arXiv:1901.09321; De & Smith, 2020, "
    "Batch Normalization Biases Residual Blocks (SkipInit), arXiv:2002.10444",
    scales={
        "tiny": {
            "depths": [4],
            "width": 8,
            "networks": 2,
            "rates": [0.01],
            "pairs": 2,
            "steps": 2,
            "chunk": 1,
        },
        "small": {
            "depths": [10, 60],
            "width": 48,
            "networks": 128,
            "rates": [0.002, 0.02],
            "pairs": 5,
            "steps": 240,
            "chunk": 60,
        },
        "full": {
            "depths": [10, 20, 40, 80, 160],
            "width": 128,
            "networks": 256,
            "rates": [0.0005, 0.002, 0.005, 0.02, 0.05],
            "pairs": 10,
            "steps": 1500,
            "chunk": 100,
        },
    },
    run=run,
    title="the gradient's e-folds through the network; ends of trainings",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.6, 4.4),
)

if __name__ == "__main__":
    main(EXPERIMENT)
