"""Where a Transformer's layer norm stands decides its gradients, and whether it needs a warm-up.

At initialisation, with W_Q = 0 (so that attention is a mean), relu, d_ff = d and a loss whose
gradient is independent between positions, `theory.Transformer` says how the gradient ‖δz‖ of each
block compares with the last one's and, by Xiong et al., how the last block's ‖∂L/∂W₂‖ goes with the
depth L: post-LN not at all, pre-LN as 1/√q_L, q_L the second moment of the stream, between 1 + L/2
and 1 + 3L/2. What does not follow, though the paper is often read so, is that pre-LN gradients are
alike in all blocks: they grow towards the input by a power of the depth, most in the first blocks.
Those of W₂, sums over positions whose parts agree the more, the earlier the block, grow faster
still, where post-LN's hardly change; pre-LN is nevertheless the one that trains.

Then trainings: both orders, Adam with and without warm-up, at several learning rates.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, beside, level, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import models, probes, reports, theory
from jgrad.sweeps import Study, Supervised, Trial, compare, drawn, grid

ORDERS = ("post", "pre")
#: Positions of the sequences at initialisation.
TOKENS = 16
WARM_UP = "warmup:steps=0.25"


def run(
    *,
    depths: Sequence[int],
    width: int,
    draws: int,
    trained_depth: int,
    trained_width: int,
    rates: Sequence[float],
    seeds: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """Gradients of W₂ by block and by depth beside theory's; how trainings go."""
    deepest = max(depths)
    found, forecasts = {}, {}
    for order, depth in itertools.product(ORDERS, depths):
        found[order, depth] = _log_gradients(order, depth, width, draws)
        forecasts[order, depth] = theory.forecast(
            theory.Transformer(depth=depth, tokens=TOKENS, norm=order)
        )
    profile = np.stack([found[order, deepest] for order in ORDERS])
    last = np.array([[found[order, depth][1, :, -1] for depth in depths] for order in ORDERS])
    theirs = np.array(
        [[-0.5 * forecasts[order, depth].log_q[-1] for depth in depths] for order in ORDERS]
    )
    trained = _trained(
        trained_depth, trained_width, rates=rates, seeds=seeds, steps=steps, chunk=chunk
    )
    point = ("order", "warm_up", "rate", "seed")
    shape = (len(ORDERS), 2, len(rates), seeds)

    def by_arm(values: xr.DataArray) -> np.ndarray:
        values = values.transpose("config", "rate", "seed", ...)
        return values.values.reshape(*shape, *values.shape[3:])

    first, final = (by_arm(trained.log_dz.isel(depth=k)) for k in (0, -1))
    return xr.Dataset(
        {
            "profile": variable(
                ("order", "of", "draw", "block"),
                profile - profile[..., -1:],
                "ln of the gradient's norm, relative to the last block",
                "nat",
            ),
            "predicted_profile": variable(
                ("order", "block"),
                [forecasts[order, deepest].gradient_log_norm for order in ORDERS],
                "theory's of δz",
                "nat",
            ),
            "last": variable(
                ("order", "depth", "draw"),
                last - last[:, :1].mean(-1, keepdims=True),
                "ln ‖∂L/∂W₂‖ of the last block, relative to the shallowest network's",
                "nat",
            ),
            "predicted_last": variable(
                ("order", "depth"), theirs - theirs[:, :1], "theory's", "nat"
            ),
            "accuracy": variable(
                point, by_arm(trained.test_accuracy.isel(step=-1)), "test accuracy"
            ),
            "loss": variable((*point, "step"), by_arm(trained.train_loss), "training loss", "nat"),
            "fall": variable(
                (*point, "record"),
                first - final,
                "ln ‖δz‖ of the first block over the last's",
                "nat",
            ),
        },
        {
            "order": list(ORDERS),
            "of": ["δz", "W₂"],
            "block": range(1, deepest + 1),
            "depth": list(depths),
            "warm_up": ["no warm-up", "warm-up"],
            "rate": list(rates),
            "seed": range(seeds),
            "step": trained.step.values,
            "record": trained.record.values,
        },
        {"chance": trained.attrs["chance"], "trained_depth": trained_depth},
    )


