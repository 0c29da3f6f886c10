"""What theory predicts of a network before it is trained, at the depths where it is measured."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jgrad import inits, theory
from jgrad._types import PyTree
from jgrad.models import MLP


class Predicted(NamedTuple):
    """Log-gains at initialisation, [depth] each, input side first; NaN where there is no theory."""

    log_gain: Float[np.ndarray, " depth"]
    linear_log_gain: Float[np.ndarray, " depth"]


def predicted(model: MLP, init: str, params: PyTree, x: np.ndarray, *, batch: int) -> Predicted:
    """The mean-field forecast of one configuration.

    σ_w² is `width` times the mean square of the kernels in `params` (any leading axes), which holds
    for every initialiser; the first pre-activation's second moment follows from the examples `x`.
    With a skip, h + φ(W h), or with zeros for weights there is no forecast.
    """
    if model.skip or model.norm not in _DESCRIBED or not _sigma_w(model, params) > 0:
        nothing = np.full(model.depth, np.nan)
        return Predicted(nothing, nothing)
    forecast = theory.forecast(_DESCRIBED[model.norm](model, init, params, x, batch))
    return Predicted(forecast.log_gain, forecast.linear_log_gain)


def _plain(model: MLP, init: str, params: PyTree, x: np.ndarray, batch: int) -> theory.Plain:
    del batch
    orthogonal = inits.get(init) is inits.get("orthogonal")
    return theory.Plain(
        phi=model.activation,
        depth=model.depth,
        sigma_w=_sigma_w(model, params),
        q0=_mean_square(params["first"]["linear"]["kernel"]) * float((x**2).sum(-1).mean()),
        width=float(model.width),
        weights="orthogonal" if orthogonal else "gaussian",
    )


def _batch(model: MLP, init: str, params: PyTree, x: np.ndarray, batch: int) -> theory.BatchNorm:
    del init, params, x
    return theory.BatchNorm(phi=model.activation, depth=model.depth, batch=float(max(batch, 4)))


def _layer(model: MLP, init: str, params: PyTree, x: np.ndarray, batch: int) -> theory.LayerNorm:
    del init, x, batch
    return theory.LayerNorm(
        phi=model.activation, depth=model.depth, sigma_w=_sigma_w(model, params)
    )


_DESCRIBED = {"none": _plain, "batch": _batch, "layer": _layer, "rms": _layer}


def _sigma_w(model: MLP, params: PyTree) -> float:
    layer = params["layers" if model.depth > 1 else "first"]
    return math.sqrt(model.width * _mean_square(layer["linear"]["kernel"]))


def _mean_square(kernel: np.ndarray) -> float:
    return float(np.mean(np.asarray(kernel, np.float64) ** 2))
