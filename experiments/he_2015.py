"""He's initialisation keeps gradients and trains 30 relu layers; Xavier's halves them and stalls.

Perceptrons of equal layers, in which the two differ by a factor √2 on every hidden kernel and in
nothing else: the same seed draws the same signs. Before the first step the gradient's and the
signal's growth per layer are probed, one example in each of many networks; then both are trained by
momentum on the digits, each at its best learning rate, on paired seeds. The paper's nets were
convolutional, on ImageNet: of 30 layers only He's trained.
"""

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr
from _experiment import Experiment, Row, at_best_rate, beside, main, mean_and_error, variable
from _profiles import profiles
from matplotlib.figure import Figure

from jgrad import data, models, reports, results, theory
from jgrad.optim import Chain
from jgrad.sweeps import Study, Trial, compare, grid

#: Initialiser → width times the variance of a hidden kernel's entries.
INITS = {"he": 2.0, "xavier": 1.0}
NAMES = {"he": "He", "xavier": "Xavier"}


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
    """Growth a layer at initialisation beside theory's; both trained, and a verdict, by depth."""
    trained = [
        compare(
            Study(
                trials=grid(
                    Trial(
                        model=models.MLP(depth=depth, width=width, activation="relu"),
                        chain=Chain(optimizer="momentum"),
                    ),
                    init=list(INITS),
                ),
                baseline="xavier",
                learning_rates=rates,
                seeds=range(pairs),
                steps=steps,
                chunk=chunk,
            )
        )
        for depth in depths
    ]
    task = data.load("digits")
    deepest = models.MLP(depth=depths[-1], width=width, activation="relu")
    log_z, log_dz = profiles(
        deepest.sized(task.shape, task.outputs),
        list(INITS),
        task.x_train[:networks],
        task.y_train[:networks],
    )
    best = [at_best_rate(one) for one in trained]
    judged = [results.verdicts(one)[0] for one in trained]
    # What a finite width takes off on the average, in the signal as in the gradient.
    finite = 0.5 * theory.log_norm_law("relu", width)[0]
    network, training = ("init", "seed"), ("depth", "init", "pair", "step")
    return xr.Dataset(
        {
            "gradient": variable(
                network, _growth(log_dz[..., ::-1]), "growth of ‖δz‖, backwards", "nat/layer"
            ),
            "signal": variable(network, _growth(log_z), "growth of ‖z‖", "nat/layer"),
            "predicted": variable(
                ("init",),
                [0.5 * math.log(scale / 2) + finite for scale in INITS.values()],
                "½ ln(n Var w/2) of the paper, and what the width takes off",
                "nat/layer",
            ),
            "log_gradient": variable(
                (*network, "layer"), log_dz, "ln ‖δz‖ in the deepest networks", "nat"
            ),
            "loss": variable(training, [one.train_loss for one in best], "training loss", "nat"),
            "accuracy": variable(training, [one.test_accuracy for one in best], "test accuracy"),
            "constant": variable((), trained[0].attrs["baseline_loss"], "a constant's loss", "nat"),
            "difference": variable(
                ("depth",), [one.difference for one in judged], "test accuracy, He's - Xavier's"
            ),
            "low": variable(("depth",), [one.low for one in judged], "its 95 % interval's start"),
            "high": variable(("depth",), [one.high for one in judged], "its 95 % interval's end"),
        },
        {
            "depth": list(depths),
            "init": list(INITS),
            "seed": range(networks),
            "pair": range(pairs),
            "layer": range(1, depths[-1] + 1),
            "step": trained[0].step.values,
        },
    )


def _growth(log_norm: np.ndarray) -> np.ndarray:
    """Growth a layer along the last axis."""
    return (log_norm[..., -1] - log_norm[..., 0]) / (log_norm.shape[-1] - 1)


def rows(data: xr.Dataset) -> list[Row]:
    """Growth of both in the deepest network; then how the trainings of each depth end."""
    grown = [
        row
        for quantity in ("gradient", "signal")
        for row in beside(
            data[quantity],
            data.predicted,
            lambda at, quantity=quantity: f"{NAMES[at['init']]}: growth of the {quantity}",
        )
    ]
    ends = data.isel(step=-1)
    trained = []
    for depth in data.depth.values:
        for init in INITS:
            for name, values in (("training loss", ends.loss), ("test accuracy", ends.accuracy)):
                mean, error = mean_and_error(values.sel(depth=depth, init=init), "pair")
                label = f"{NAMES[init]}, {depth} layers: {name}"
                trained.append(Row(label, float(mean), float(error), math.nan))
    return [*grown, *trained]


