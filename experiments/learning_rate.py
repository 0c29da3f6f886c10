"""How the largest stable learning rate follows curvature, and curvature the activation's slope.

Gradient descent on a quadratic loss converges for rates below 2/λ, λ the Hessian's largest
eigenvalue: `jacobians.max_stable_learning_rate`. Of its assumptions three are kept here, full
batches, neither momentum nor an adaptive step, and a squared error; the fourth cannot be: λ is that
of the start, and no network's loss is quadratic. So two measured rates stand beside 2/λ: the
largest at which the loss falls from the first step on, and the largest at which a training ends
lower than it began. Between them lies the catapult of Lewkowycz et al., 2020, arXiv:2003.02218:
the loss rises first, which takes the network to flatter ground, and falls then.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import data, jacobians, models, reports, results
from jgrad.sweeps import Study, Supervised, Trial, compare, drawn, grid

Params = Any

TASK = "diabetes"
INIT = "lecun_normal"
#: Rates on the grid for a factor of two, and how far it reaches below and above all 2/λ.
PER_OCTAVE, BELOW, ABOVE = 2, 1 / 4, 16
#: From a rate of the grid to the middle between it and the next one, where the limit is sought.
BETWEEN = 2 ** (1 / (2 * PER_OCTAVE))


def run(
    *,
    phis: Sequence[str],
    gains: Sequence[float],
    depth: int,
    width: int,
    seeds: int,
    steps: int,
    chunk: int,
    early: int,
) -> xr.Dataset:
    """For every network 2/λ at the start, and the rates that it bears, early and to the end.

    `early` is over how many steps the loss has to fall.
    """
    found = []
    for phi in phis:
        nets = _Networks(models.MLP(depth=depth, width=width, activation=phi), gains, seeds)
        rates = nets.rates()
        trained = compare(
            Study(
                trials=grid(
                    Trial(model=nets.model, data=TASK, init=INIT, batch=len(nets.batch[0])),
                    gain=gains,
                ),
                learning_rates=rates,
                seeds=range(seeds),
                steps=steps,
                chunk=chunk,
            )
        )
        windows = [results.rate_window(trained.isel(seed=[k])) for k in range(seeds)]
        start = trained.isel(record=0, rate=0)
        found.append(
            {
                "predicted": nets.predicted,
                "falls": BETWEEN * nets.falls(rates, early),
                "stable": BETWEEN * np.stack([of.stable_high for of in windows], axis=-1),
                "slope": start.slope_mean.mean("depth"),
                "growth": (start.log_gain + start.linear_log_gain).mean("depth"),
            }
        )
    words = {
        "predicted": "2/λ at the start",
        "falls": "largest rate at which the loss falls from the first step on",
        "stable": "largest rate at which training ends lower than it began",
        "slope": "mean slope of the activations at the start",
        "growth": "growth of the gradient a layer at the start, ln of a norm",
    }
    return xr.Dataset(
        {
            name: variable(
                ("phi", "gain", "seed"),
                [of_phi[name] for of_phi in found],
                said,
                "nat" if name == "growth" else "1",
            )
            for name, said in words.items()
        },
        {"phi": list(phis), "gain": list(gains), "seed": range(seeds)},
    )


class _Networks:
    """An activation's networks at their start, at every gain and seed."""

    def __init__(self, model: models.MLP, gains: Sequence[float], seeds: int):
        task = data.load(TASK)
        self.model = model.sized(task.shape, task.outputs)
        self.batch = jnp.asarray(task.x_train), jnp.asarray(task.y_train)
        keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
        each = [drawn(self.model, INIT, keys, gain)[0] for gain in gains]
        self.params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        bound = jacobians.max_stable_learning_rate(self.loss)
        #: 2/λ, [gains, seeds].
        self.predicted = np.asarray(jax.jit(jax.vmap(jax.vmap(bound)))(self.params))

    def loss(self, params: Params) -> jax.Array:
        """The loss over all training examples."""
        return Supervised(self.model).loss(params, {}, self.batch, jax.random.key(0))[0]

    def rates(self) -> list[float]:
        """The grid of rates, from far below to far above every 2/λ."""
        first = math.floor(PER_OCTAVE * math.log2(BELOW * self.predicted.min()))
        last = math.ceil(PER_OCTAVE * math.log2(ABOVE * self.predicted.max()))
        return [2 ** (k / PER_OCTAVE) for k in range(first, last + 1)]

    def falls(self, rates: Sequence[float], steps: int) -> np.ndarray:
        """The largest rate up to which each of the first steps lowers the loss, [gains, seeds]."""

        def fell(params: Params, rate: jax.Array) -> jax.Array:
            def step(params: Params, _: None) -> tuple[Params, jax.Array]:
                loss, grads = jax.value_and_grad(self.loss)(params)
                return jax.tree.map(lambda p, g: p - rate * g, params, grads), loss

            losses = jax.lax.scan(step, params, length=steps + 1)[1]
            return jnp.all(losses[1:] < losses[:-1])

        every = jax.vmap(jax.vmap(jax.vmap(fell, (0, None)), (0, None)), (None, 0))
        fallen = np.asarray(jax.jit(every)(self.params, jnp.asarray(rates, jnp.float32)))
        # From below: a rate counts if the loss falls at all smaller ones too.
        count = np.cumprod(fallen, axis=0).sum(0)
        return np.where(count > 0, np.asarray(rates)[count - 1], np.nan)


