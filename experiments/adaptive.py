"""Adaptive optimisers level the steps of a vanishing network; whether that is what it lacks.

In a deep sigmoid network the gradient falls by a constant factor a layer, backwards. An optimiser
that divides by the gradient's own size takes equal steps in all layers all the same, until that
size falls under a constant which it adds to it. `FIRST_STEP` says how for each: Adam's ε (Kingma &
Ba, 2014, arXiv:1412.6980) is 1e-8; optax's RMSprop has its ε within the root, where it counts from
√ε on; optax's Adagrad starts its sums at 0.1, so that no small gradient is levelled.

First the first update of every layer, beside the same formula for a gradient that falls as theory
says: Adam is level over about ln(g/ε)/rate layers, g the last layer's gradient. Then trainings of
a network within that reach and of one beyond it, each optimiser at its best of several rates beside
plain descent with the same seeds, and Adam with so small an ε that it is level everywhere: what
still does not train then lacks more than the size of its steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, at_best_rate, beside, level, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import data, models, optim, probes, reports, results, theory
from jgrad.sweeps import Study, Supervised, Trial, compare, drawn, grid

TASK, PHI, INIT = "digits", "sigmoid", "xavier"
#: Adam without a floor: smaller than the gradients here, and its square still a float32.
LEVEL = "adam:eps=1e-18"
#: Optimiser → how far its first step moves a weight of gradient g > 0, in learning rates.
FIRST_STEP: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "sgd": lambda g: g,
    "momentum": lambda g: g,
    "adagrad": lambda g: g / np.sqrt(g**2 + 0.1),
    "rmsprop": lambda g: g / np.sqrt(0.1 * g**2 + 1e-8),
    "adam": lambda g: g / (g + 1e-8),
    LEVEL: lambda g: g / (g + 1e-18),
}
RATES: Mapping[str, Sequence[float]] = {
    "sgd": (0.1, 1.0, 10.0),
    "momentum": (0.01, 0.1, 1.0),
    "adagrad": (0.01, 0.1, 1.0),
    "rmsprop": (0.0003, 0.003, 0.03),
    "adam": (0.001, 0.01, 0.03),
}

#: The long name of how far steps are level.
REACH = "layers below the last before the update has fallen to half of the last one's"


def run(
    *,
    optimizers: Sequence[str],
    probed: int,
    depths: Sequence[int],
    width: int,
    batch: int,
    seeds: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """First updates in a network of `probed` layers; trainings of networks of `depths` layers."""
    gradient, ratio = _first_updates(optimizers, probed, width=width, batch=batch, seeds=seeds)
    network = theory.Plain(phi=PHI, depth=probed, sigma_w=1.0)
    last = np.log(gradient[:, -1]).mean()
    forecast = np.exp(last + theory.forecast(network).gradient_log_norm[1:])
    moved = np.stack([FIRST_STEP[name](forecast) for name in optimizers])
    predicted = moved * math.sqrt(width)
    trained = [
        _trained(optimizers, depth, width=width, batch=batch, seeds=seeds, steps=steps, chunk=chunk)
        for depth in depths
    ]
    judged = [{v.label: v for v in results.verdicts(of_depth)} for of_depth in trained]
    point = ("depth", "optimizer", "seed")
    ends = {
        end: [[getattr(v[name], end) if name in v else 0.0 for name in optimizers] for v in judged]
        for end in ("difference", "low", "high")
    }
    words = "test accuracy minus that of plain descent, paired"
    return xr.Dataset(
        {
            "gradient": variable(("seed", "layer"), gradient, "root mean square gradient"),
            "forecast": variable(("layer",), forecast, "the same, falling as theory says"),
            "ratio": variable(
                ("optimizer", "seed", "layer"), ratio, "‖first update‖/‖weights‖ at rate 1"
            ),
            "predicted_ratio": variable(
                ("optimizer", "layer"), predicted, "the same of the forecast gradient"
            ),
            "reach": variable(("optimizer", "seed"), _reach(ratio), REACH, "layer"),
            "predicted_reach": variable(("optimizer",), _reach(predicted), REACH, "layer"),
            "accuracy": variable(point, np.stack(list(map(_at_best, trained))), "test accuracy"),
            "difference": variable(point[:2], ends["difference"], words),
            "low": variable(point[:2], ends["low"], f"{words}, lower end of 95 %"),
            "high": variable(point[:2], ends["high"], f"{words}, upper end of 95 %"),
        },
        {
            "optimizer": list(optimizers),
            "depth": list(depths),
            "layer": range(2, probed + 1),
            "seed": range(seeds),
        },
        {"chance": trained[0].attrs["chance"]},
    )


def _first_updates(
    optimizers: Sequence[str], depth: int, *, width: int, batch: int, seeds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the square kernels: root mean square gradient, and every optimiser's ‖update‖/‖weights‖.

    The former is [seeds, depth - 1], the latter [optimisers, seeds, depth - 1].
    """
    task = data.load(TASK)
    model = models.MLP(depth=depth, width=width, activation=PHI).sized(task.shape, task.outputs)
    examples = jnp.asarray(task.x_train[:batch]), jnp.asarray(task.y_train[:batch])
    params, state = drawn(model, INIT, jax.vmap(jax.random.key)(jnp.arange(seeds)))
    loss = Supervised(model).loss

    def of_layer(weights: jax.Array, grads: jax.Array) -> tuple[jax.Array, jax.Array]:
        told = []
        for name in optimizers:
            chain = optim.chain(optimizer=name, learning_rate=1.0)
            updates, _ = chain.update(grads, chain.init(weights), weights)
            told.append(
                probes.watch(params={"": weights}, grads={"": grads}, updates={"": updates})
            )
        ratios = jnp.stack([one["total/update_ratio"] for one in told])
        return told[0]["total/grad_norm"] / math.sqrt(weights.size), ratios

    def of_seed(params: dict) -> tuple[jax.Array, jax.Array]:
        grads = jax.grad(lambda params: loss(params, state, examples, jax.random.key(0))[0])(params)
        return jax.vmap(of_layer)(*(of["layers"]["linear"]["kernel"] for of in (params, grads)))

    gradient, ratio = map(np.asarray, jax.jit(jax.vmap(of_seed))(params))
    return gradient, np.moveaxis(ratio, -1, 0)


