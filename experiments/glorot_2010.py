"""Normalised initialisation keeps gradients; the standard one shrinks them by √3 a layer or more.

Standard weights are uniform on ±1/√n, of variance 1/3n; normalised ones have the variance
2/(fan in + fan out). Before the first step signal and gradient are probed, one example of unit mean
square in each of many networks, beside mean-field theory at the second moment that z has, and
beside the paper's regime of small z, in which a layer multiplies the gradient by √(n Var w) φ'(0).
Then both are trained on the digits by plain gradient descent, each at its best learning rate, on
paired seeds; of the sigmoid the layers' activations are followed on the way.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, at_best_rate, beside, main, mean_and_error, variable
from _profiles import profiles
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jgrad import activations, data, models, reports, results, theory
from jgrad.sweeps import Study, Trial, compare, grid

#: Name in the paper → name here.
INITS = {"standard": "torch_default", "normalised": "xavier_uniform"}
DEPTH = 5
TASK = "digits"


def run(
    *,
    phis: Sequence[str],
    probed_width: int,
    networks: int,
    width: int,
    rates: Sequence[float],
    pairs: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """Signal and gradient by layer beside theory's; both initialisations trained, a verdict.

    The last of `phis` is the sigmoid.
    """
    task = data.load(TASK)
    x = task.x_train[:networks]
    x = x / np.sqrt((x**2).mean(-1, keepdims=True))
    each = [
        profiles(
            models.MLP(depth=DEPTH, width=probed_width, activation=phi).sized(
                task.shape, task.outputs
            ),
            list(INITS.values()),
            x,
            task.y_train[:networks],
        )
        for phi in phis
    ]
    log_z, log_dz = (np.stack(parts) for parts in zip(*each, strict=True))
    forecasts = [[_forecast(phi, init, probed_width) for init in INITS] for phi in phis]
    trained = [_trained(phi, width, rates, pairs, steps, chunk) for phi in phis]
    best = [at_best_rate(one) for one in trained]
    judged = [results.verdicts(one)[0] for one in trained]
    # Of the sigmoid, standard initialisation, at the largest rate.
    followed = np.sqrt(trained[-1].a_second.isel(config=0, rate=-1))
    case, training = ("phi", "init"), ("phi", "init", "pair", "step")
    slopes = [float(activations.slope(activations.get(phi))(jnp.zeros(()))) for phi in phis]
    scales = [_scale(init, 1, 1) for init in INITS]
    return xr.Dataset(
        {
            "log_signal": variable((*case, "seed", "layer"), log_z, "ln of z's rms", "nat"),
            "log_gradient": variable((*case, "seed", "layer"), log_dz, "ln ‖δz‖", "nat"),
            "theory_signal": variable(
                (*case, "layer"),
                [[0.5 * one.log_q for one in of_phi] for of_phi in forecasts],
                "theory's ln of z's rms",
                "nat",
            ),
            "theory_gradient": variable(
                (*case, "layer"),
                [[one.gradient_log_norm for one in of_phi] for of_phi in forecasts],
                "theory's ln ‖δz‖, relative to the last layer",
                "nat",
            ),
            "small": variable(
                case, np.log(np.outer(slopes, np.sqrt(scales))), "ln √(n Var w) φ'(0)", "nat/layer"
            ),
            "loss": variable(training, [one.train_loss for one in best], "training loss", "nat"),
            "accuracy": variable(training, [one.test_accuracy for one in best], "test accuracy"),
            "difference": variable(
                ("phi",), [v.difference for v in judged], "accuracy, normalised - standard"
            ),
            "low": variable(("phi",), [v.low for v in judged], "its 95 % interval's start"),
            "high": variable(("phi",), [v.high for v in judged], "its 95 % interval's end"),
            "constant": variable((), trained[0].attrs["baseline_loss"], "a constant's loss", "nat"),
            "sigmoid": variable(
                ("pair", "record", "layer"), followed, "rms of the sigmoid's activations"
            ),
        },
        {
            "phi": list(phis),
            "init": list(INITS),
            "seed": range(networks),
            "pair": range(pairs),
            "layer": range(1, DEPTH + 1),
            "step": trained[0].step.values,
            "record": trained[0].record.values,
        },
        {"sigmoid_rate": max(rates)},
    )


def _scale(init: str, inputs: int, outputs: int) -> float:
    """Inputs times the variance of a weight."""
    return 1 / 3 if init == "standard" else 2 * inputs / (inputs + outputs)


def _forecast(phi: str, init: str, width: int) -> theory.Forecast:
    inputs = data.load(TASK).x_train.shape[-1]
    return theory.forecast(
        theory.Plain(
            phi=phi,
            depth=DEPTH,
            sigma_w=math.sqrt(_scale(init, width, width)),
            q0=_scale(init, inputs, width),
        )
    )


def _trained(
    phi: str, width: int, rates: Sequence[float], pairs: int, steps: int, chunk: int
) -> xr.Dataset:
    standard, normalised = INITS.values()
    base = Trial(model=models.MLP(depth=DEPTH, width=width, activation=phi), data=TASK, batch=10)
    return compare(
        Study(
            trials=grid(base, init=[standard, normalised]),
            baseline=standard,
            learning_rates=rates,
            seeds=range(pairs),
            steps=steps,
            chunk=chunk,
        )
    )


def _backwards(log_gradient: xr.DataArray) -> xr.DataArray:
    """The gradient's growth a layer, backwards."""
    return (log_gradient.isel(layer=0) - log_gradient.isel(layer=-1)) / (DEPTH - 1)