def _log_gradients(order: str, depth: int, width: int, draws: int) -> np.ndarray:
    """Each block's ln ‖δz‖ and ln ‖∂L/∂W₂‖ with W_Q = 0, [2, draw, block]."""
    of_params, of_x, of_loss = jax.random.split(jax.random.key(0), 3)
    model = models.Transformer(
        width=width,
        depth=depth,
        expansion=1,
        order=order,
        activation="relu",
        positions="none",
        per_position=True,
    ).sized((TOKENS, width), width)
    params, state = drawn(model, "lecun_normal", jax.random.split(of_params, draws))
    query = params["layers"]["attention"]["query"]
    params["layers"]["attention"]["query"] = jax.tree.map(jnp.zeros_like, query)
    x, towards = (jax.random.normal(k, (draws, 1, TOKENS, width)) for k in (of_x, of_loss))
    apply = Supervised(model).apply

    @jax.jit
    @functools.partial(jax.vmap, out_axes=1)
    def probed(params, state, x, towards):
        _, grads, flow = probes.value_grad_and_flow(
            lambda params: jnp.sum(apply(params, state, x)[0] * towards)
        )(params)
        of_w2 = jnp.linalg.norm(grads["layers"]["wide"]["down"]["kernel"], axis=(1, 2))
        return jnp.stack([flow.profile("log_dz"), jnp.log(of_w2)])

    return np.asarray(probed(params, state, x, towards))


def _trained(
    depth: int, width: int, *, rates: Sequence[float], seeds: int, steps: int, chunk: int
) -> xr.Dataset:
    """Adam's trainings of both orders, without and with warm-up."""
    model = models.Transformer(width=width, depth=depth, heads=2, expansion=2, activation="relu")
    return compare(
        Study(
            trials=grid(
                Trial(model=model, data="digits_rows", init="xavier", batch=32),
                order=ORDERS,
                schedule=["constant", WARM_UP],
                optimizer=["adam"],
            ),
            learning_rates=rates,
            seeds=range(seeds),
            steps=steps,
            chunk=chunk,
        )
    )


def rows(data: xr.Dataset) -> list[Row]:
    """Gradients of the first block and of the last by depth, beside theory; then accuracies."""
    first, deeper = {"block": [1]}, {"depth": slice(1, None)}
    profile = beside(
        data.profile.sel(of="δz", **first).rename(draw="seed"),
        data.predicted_profile.sel(**first),
        lambda at: f"{at['order']}-LN: first block",
    )
    last = beside(
        data.last.isel(**deeper).rename(draw="seed"),
        data.predicted_last.isel(**deeper),
        lambda at: f"{at['order']}-LN: W₂, {at['depth']} blocks",
    )
    mean, error = mean_and_error(data.accuracy)
    ends = [
        Row(
            f"{order}-LN, {warm}, {rate:g}",
            float(mean.sel(order=order, warm_up=warm, rate=rate)),
            float(error.sel(order=order, warm_up=warm, rate=rate)),
            math.nan,
        )
        for order in data.order.values
        for warm in data.warm_up.values
        for rate in data.rate.values
    ]
    return [*profile, *last, *ends]


def _telling_rate(data: xr.Dataset) -> float:
    """The rate at which the warm-up does most for post-LN."""
    accuracy = data.accuracy.sel(order="post").mean("seed")
    gained = accuracy.sel(warm_up="warm-up") - accuracy.sel(warm_up="no warm-up")
    return float(gained.idxmax("rate"))


