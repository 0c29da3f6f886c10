"""How deep can a network be trained, and does the mean-field depth scale say so?

Tanh networks of several depths are trained on digits for every σ_w, at one σ_b. The depth that
still trains is where the training accuracy, interpolated in ln depth, falls to half-way between
chance and 1. Theory gives ξ_c, the depth over which two inputs' correlation settles by a factor e.
Trainings of one depth are one compiled program, over σ_w and seeds at once; layers are scanned, so
that a deep program compiles as quickly as a shallow one.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from _experiment import Experiment, Row, main, mean_and_error, variable
from jax import lax
from matplotlib.figure import Figure
from scipy.stats import rankdata

from jgrad import data as tasks
from jgrad import inits, reports, theory

#: The paper's σ_b².
BIAS_VARIANCE = 0.05

#: The paper's trainable depth in units of ξ_c.
REACH = 6.0


def run(
    *,
    sigmas: Sequence[float],
    depths: Sequence[int],
    width: int,
    steps: int,
    batch: int,
    learning_rate: float,
    seeds: int,
) -> xr.Dataset:
    """Training accuracy by σ_w and depth; the trainable depth beside ξ_c."""
    task = tasks.load("digits")
    x, y = jnp.asarray(task.x_train), jnp.asarray(task.y_train)

    def trained(sigma_w: jax.Array, key: jax.Array, depth: int) -> jax.Array:
        return _accuracy(sigma_w, key, x, y, depth, width, steps, batch, learning_rate)

    every = jax.jit(jax.vmap(jax.vmap(trained, (None, 0, None)), (0, None, None)), static_argnums=2)
    keys = jax.random.split(jax.random.key(0), seeds)
    accuracy = np.stack(
        [every(jnp.asarray(sigmas, jnp.float32), keys, depth) for depth in depths], axis=1
    )
    sigma_b = math.sqrt(BIAS_VARIANCE)
    points = [theory.fixed_point("tanh", sigma_w, sigma_b) for sigma_w in sigmas]
    middle = (1 + 1 / task.classes) / 2
    reached = [[_crossing(depths, of_seed, middle) for of_seed in of.T] for of in accuracy]
    return xr.Dataset(
        {
            "accuracy": variable(
                ("sigma_w", "depth", "seed"), accuracy, "share of training examples classed rightly"
            ),
            "trainable": variable(
                ("sigma_w", "seed"), reached, "depth at half-way accuracy", "layers"
            ),
            "xi_c": variable(
                ("sigma_w",), [p.xi_c for p in points], "depth scale of correlations", "layers"
            ),
            "xi_gradient": variable(
                ("sigma_w",),
                [p.xi_gradient for p in points],
                "depth scale of gradients, negative where they explode",
                "layers",
            ),
        },
        {"sigma_w": list(sigmas), "depth": list(depths)},
        {
            "critical_sigma_w": theory.critical("tanh", sigma_b)[0][0],
            "sigma_b": sigma_b,
            "steps": steps,
        },
    )


def _accuracy(
    sigma_w: jax.Array,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
    depth: int,
    width: int,
    steps: int,
    batch: int,
    learning_rate: float,
) -> jax.Array:
    """Of one network on all training examples, after `steps` of momentum SGD.

    The loss is the sharper the deeper the network: the learning rate is divided by the depth.
    """
    keys = jax.random.split(key, 5)
    draw = inits.get("lecun_normal")
    bias = math.sqrt(BIAS_VARIANCE) * jax.random.normal(keys[0], (depth, width))
    params = {
        "first": sigma_w * draw(keys[1], (x.shape[1], width), x.dtype),
        "layers": sigma_w
        * draw(keys[2], (width, (depth - 1) * width), x.dtype)
        .reshape(width, depth - 1, width)
        .swapaxes(0, 1),
        "bias": bias,
        "last": draw(keys[3], (width, 10), x.dtype),
    }
    optimizer = optax.sgd(learning_rate / depth, momentum=0.9)

    def logits(params: Any, x: jax.Array) -> jax.Array:
        def layer(h: jax.Array, of: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            weights, bias = of
            return jnp.tanh(h @ weights + bias), None

        h = jnp.tanh(x @ params["first"] + params["bias"][0])
        h, _ = lax.scan(layer, h, (params["layers"], params["bias"][1:]))
        return h @ params["last"]

    def loss(params: Any, drawn: jax.Array) -> jax.Array:
        of = logits(params, x[drawn])
        return optax.softmax_cross_entropy_with_integer_labels(of, y[drawn]).mean()

    def step(carry: Any, drawn: jax.Array) -> tuple[Any, None]:
        params, memory = carry
        updates, memory = optimizer.update(jax.grad(loss)(params, drawn), memory)
        return (optax.apply_updates(params, updates), memory), None

    drawn = jax.random.randint(keys[4], (steps, batch), 0, len(x))
    (params, _), _ = lax.scan(step, (params, optimizer.init(params)), drawn)
    return jnp.mean(logits(params, x).argmax(-1) == y)


def _crossing(depths: Sequence[int], accuracy: np.ndarray, middle: float) -> float:
    """The depth where the accuracy first falls below `middle`; the ends where it never does."""
    below = np.flatnonzero(accuracy < middle)
    if not below.size:
        return float(depths[-1])
    k = int(below[0])
    if k == 0:
        return float(depths[0])
    share = (accuracy[k - 1] - middle) / (accuracy[k - 1] - accuracy[k])
    return float(depths[k - 1] * (depths[k] / depths[k - 1]) ** share)


def rows(data: xr.Dataset) -> list[Row]:
    """Trainable depth in units of ξ_c beside the paper's; the best σ_w beside the critical one."""
    ratio, ratio_error = mean_and_error(data.trainable / data.xi_c)
    best, best_error = mean_and_error(_deepest(data))
    return [
        Row("σ_w that trains deepest", float(best), float(best_error), data.critical_sigma_w),
        *(
            Row(
                f"depth / ξ_c at σ_w = {sigma_w:g}",
                float(ratio.sel(sigma_w=sigma_w)),
                float(ratio_error.sel(sigma_w=sigma_w)),
                REACH,
                "the paper",
            )
            for sigma_w in _resolved(data).sigma_w.values
        ),
    ]