def rows(data: xr.Dataset) -> list[Row]:
    """The gradient's growth beside theory and the paper's regime; then how trainings end."""
    growth = _backwards(data.log_gradient)
    grown = [
        row._replace(source=source)
        for found, source in (
            (_backwards(data.theory_gradient), "theory"),
            (data.small, "Glorot, small z"),
        )
        for row in beside(growth, found, lambda at: f"{at['phi']}, {at['init']}: gradient")
    ]
    ends = data.isel(step=-1)
    wrong, error = mean_and_error(1 - ends.accuracy, "pair")
    trained = [
        Row(f"{phi}, {init}: test error", float(wrong.sel(at)), float(error.sel(at)), math.nan)
        for phi in data.phi.values
        for init in INITS
        for at in [{"phi": phi, "init": init}]
    ]
    return [*grown, *trained]


def answer(data: xr.Dataset) -> str:
    """What each initialisation does to the gradient, which one trains better, and the sigmoid."""
    growth, _ = mean_and_error(_backwards(data.log_gradient))
    off = float(abs(growth - _backwards(data.theory_gradient)).max())
    by_init = {
        init: ", ".join(
            f"{phi} {float(growth.sel(phi=phi, init=init)):+.2f}" for phi in data.phi.values
        )
        for init in INITS
    }
    ahead = ", ".join(
        f"{phi} {100 * float(one.difference):.1f} ({100 * float(one.low):.1f} to "
        f"{100 * float(one.high):.1f})"
        for phi in data.phi.values
        for one in [data.sel(phi=phi)]
    )
    end = data.loss.isel(step=-1).sel(phi="sigmoid").mean("pair")
    stuck = bool((end > 0.95 * data.constant).all())
    top = data.sigmoid.isel(layer=-1).mean("pair")
    return (
        f"The gradient grows, in e-folds a layer, by {by_init['standard']} with the standard and "
        f"by {by_init['normalised']} with the normalised initialisation, theory being within "
        f"{off:.2f}; the normalised one's test accuracy after {int(data.step[-1])} steps is ahead, "
        f"in points (95 % intervals), by {ahead}, and the sigmoid "
        f"{'trains with neither' if stuck else 'does train'} while its top layer's activation goes "
        f"from {float(top[0]):.2f} to {float(top[-1]):.2f} at rate {data.sigmoid_rate:g}."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Signal and gradient by layer, theory as lines; test errors; the sigmoid's layers."""
    (signal, gradient), (training, saturation) = figure.subplots(2, 2)
    relative = data.log_gradient - data.log_gradient.isel(layer=-1)
    _by_layer(signal, data, data.log_signal, data.theory_signal)
    _by_layer(gradient, data, relative, data.theory_gradient)
    signal.set(title="Signal before training", ylabel="ln of z's root mean square")
    signal.plot([], [], color=reports.INK, lw=1.4, label="lines: theory")
    signal.legend(*([one[-1]] for one in signal.get_legend_handles_labels()), loc="lower left")
    gradient.set(title="Gradient before training", ylabel="ln ‖δz‖, relative to layer 5")
    gradient.legend(loc="lower right", ncols=2, fontsize=8.5)
    for phi, colour in zip(data.phi.values, reports.COLOURS, strict=False):
        for init, style in zip(INITS, (":", "-"), strict=True):
            wrong = 100 * (1 - data.accuracy.sel(phi=phi, init=init))
            mean, error = mean_and_error(wrong, "pair")
            training.plot(data.step, mean, color=colour, ls=style, lw=2)
            training.fill_between(
                data.step, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.15, lw=0
            )
        training.plot([], [], color=colour, lw=2, label=phi)
    for init, style in zip(INITS, (":", "-"), strict=True):
        training.plot([], [], color=reports.INK, ls=style, lw=2, label=init)
    training.set(
        title="Training",
        xlabel="steps of gradient descent",
        ylabel="test error, %",
        yscale="log",
    )
    training.set_yticks([3, 10, 30, 100], ["3", "10", "30", "100"])
    training.minorticks_off()
    training.legend(fontsize=8.5, loc="center right")
    for layer in data.layer.values:
        top = layer == DEPTH
        mean = data.sigmoid.sel(layer=layer).mean("pair")
        colour = reports.COLOURS[data.sizes["phi"] - 1]
        saturation.plot(
            data.record, mean, color=colour, lw=2.6 if top else 1.4, alpha=1 if top else 0.45
        )
    end = data.sigmoid.mean("pair").isel(record=-1)
    lower = float(end.isel(layer=slice(None, -1)).max())
    for words, at, shift in (
        (f"layers 1 to {DEPTH - 1}", lower, -18),
        ("top layer", float(end.isel(layer=-1)), 10),
    ):
        saturation.annotate(
            words, (float(data.record[-1]), at), (0, shift), textcoords="offset points", ha="right"
        )
    saturation.set(
        title="Sigmoid's top layer saturates at 0",
        xlabel=f"steps of gradient descent (rate {data.sigmoid_rate:g}, standard)",
        ylabel="root mean square of a",
        ylim=(0, None),
    )


def _by_layer(axes: Axes, data: xr.Dataset, found: xr.DataArray, theirs: xr.DataArray) -> None:
    """The mean over networks as markers, theory as lines; standard filled, normalised hollow."""
    mean, _ = mean_and_error(found)
    for phi, colour in zip(data.phi.values, reports.COLOURS, strict=False):
        for init, fill, style in zip(INITS, (colour, "white"), (":", "-"), strict=True):
            at = {"phi": phi, "init": init}
            axes.plot(data.layer, theirs.sel(at), color=colour, lw=1.4, ls=style)
            axes.plot(
                data.layer, mean.sel(at), "o", color=colour, mfc=fill, ms=6, label=f"{phi}, {init}"
            )
    axes.set_xlabel("layer")
    axes.set_xticks(data.layer.values)


EXPERIMENT = Experiment(
    name="glorot_2010",
    question="Does a normalised initialisation keep deep gradients, and train better?",
    source="Glorot & Bengio, 2010, Understanding the difficulty of training deep feedforward "
    "neural networks, AISTATS",
    scales={
        "tiny": {
            "phis": ["sigmoid"],
            "probed_width": 8,
            "networks": 2,
            "width": 8,
            "rates": [0.1],
            "pairs": 2,
            "steps": 2,
            "chunk": 1,
        },
        "small": {
            "phis": ["tanh", "softsign", "sigmoid"],
            "probed_width": 500,
            "networks": 32,
            "width": 100,
            "rates": [0.1, 0.3],
            "pairs": 6,
            "steps": 1000,
            "chunk": 50,
        },
        "full": {
            "phis": ["tanh", "softsign", "sigmoid"],
            "probed_width": 1000,
            "networks": 64,
            "width": 500,
            "rates": [0.01, 0.03, 0.1, 0.3],
            "pairs": 10,
            "steps": 10000,
            "chunk": 200,
        },
    },
    run=run,
    title="the gradient's e-folds a layer, backwards; ends of trainings",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.6, 7.6),
)

if __name__ == "__main__":
    main(EXPERIMENT)
