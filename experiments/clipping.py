"""Six ways to clip, on recurrent networks whose gradient explodes and on ones where it vanishes.

Vanilla relu networks read the sequences of the temporal-order task; all kernels are He-normal
times a gain: above one activations and gradients grow with every step, below one they vanish. The
thresholds are such that each clips the recurrent kernel's gradient from a norm of about one on,
but for the adaptive percentile, which sets its own. Pascanu, Mikolov & Bengio propose clipping
against explosion, and something else against vanishing; so clipping should save the trainings of
the first kind and do nothing for the second.

A training broke down if its loss was not finite, or ended above twice that of a constant answer.
The percentile needs norms to compare with: it lets a first explosion through, and learns from it
that such norms are usual.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from _experiment import Experiment, Row, at_best_rate, level, main, mean_and_error, variable
from matplotlib.figure import Figure
from scipy import stats

from jgrad import models, reports, results
from jgrad.sweeps import Study, Trial, compare, grid

#: Recurrent units; a kernel of so many squared elements of 1/WIDTH each has norm one.
WIDTH = 32
#: Name → how it is written.
CLIPS: Mapping[str, str] = {
    "none": "none",
    "value": "value:0.03",
    "norm": "norm:1.0",
    "global norm": "global_norm:1.0",
    "block": "block:0.03",
    "adaptive": "adaptive:0.1",
    "percentile": "percentile:10",
}
REGIMES = ("vanishing", "exploding")


def run(
    *,
    clips: Sequence[str],
    gains: tuple[float, float],
    length: int,
    examples: int,
    rates: Sequence[float],
    seeds: int,
    steps: int,
    chunk: int,
) -> xr.Dataset:
    """How trainings end with every clipping, at a gain below one and at one above."""
    trained = compare(
        Study(
            trials=grid(
                Trial(
                    model=models.RNN(width=WIDTH, activation="relu", recurrent="init"),
                    data=f"temporal_order:length={length},examples={examples}",
                    init="he",
                    batch=32,
                ),
                gain=gains,
                clip=[CLIPS[name] for name in clips],
            ),
            learning_rates=rates,
            seeds=range(seeds),
            steps=steps,
            chunk=chunk,
        )
    )
    regimes = [
        trained.isel(config=slice(k * len(clips), (k + 1) * len(clips)))
        for k in range(len(REGIMES))
    ]
    ends = [_ends(of_regime) for of_regime in regimes]
    words = "test accuracy minus that without clipping, paired"
    named = {
        "broke": (("seed",), "broke down at the largest rate"),
        "low_share": ((), "share that broke down, Wilson's 95 %, lower end"),
        "high_share": ((), "share that broke down, Wilson's 95 %, upper end"),
        "accuracy": (("seed",), "test accuracy at the best rate"),
        "difference": ((), words),
        "low": ((), f"{words}, lower end of 95 %"),
        "high": ((), f"{words}, upper end of 95 %"),
        "acted": (("seed",), "share of the steps that were clipped, at the best rate"),
    }
    return xr.Dataset(
        {
            name: variable(("regime", "clipping", *dims), [of[name] for of in ends], said)
            for name, (dims, said) in named.items()
        },
        {"regime": list(REGIMES), "clipping": list(clips), "seed": range(seeds)},
        {"chance": trained.attrs["chance"], "gains": list(gains)},
    )


def _ends(trained: xr.Dataset) -> dict[str, np.ndarray]:
    """What is told of every clipping [clips] and training [clips, seeds] of one regime."""
    plain, *_ = labels = trained.label.values.tolist()
    trained = trained.assign_coords(baseline=("config", ["", *[plain] * (len(labels) - 1)]))
    fastest = trained.isel(rate=-1, step=-1)
    broke = fastest.diverged | ~(fastest.test_loss < 2 * trained.attrs["baseline_loss"])
    best = at_best_rate(trained)
    count = broke.sizes["seed"]
    shares = [
        stats.binomtest(int(k), count).proportion_ci(method="wilson") for k in broke.sum("seed")
    ]
    judged = {verdict.label: verdict for verdict in results.verdicts(trained)}
    paired = {
        end: [getattr(judged[label], end) if label in judged else 0.0 for label in labels]
        for end in ("difference", "low", "high")
    }
    order = ("config", "seed")
    return {
        "broke": broke.transpose(*order).values.astype(float),
        "low_share": np.array([share.low for share in shares]),
        "high_share": np.array([share.high for share in shares]),
        "accuracy": best.test_accuracy.isel(step=-1).transpose(*order).values,
        "acted": best.clip_share.mean("step").transpose(*order).values,
        **{end: np.array(values) for end, values in paired.items()},
    }


def rows(data: xr.Dataset) -> list[Row]:
    """For every regime and clipping the share that broke down, and the accuracy at the best rate.

    The errors of shares are those of Wilson's interval: 95 % of it is 1.96 of them either way.
    """
    mean, error = mean_and_error(data.accuracy)
    share = data.broke.mean("seed")
    wilson = (data.high_share - data.low_share) / (2 * stats.norm.ppf(0.975))
    exploding, vanishing = "exploding", "vanishing"
    broke = [
        Row(
            f"{exploding}, {clip}: broke down",
            float(share.sel(regime=exploding, clipping=clip)),
            float(wilson.sel(regime=exploding, clipping=clip)),
            math.nan if clip == "none" else 0.0,
            "Pascanu",
        )
        for clip in data.clipping.values
    ]
    learned = [
        Row(
            f"{regime}, {clip}: accuracy",
            float(mean.sel(regime=regime, clipping=clip)),
            float(error.sel(regime=regime, clipping=clip)),
            data.attrs["chance"] if regime == vanishing else math.nan,
            "chance",
        )
        for regime in (exploding, vanishing)
        for clip in data.clipping.values
    ]
    return [*broke, *learned]


def answer(data: xr.Dataset) -> str:
    """What clipping saves where gradients explode, and whether it does where they vanish."""
    share = data.broke.mean("seed").sel(regime="exploding")
    clipped = share.drop_sel(clipping="none")
    worst = clipped.idxmax("clipping").item()
    accuracy = data.accuracy.mean("seed")
    said = []
    for regime in ("exploding", "vanishing"):
        at = data.sel(regime=regime).drop_sel(clipping="none")
        helps = at.clipping.values[(at.low > 0).values]
        best = accuracy.sel(regime=regime).drop_sel(clipping="none").idxmax("clipping").item()
        of_best = at.sel(clipping=best)
        plain = float(accuracy.sel(regime=regime, clipping="none"))
        said.append(
            f"where gradients are {regime} {len(helps)} of {at.sizes['clipping']} clippings are "
            f"shown to raise the accuracy, the best, {best}, from {plain:.0%} to "
            f"{float(accuracy.sel(regime=regime, clipping=best)):.0%} (95 % interval of the "
            f"difference {float(of_best.low):+.0%} to {float(of_best.high):+.0%})"
        )
    return (
        f"At the largest rate {float(share.sel(clipping='none')):.0%} of the exploding networks "
        f"break down without clipping and {float(clipped.min()):.0%} to "
        f"{float(clipped.max()):.0%} with it (most by {worst}); at the best rate, "
        f"{said[0]}, and {said[1]}."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """Share that broke down, accuracy and clipped steps of every clipping, in both regimes."""
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(1, 1.4, 1))
    broke, accuracy, clipped = panels
    places = np.arange(data.sizes["clipping"])[::-1].astype(float)
    level(accuracy, "chance", "left", x=data.attrs["chance"])
    for k, regime in enumerate(("exploding", "vanishing")):
        of, colour, y = data.sel(regime=regime), reports.COLOURS[k], places + (0.17, -0.17)[k]
        share = of.broke.mean("seed")
        ends = np.abs(np.stack([of.low_share, of.high_share]) - share.values)
        label = f"{regime}, gain {data.attrs['gains'][REGIMES.index(regime)]:g}"
        broke.errorbar(share, y, xerr=ends, fmt="o", color=colour, ms=6, capsize=3, label=label)
        each = np.broadcast_to(y[:, None], of.accuracy.shape).ravel()
        accuracy.plot(of.accuracy.values.ravel(), each, "o", color=colour, alpha=0.4, ms=5)
        accuracy.plot(of.accuracy.mean("seed"), y, "|", color=colour, ms=13, mew=2.2)
        clipped.plot(of.acted.mean("seed"), y, "o", color=colour, ms=6)
    broke.set_yticks(places, data.clipping.values)
    broke.set(title="Broke down", xlabel="share at the largest rate", xlim=(-0.03, 1.03))
    learned = "test accuracy at the best rate (bars: means)"
    accuracy.set(title="Learned", xlabel=learned, xlim=(0, 1.03))
    clipped.set(title="Clipped", xlabel="share of the steps", xlim=(-0.03, 1.03))
    figure.legend(*broke.get_legend_handles_labels(), loc="outside lower center", ncols=2)


EXPERIMENT = Experiment(
    name="clipping",
    question="Which clipping saves exploding gradients, and does it help vanishing ones?",
    source="Pascanu, Mikolov & Bengio, 2013, On the difficulty of training RNNs, arXiv:1211.5063",
    scales={
        "tiny": {
            "clips": ["none", "global norm"],
            "gains": (0.5, 1.2),
            "length": 10,
            "examples": 50,
            "rates": [0.1],
            "seeds": 2,
            "steps": 2,
            "chunk": 1,
        },
        "small": {
            "clips": list(CLIPS),
            "gains": (0.5, 1.15),
            "length": 20,
            "examples": 1000,
            "rates": [0.03, 0.1],
            "seeds": 8,
            "steps": 400,
            "chunk": 100,
        },
        "full": {
            "clips": list(CLIPS),
            "gains": (0.5, 1.15),
            "length": 50,
            "examples": 5000,
            "rates": [0.003, 0.01, 0.03, 0.1],
            "seeds": 16,
            "steps": 4000,
            "chunk": 200,
        },
    },
    run=run,
    title="share of trainings that broke down at the largest rate; test accuracy at the best",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(10.6, 4.6),
)

if __name__ == "__main__":
    main(EXPERIMENT)