def rows(data: xr.Dataset) -> list[Row]:
    """Both measured rates of every activation and gain, in units of 2/λ."""
    factors = {
        "falls at once": data.falls / data.predicted,
        "ends lower": data.stable / data.predicted,
    }
    return [
        Row(
            f"{phi}, gain {gain:g}: {name}",
            float(mean.sel(phi=phi, gain=gain)),
            float(error.sel(phi=phi, gain=gain)),
            1.0,
            "2/λ",
        )
        for phi in data.phi.values
        for gain in data.gain.values
        for name, factor in factors.items()
        for mean, error in [mean_and_error(factor)]
    ]


def answer(data: xr.Dataset) -> str:
    """How well 2/λ foretells both rates, and what the gain of a layer does to them."""
    at_once, in_the_end = data.falls / data.predicted, data.stable / data.predicted
    slopes = data.slope.mean(("gain", "seed"))
    # Within an activation: what gain does to the growth, and to the rate.
    growth, rate = (
        (of - of.mean(("gain", "seed"))).values.ravel()
        for of in (data.growth, np.log(data.predicted))
    )
    steep = -float(growth @ rate / (growth @ growth))
    return (
        f"At mean slopes from {float(slopes.min()):.2f} to {float(slopes.max()):.2f} the loss "
        f"falls from the first step on for rates up to {_spread(at_once)}, and trainings end lower "
        f"than they began for rates up to {_spread(in_the_end)}; within an activation 2/λ falls by "
        f"{steep:.1f} e-folds for every e-fold by which a layer makes the gradient grow."
    )


def _spread(factors: xr.DataArray) -> str:
    """The median factor over all networks, between what nine in ten lie, and what that makes 2/λ.

    The grid alone spreads them by a factor of 1.2 either way.
    """
    low, median, high = np.nanquantile(factors, [0.05, 0.5, 0.95])
    word = "the limit" if max(1 / low, high) < 1.6 else "its order of magnitude"
    return f"{median:.2f} times 2/λ (nine in ten networks: {low:.2f} to {high:.2f}; it is {word})"


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Both measured rates by 2/λ; what a layer does to the gradient, and what rate that leaves."""
    borne, slopes = figure.subplots(1, 2)
    ends = np.array([data.predicted.min(), data.predicted.max()]) * [0.7, 1.4]
    borne.plot(ends, ends, color=reports.INK, lw=1, ls=(0, (4, 3)), label="2/λ")
    for phi, colour in zip(data.phi.values, reports.COLOURS, strict=False):
        of_phi = data.sel(phi=phi)
        x = of_phi.predicted.values.ravel()
        borne.plot(x, of_phi.falls.values.ravel(), "o", color=colour, ms=5.5, alpha=0.75)
        borne.plot(
            x, of_phi.stable.values.ravel(), "^", color=colour, ms=6, alpha=0.75, fillstyle="none"
        )
        mean = of_phi.mean("seed")
        slopes.plot(of_phi.growth.values.ravel(), x, "o", color=colour, ms=5.5, alpha=0.75)
        slopes.plot(
            mean.growth, np.exp(np.log(of_phi.predicted).mean("seed")), color=colour, lw=1.6
        )
        slopes.plot(
            [], [], "o-", color=colour, label=f"{phi}, φ′ = {float(of_phi.slope.mean()):.2f}"
        )
    borne.plot([], [], "o", color=reports.MUTED, label="loss falls from the first step on")
    borne.plot(
        [],
        [],
        "^",
        color=reports.MUTED,
        fillstyle="none",
        label="training ends lower than it began",
    )
    borne.set(
        title="The largest learning rates, beside 2/λ",
        xlabel="2/λ of the network at its start",
        ylabel="largest rate measured",
        xscale="log",
        yscale="log",
    )
    borne.legend()
    slopes.set(
        title="Growing gradients cost learning rate",
        xlabel="growth of the gradient a layer, e-folds",
        ylabel="2/λ of the network at its start",
        yscale="log",
    )
    slopes.legend()


EXPERIMENT = Experiment(
    name="learning_rate",
    question="Is the largest stable learning rate 2/λ, and what have activations to do with it?",
    source="Lewkowycz et al., 2020, The large learning rate phase of deep learning, "
    "arXiv:2003.02218",
    scales={
        "tiny": {
            "phis": ["tanh"],
            "gains": [1.0],
            "depth": 2,
            "width": 8,
            "seeds": 2,
            "steps": 8,
            "chunk": 2,
            "early": 3,
        },
        "small": {
            "phis": ["tanh", "relu", "gelu", "sigmoid"],
            "gains": [0.7, 1.0, 1.4],
            "depth": 4,
            "width": 32,
            "seeds": 4,
            "steps": 80,
            "chunk": 20,
            "early": 6,
        },
        "full": {
            "phis": ["tanh", "softsign", "elu", "relu", "gelu", "softplus", "sigmoid"],
            "gains": [0.5, 0.7, 1.0, 1.4, 2.0],
            "depth": 6,
            "width": 128,
            "seeds": 8,
            "steps": 1000,
            "chunk": 50,
            "early": 6,
        },
    },
    run=run,
    title="the largest learning rate, in units of 2/λ",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.8, 4.6),
)

if __name__ == "__main__":
    main(EXPERIMENT)