def answer(data: xr.Dataset) -> str:
    """What each does to the gradient, and whether the one trains where the other stalls."""
    grown, _ = mean_and_error(data.gradient)
    off = float(abs(grown - data.predicted).max())
    end = data.isel(depth=-1, step=-1)
    # A loss that is a constant's is that of a network which says the same to everything.
    share = end.loss.mean("pair") / data.constant
    trains = {init: float(share.sel(init=init)) < 0.9 for init in INITS}
    right = {init: float(end.accuracy.sel(init=init).mean()) for init in INITS}
    others = "".join(
        f", with {int(one.depth)} layers by {_points(one)}"
        for one in (data.isel(depth=k) for k in range(data.sizes["depth"] - 1))
    )
    return (
        f"With {int(end.depth)} layers the gradient grows by {float(grown.sel(init='he')):+.3f} "
        f"e-folds a layer after He's initialisation and by {float(grown.sel(init='xavier')):+.3f} "
        f"after Xavier's, theory being within {off:.3f} of both, and in {int(data.step[-1])} steps "
        f"the first {'trains' if trains['he'] else 'stalls'} ({right['he']:.0%} right) and the "
        f"second {'trains' if trains['xavier'] else 'stalls'} ({right['xavier']:.0%}): He's is "
        f"ahead by {_points(end)}{others}."
    )


def _points(one: xr.Dataset) -> str:
    """The paired difference in percentage points, with its interval."""
    low, high = sorted((100 * float(one.low), 100 * float(one.high)))
    return f"{100 * float(one.difference):.0f} points (95 % interval {low:.0f} to {high:.0f})"


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Gradients by layer before training, theory dashed; test accuracy through training."""
    by_layer, by_step = figure.subplots(1, 2)
    dashed = (0, (4, 3))
    deepest, last = data.depth.values[-1], data.layer.values[-1]
    for init, colour in zip(INITS, reports.COLOURS, strict=False):
        found = data.log_gradient.sel(init=init)
        grown = found - found.isel(layer=-1)
        mean, spread = grown.mean("seed"), grown.std("seed")
        by_layer.fill_between(data.layer, mean - spread, mean + spread, color=colour, alpha=0.18)
        by_layer.plot(data.layer, mean, color=colour, lw=2.4)
        theirs = float(data.predicted.sel(init=init)) * (last - data.layer)
        by_layer.plot(data.layer, theirs, color=reports.INK, lw=1.2, ls=dashed)
        by_layer.annotate(
            NAMES[init],
            (float(data.layer[len(mean) // 4]), float(mean[len(mean) // 4])),
            (12, -28 if init == "he" else -14),
            textcoords="offset points",
            color=colour,
            weight="bold",
        )
        for depth, style in zip(data.depth.values[::-1], ("-", ":", "-.", "--"), strict=False):
            curves = data.accuracy.sel(depth=depth, init=init)
            if depth == deepest:
                for one in curves.values:
                    by_step.plot(data.step, one, color=colour, lw=0.8, alpha=0.35)
            by_step.plot(
                data.step,
                curves.mean("pair"),
                color=colour,
                lw=2.4,
                ls=style,
                label=f"{NAMES[init]}, {depth} layers",
            )
    by_layer.plot([], [], color=reports.INK, lw=1.2, ls=dashed, label="theory")
    by_layer.legend(loc="lower right")
    by_layer.set(
        title="Xavier's gradient vanishes in relu layers",
        xlabel="layer",
        ylabel="ln ‖δz‖, relative to the last layer",
    )
    by_step.set(
        title="… and with it the training",
        xlabel="steps of momentum",
        ylabel="test accuracy",
        ylim=(0, 1),
    )
    by_step.legend()


EXPERIMENT = Experiment(
    name="he_2015",
    question="Does He's initialisation train 30 relu layers where Xavier's stalls?",
    source="He et al., 2015, Delving Deep into Rectifiers, arXiv:1502.01852",
    scales={
        "tiny": {
            "depths": [4],
            "width": 16,
            "networks": 2,
            "rates": [0.01],
            "pairs": 2,
            "steps": 2,
            "chunk": 1,
        },
        "small": {
            "depths": [10, 30],
            "width": 96,
            "networks": 128,
            "rates": [0.002, 0.02],
            "pairs": 6,
            "steps": 400,
            "chunk": 25,
        },
        "full": {
            "depths": [10, 22, 30],
            "width": 256,
            "networks": 1024,
            "rates": [0.001, 0.002, 0.005, 0.02, 0.1],
            "pairs": 12,
            "steps": 2000,
            "chunk": 100,
        },
    },
    run=run,
    title="e-folds a layer at initialisation; ends of trainings",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.6, 4.4),
)

if __name__ == "__main__":
    main(EXPERIMENT)
