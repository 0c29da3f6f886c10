"""Orthogonal weights and a nearly linear φ keep all singular values of the Jacobian near 1.

Critical networks of several depths are drawn, Gaussian or orthogonal, with pre-activations of
second moment q; the eigenvalues of J Jᵀ of the whole map are computed, and their variance over
their squared mean is put beside free probability's.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from _experiment import Experiment, Row, beside, main, mean_and_error, variable
from matplotlib.figure import Figure

from jgrad import activations, inits, jacobians, reports, theory

WEIGHTS = {"gaussian": "lecun_normal", "orthogonal": "orthogonal"}


def run(
    *, cases: Sequence[Sequence[str]], q: float, depths: Sequence[int], width: int, seeds: int
) -> xr.Dataset:
    """Eigenvalues of J Jᵀ for every case and depth; their variance and theory's."""
    eigenvalues = np.array(
        [
            [_eigenvalues(phi, weights, q, depth, width, seeds) for depth in depths]
            for phi, weights in cases
        ]
    )
    relative = eigenvalues / eigenvalues.mean(-1, keepdims=True)
    predicted = [
        [theory.spectrum_variance(phi, depth, q=q, weights=weights) for depth in depths]  # type: ignore[arg-type]
        for phi, weights in cases
    ]
    return xr.Dataset(
        {
            "eigenvalue": variable(
                ("case", "depth", "seed", "index"), relative, "eigenvalue of J Jᵀ over their mean"
            ),
            "variance": variable(
                ("case", "depth", "seed"), relative.var(-1), "variance over squared mean"
            ),
            "predicted": variable(("case", "depth"), predicted, "the same by theory"),
        },
        {"case": [" ".join(case) for case in cases], "depth": list(depths)},
    )


def _eigenvalues(
    phi: str, weights: str, q: float, depth: int, width: int, seeds: int
) -> np.ndarray:
    """Of J Jᵀ, the largest first, [seeds, width]."""
    f = activations.get(phi)
    slope, second = theory.average(f, q, lambda at: at.slope**2, lambda at: at.value**2)
    # Critical where q is a fixed point; else (relu) without biases, whatever q.
    sigma_w = 1 / math.sqrt(slope)
    sigma_b = math.sqrt(max(q - second / slope, 0.0))
    draw = inits.get(WEIGHTS[weights])

    def one(key: jax.Array) -> jax.Array:
        of_w, of_b, of_x = jax.random.split(key, 3)
        w = jax.lax.map(
            lambda k: sigma_w * draw(k, (width, width), jnp.float32),
            jax.random.split(of_w, depth),
        )
        b = sigma_b * jax.random.normal(of_b, (depth, width))

        def network(z: jax.Array) -> jax.Array:
            return jax.lax.scan(lambda z, of: (f(z) @ of[0] + of[1], None), z, (w, b))[0]

        z = math.sqrt(q) * jax.random.normal(of_x, (1, width))
        return jacobians.singular_values(network)(z)[0] ** 2

    keys = jax.random.split(jax.random.key(depth), seeds)
    return np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), np.float64)


def rows(data: xr.Dataset) -> list[Row]:
    """The variance for every case and depth."""
    return beside(data.variance, data.predicted, lambda at: f"{at['case']}, {at['depth']} layers")


def answer(data: xr.Dataset) -> str:
    """Which case is nearest to an isometry, which farthest, and how far theory is off."""
    deepest = data.isel(depth=-1)
    mean, _ = mean_and_error(deepest.variance)
    best, worst = (mean.case.values[int(k)] for k in (mean.argmin("case"), mean.argmax("case")))
    off = float(abs(mean_and_error(data.variance)[0] / data.predicted - 1).median())
    return (
        f"At {int(deepest.depth)} layers the eigenvalues of J Jᵀ vary least for {best}, by "
        f"{math.sqrt(float(mean.min())):.2f} of their mean, and most for {worst}, by "
        f"{math.sqrt(float(mean.max())):.2f}; theory's variance is off by {off:.0%} in the median."
    )


def paint(figure: Figure, data: xr.Dataset) -> None:
    """The spectra of the deepest networks; the variance by depth, theory dashed."""
    spectra, by_depth = figure.subplots(1, 2)
    mean, error = mean_and_error(data.variance)
    share = (np.arange(data.sizes["index"]) + 0.5) / data.sizes["index"]
    for k, case in enumerate(data.case.values):
        colour = reports.COLOURS[k]
        values = data.eigenvalue.sel(case=case).isel(depth=-1).mean("seed")
        spectra.plot(share, np.sqrt(np.maximum(values, 1e-12)), color=colour, lw=2, label=case)
        by_depth.plot(
            data.depth, data.predicted.sel(case=case), color=reports.INK, lw=1, ls=(0, (4, 3))
        )
        # Two of them have the same variance: apart, so that both are seen.
        by_depth.errorbar(
            data.depth * 1.04 ** (k - 1),
            mean.sel(case=case),
            2 * error.sel(case=case),
            fmt="o",
            color=colour,
            ms=6,
            capsize=3,
        )
    spectra.set(
        title=f"Spectra at {int(data.depth[-1])} layers",
        xlabel="share of the singular values above",
        ylabel="singular value, relative",
        yscale="log",
        ylim=(1e-2, None),
    )
    spectra.legend()
    by_depth.plot([], [], color=reports.INK, lw=1, ls=(0, (4, 3)), label="theory")
    by_depth.set(
        title="Variance grows with depth",
        xlabel="layers",
        ylabel="variance of the eigenvalues of J Jᵀ",
        xscale="log",
        yscale="log",
    )
    by_depth.set_xticks(data.depth.values, [f"{depth}" for depth in data.depth.values])
    by_depth.minorticks_off()
    by_depth.legend()


CASES = [["tanh", "gaussian"], ["tanh", "orthogonal"], ["relu", "orthogonal"]]

EXPERIMENT = Experiment(
    name="pennington_2017",
    question="Which deep networks are isometries, singular value by singular value?",
    source="Pennington, Schoenholz & Ganguli, 2017, Resurrecting the sigmoid, arXiv:1711.04735",
    scales={
        "tiny": {"cases": CASES[:2], "q": 0.1, "depths": [2, 4], "width": 24, "seeds": 2},
        "small": {"cases": CASES, "q": 0.05, "depths": [4, 16, 64], "width": 128, "seeds": 4},
        "full": {
            "cases": [*CASES, ["relu", "gaussian"], ["erf", "orthogonal"]],
            "q": 0.05,
            "depths": [4, 16, 64, 256],
            "width": 1000,
            "seeds": 8,
        },
    },
    run=run,
    title="variance over squared mean of the eigenvalues of J Jᵀ",
    rows=rows,
    answer=answer,
    paint=paint,
    size=(9.6, 4.4),
)

if __name__ == "__main__":
    main(EXPERIMENT)