def _deepest(data: xr.Dataset) -> xr.DataArray:
    """The σ_w of the deepest trainable network, of each seed."""
    return data.sigma_w[data.trainable.argmax("sigma_w")]


def _resolved(data: xr.Dataset) -> xr.Dataset:
    """Where ξ_c fits into the depths tried."""
    return data.sel(sigma_w=(data.xi_c < data.depth.values[-1]).values)


def answer(data: xr.Dataset) -> str:
    """Where it trains deepest, and how trainable depth goes with the depth scale."""
    best, error = mean_and_error(_deepest(data))
    depth = data.trainable.mean("seed")
    order = np.corrcoef(rankdata(depth), rankdata(data.xi_c))[0, 1]
    found = _resolved(data)
    ratio = found.trainable.mean("seed") / found.xi_c
    return (
        f"Networks train deepest, to {float(depth.max()):.0f} layers, at σ_w = {float(best):.2f} ± "
        f"{float(error):.2f}, where theory has the edge of chaos at {data.critical_sigma_w:.2f}; "
        f"trainable depth goes with ξ_c (rank correlation {order:.2f}) and is "
        f"{float(ratio.min()):.1f} to {float(ratio.max()):.1f} ξ_c, {float(ratio.mean()):.1f} on "
        f"average, after {data.steps} steps, where the paper has about {REACH:g}."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Accuracy over σ_w and depth, with the depth that trains and 6 ξ_c."""
    axes = figure.add_subplot()
    sigma_w, depth = data.sigma_w.values, data.depth.values
    shown = axes.pcolormesh(
        _edges(sigma_w),
        np.exp(_edges(np.log(depth))),
        data.accuracy.mean("seed").T,
        cmap="cividis",
        vmin=0,
        vmax=1,
    )
    bar = figure.colorbar(shown, ax=axes, pad=0.02)
    bar.set_label("training accuracy")
    fine = np.linspace(*axes.get_xlim(), 120)
    scales = [theory.fixed_point("tanh", s, data.sigma_b).xi_c for s in fine]
    for times, dashes in ((1, (0, (1, 1.5))), (REACH, (0, (5, 3)))):
        label = f"{times:g} ξ_c, theory" if times != 1 else "ξ_c, theory"
        axes.plot(fine, times * np.array(scales), color="white", lw=2, ls=dashes, label=label)
    mean, error = mean_and_error(data.trainable)
    axes.errorbar(
        sigma_w,
        mean,
        2 * error,
        fmt="o",
        color=reports.COLOURS[1],
        mec="white",
        ms=8,
        capsize=3,
        label="trainable depth, measured",
    )
    axes.set(
        title="Trainable depth and the depth scale of correlations",
        xlabel="σ_w, scale of the weights",
        ylabel="layers",
        yscale="log",
        ylim=np.exp(_edges(np.log(depth)))[[0, -1]],
    )
    axes.set_yticks(depth, [f"{d}" for d in depth])
    axes.minorticks_off()
    axes.grid(visible=False)
    legend = axes.legend(loc="upper right", labelcolor="white")
    legend.set_zorder(10)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Borders half-way between neighbours, the outer ones as far out as in."""
    between = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])


EXPERIMENT = Experiment(
    name="schoenholz_2017",
    question="How deep can a network be trained, and does mean-field theory know?",
    source="Schoenholz et al., 2017, Deep Information Propagation, arXiv:1611.01232",
    scales={
        "tiny": {
            "sigmas": [1.0, 1.3, 2.5],
            "depths": [2, 12],
            "width": 16,
            "steps": 30,
            "batch": 16,
            "learning_rate": 0.05,
            "seeds": 2,
        },
        "small": {
            "sigmas": [1.0, 1.1, 1.2, 1.33, 1.5, 1.75, 2.0, 2.5, 3.0],
            "depths": [5, 10, 20, 40, 80],
            "width": 48,
            "steps": 300,
            "batch": 32,
            "learning_rate": 0.05,
            "seeds": 3,
        },
        "full": {
            "sigmas": [0.9 + 0.1 * k for k in range(22)],
            "depths": [5, 10, 20, 40, 80, 160, 320],
            "width": 300,
            "steps": 2000,
            "batch": 64,
            "learning_rate": 0.05,
            "seeds": 5,
        },
    },
    run=run,
    title="how deep networks train",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(8.0, 5.0),
)

if __name__ == "__main__":
    main(EXPERIMENT)