def _reach(ratio: np.ndarray) -> np.ndarray:
    """How many layers below the last the ratio [..., layers] is half the last one's."""
    fall = np.log(ratio[..., -1:] / ratio)[..., ::-1]
    below = np.arange(fall.shape[-1])

    def one(fall: np.ndarray) -> float:
        return float(np.interp(math.log(2), np.maximum.accumulate(fall), below))

    return np.apply_along_axis(one, -1, fall)


def _trained(
    optimizers: Sequence[str],
    depth: int,
    *,
    width: int,
    batch: int,
    seeds: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """Every optimiser's trainings of a network of that depth."""
    model = models.MLP(depth=depth, width=width, activation=PHI)
    return compare(
        Study(
            trials=grid(
                Trial(model=model, data=TASK, init=INIT, batch=batch), optimizer=optimizers
            ),
            learning_rates=RATES,
            seeds=range(seeds),
            steps=steps,
            chunk=chunk,
            baseline="sgd",
        )
    )


def _at_best(trained: xr.Dataset) -> np.ndarray:
    """The last test accuracy at each configuration's best rate, [configurations, seeds]."""
    ends = at_best_rate(trained).test_accuracy.isel(step=-1)
    return ends.transpose("config", "seed").values


def rows(data: xr.Dataset) -> list[Row]:
    """How far each optimiser is level, beside theory; then the test accuracies."""
    reach = beside(data.reach, data.predicted_reach, lambda at: f"{at['optimizer']}: level over")
    mean, error = mean_and_error(data.accuracy)
    ends = [
        Row(
            f"{optimizer}, {depth} layers",
            float(mean.sel(optimizer=optimizer, depth=depth)),
            float(error.sel(optimizer=optimizer, depth=depth)),
            math.nan,
        )
        for depth in data.depth.values
        for optimizer in data.optimizer.values
    ]
    return [*reach, *ends]


def answer(data: xr.Dataset) -> str:
    """How far Adam is level, and whether levelling trains what plain descent does not."""
    reach = data.reach.mean("seed")
    level = "; ".join(
        f"{name} over {float(reach.sel(optimizer=name)):.1f} layers "
        f"(theory {float(data.predicted_reach.sel(optimizer=name)):.1f})"
        for name in reach.optimizer.values
        if name not in ("momentum", LEVEL)
    )
    return f"First steps are level in {level}, and {_verdicts(data)}."


def _verdicts(data: xr.Dataset) -> str:
    """For every depth what Adam gains over plain descent, and Adam without a floor."""
    accuracy = data.accuracy.mean("seed")
    said = []
    for depth in data.depth.values:
        at = data.sel(depth=depth)
        names = [name for name in data.optimizer.values if at.low.sel(optimizer=name) > 0]
        plain = float(accuracy.sel(depth=depth, optimizer="sgd"))
        ends = (at.difference, at.low, at.high)
        gains = ", ".join(
            "{} {:+.0%} ({:+.0%} to {:+.0%})".format(
                name, *(float(end.sel(optimizer=name)) for end in ends)
            )
            for name in data.optimizer.values
            if name.startswith("adam")
        )
        said.append(
            f"with {depth} layers, where plain descent reaches {plain:.0%}, "
            f"{len(names)} of {data.sizes['optimizer'] - 1} optimisers do better: {gains}"
        )
    deepest = data.isel(depth=-1)
    if LEVEL in data.optimizer and not deepest.low.sel(optimizer=LEVEL) > 0:
        said[-1] += ", so that more is lost there than the size of a step"
    return "; ".join(said)


def paint(figure: Figure, data: xr.Dataset) -> None:
    """First updates by layer, theory dashed; accuracies by optimiser, every training a dot."""
    updates, ends = figure.subplots(1, 2, width_ratios=(1.15, 1))
    dashed = (0, (4, 3))
    # Momentum's first step is plain descent's, and Adagrad's here nearly so: drawn within it.
    shown = [name for name in data.optimizer.values if name != "momentum"]
    for name, colour in zip(shown, reports.COLOURS, strict=False):
        of_name = data.sel(optimizer=name)
        ratio = np.exp(np.log(of_name.ratio).mean("seed"))
        style = {"lw": 6, "alpha": 0.4} if name == "sgd" else {"lw": 2.2}
        updates.plot(data.layer, ratio / ratio[-1], color=colour, label=name, **style)
        predicted = of_name.predicted_ratio
        updates.plot(data.layer, predicted / predicted[-1], color=reports.INK, lw=1, ls=dashed)
    updates.plot([], [], color=reports.INK, lw=1, ls=dashed, label="theory")
    updates.set(
        title="First updates of a vanishing network",
        xlabel="layer",
        ylabel="‖update‖/‖weights‖, relative to the last layer",
        yscale="log",
    )
    updates.legend(loc="lower right")
    level(ends, "chance", "right", x=data.attrs["chance"])
    places = np.arange(data.sizes["optimizer"])[::-1]
    for k, depth in enumerate(data.depth.values):
        of_depth = data.accuracy.sel(depth=depth)
        y = places[:, None] + (0.17 if k == 0 else -0.17) + np.zeros(of_depth.shape)
        colour = reports.COLOURS[k]
        label = f"{depth} layers"
        ends.plot(
            of_depth.values.ravel(), y.ravel(), "o", color=colour, alpha=0.5, ms=5.5, label=label
        )
        ends.plot(of_depth.mean("seed"), y[:, 0], "|", color=colour, ms=14, mew=2)
    ends.set_yticks(places, data.optimizer.values)
    reached = "test accuracy at the best rate (bars: means)"
    ends.set(title="What they make of it", xlabel=reached, xlim=(0, 1.02))
    ends.legend(loc="center right")


EXPERIMENT = Experiment(
    name="adaptive",
    question="Do adaptive optimisers train a network whose gradient vanishes?",
    source="Kingma & Ba, 2014, Adam: A Method for Stochastic Optimization, arXiv:1412.6980",
    scales={
        "tiny": {
            "optimizers": ["sgd", "adam"],
            "probed": 6,
            "depths": [2],
            "width": 12,
            "batch": 16,
            "seeds": 2,
            "steps": 4,
            "chunk": 2,
        },
        "small": {
            "optimizers": list(FIRST_STEP),
            "probed": 30,
            "depths": [6, 16],
            "width": 48,
            "batch": 32,
            "seeds": 5,
            "steps": 300,
            "chunk": 100,
        },
        "full": {
            "optimizers": list(FIRST_STEP),
            "probed": 40,
            "depths": [4, 6, 8, 16, 30],
            "width": 128,
            "batch": 64,
            "seeds": 8,
            "steps": 3000,
            "chunk": 300,
        },
    },
    run=run,
    title="layers that the first step moves alike; test accuracies",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(10.2, 4.6),
)

if __name__ == "__main__":
    main(EXPERIMENT)