def answer(data: xr.Dataset) -> str:
    """How well theory knows the gradients, and who needs the warm-up."""
    profile, last = (of.mean("draw") for of in (data.profile.sel(of="δz"), data.last))
    off = max(
        float(abs(profile - data.predicted_profile).max()),
        float(abs(last - data.predicted_last).max()),
    )
    first = np.exp(profile.isel(block=0))
    rate = _telling_rate(data)
    at = data.accuracy.sel(rate=rate)
    mean, error = mean_and_error(at.sel(warm_up="warm-up") - at.sel(warm_up="no warm-up"))
    said = ", ".join(
        f"{order}-LN reaches {float(at.sel(order=order, warm_up='no warm-up').mean()):.0%} without "
        f"warm-up and {float(at.sel(order=order, warm_up='warm-up').mean()):.0%} with it "
        f"(paired {float(mean.sel(order=order)):+.0%} ± {float(error.sel(order=order)):.0%})"
        for order in ORDERS
    )
    return (
        f"At the start the first block's gradient is {float(first.sel(order='post')):.2f} times "
        f"the last's in post-LN and {float(first.sel(order='pre')):.2f} times in pre-LN, theory "
        f"being within {off:.2f} e-folds of every block and depth, and at a rate of {rate:g} "
        f"{said}."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Gradients by block beside theory; accuracy by rate; what Adam does to the gradients."""
    blocks, ends, falls = figure.subplots(1, 3)
    dashed, rate = (0, (4, 3)), _telling_rate(data)
    for order, colour in zip(ORDERS, reports.COLOURS, strict=False):
        of_order = data.sel(order=order)
        mean, error = mean_and_error(of_order.profile.sel(of="δz"), "draw")
        blocks.plot(data.block, np.exp(mean), "o", color=colour, ms=5.5, label=f"{order}-LN, δz")
        blocks.fill_between(
            data.block,
            np.exp(mean - 2 * error),
            np.exp(mean + 2 * error),
            color=colour,
            alpha=0.2,
            lw=0,
        )
        weights = np.exp(of_order.profile.sel(of="W₂").mean("draw"))
        blocks.plot(data.block, weights, color=colour, lw=1.2, label=f"{order}-LN, W₂")
        predicted = np.exp(of_order.predicted_profile)
        blocks.plot(data.block, predicted, color=reports.INK, lw=1.2, ls=dashed)
        for warm, ls in zip(data.warm_up.values, ("-", (0, (2, 1.5))), strict=True):
            of_arm = of_order.sel(warm_up=warm)
            fill = "full" if warm == "no warm-up" else "none"
            each = np.broadcast_to(data.rate.values[:, None], of_arm.accuracy.shape)
            dots = {"color": colour, "alpha": 0.5, "ms": 4.5, "fillstyle": fill}
            ends.plot(each.ravel(), of_arm.accuracy.values.ravel(), "o", **dots)
            ends.plot(data.rate, of_arm.accuracy.mean("seed"), color=colour, ls=ls, lw=1.8)
            fall = np.exp(of_arm.fall.sel(rate=rate).mean("seed"))
            falls.plot(data.record, fall, color=colour, ls=ls, lw=1.8, label=f"{order}-LN, {warm}")
    blocks.plot([], [], color=reports.INK, lw=1.2, ls=dashed, label="theory, δz")
    blocks.set(
        title="At the start",
        xlabel="block",
        ylabel="gradient, relative to the last block's",
        yscale="log",
    )
    blocks.set_yticks([0.3, 0.5, 1, 2, 3], ["0.3", "0.5", "1", "2", "3"])
    blocks.minorticks_off()
    blocks.legend()
    level(ends, "chance", "left", y=data.attrs["chance"])
    ends.set(
        title=f"Trained by Adam, {data.attrs['trained_depth']} blocks",
        xlabel="learning rate",
        ylabel="test accuracy",
        xscale="log",
        ylim=(0, 1.02),
    )
    falls.set(
        title=f"While it trains, rate {rate:g}",
        xlabel="step",
        ylabel="‖δz‖, first block over last",
        yscale="log",
    )
    falls.legend(loc="center right")


EXPERIMENT = Experiment(
    name="xiong_2020",
    question="Why does a post-LN Transformer need a warm-up, and a pre-LN one none?",
    source="Xiong et al., 2020, On Layer Normalization in the Transformer Architecture, "
    "arXiv:2002.04745",
    scales={
        "tiny": {
            "depths": [2],
            "width": 16,
            "draws": 2,
            "trained_depth": 2,
            "trained_width": 8,
            "rates": [0.01],
            "seeds": 2,
            "steps": 2,
            "chunk": 1,
        },
        "small": {
            "depths": [3, 6, 12],
            "width": 128,
            "draws": 16,
            "trained_depth": 12,
            "trained_width": 32,
            "rates": [0.001, 0.003, 0.01],
            "seeds": 3,
            "steps": 120,
            "chunk": 20,
        },
        "full": {
            "depths": [6, 12, 24, 48],
            "width": 384,
            "draws": 24,
            "trained_depth": 12,
            "trained_width": 64,
            "rates": [0.0003, 0.001, 0.003, 0.01],
            "seeds": 8,
            "steps": 2000,
            "chunk": 50,
        },
    },
    run=run,
    title="e-folds of the gradient over the last block's or shallowest net's; accuracies",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(12.4, 4.4),
)

if __name__ == "__main__":
    main(EXPERIMENT)
