"""The steepest stretch of a chain of layers, and what to say of the whole of it."""

import math
from typing import Any, NamedTuple

import numpy as np

from ._compare import compare
from ._finding import mean_log
from ._profile import Measured, Profile
from ._words import blame, factor, folds


class Span(NamedTuple):
    """A stretch of the main path, from position `first` to `last` (both in it), and its gains.

    Attributes:
      first: its position nearest the input.
      last: its position nearest the output.
      log_gain: ln(‖δz at first‖ / ‖δa at last‖), mean over the runs looked at.
      activation: the part that the activations did.
      linear: the part that the linear maps between them did.
    """

    first: int
    last: int
    log_gain: float
    activation: float
    linear: float

    @property
    def layers(self) -> int:
        """How many activations it passes."""
        return self.last - self.first + 1

    @property
    def rate(self) -> float:
        """Log-gain a layer."""
        return self.log_gain / self.layers


def span(profile: Profile, first: int, last: int, runs: np.ndarray) -> Span:
    """The gains between two positions, averaged over the runs chosen by a bool [runs].

    NaN where none is chosen.
    """
    if not runs.any():
        return Span(first, last, math.nan, math.nan, math.nan)
    total = profile.path("log_dz")[runs, first] - profile.path("log_da")[runs, last]
    # Below a place where the gradient became exactly 0 the gains are 0/0: they are left out.
    activation = np.nansum(profile.path("log_gain")[runs, first : last + 1], axis=-1)
    # Around a site that the gradient passes by, -inf and +inf: the maps did what is left.
    with np.errstate(invalid="ignore"):
        linear = np.nansum(profile.path("linear_log_gain")[runs, first + 1 : last + 1], axis=-1)
    np.subtract(total, activation, out=linear, where=np.isfinite(total))
    return Span(first, last, mean_log(total), mean_log(activation), mean_log(linear))


def extremes(profile: Profile, direction: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The steepest change of the gradient towards the input, in each run.

    Args:
      profile: of one or several runs.
      direction: -1 for the deepest fall, +1 for the highest rise.

    Returns:
      (change, first, last), each [runs]: the largest direction · ln(‖δz_i‖ / ‖δa_j‖) over
      positions i ≤ j, and its i and j. Where no gradient arrives at j (δa_j = 0), nothing is said
      of that j; where none arrives anywhere, or nothing changes that way, the change is 0. A site
      without a gradient before which there is one is passed by: a gate on the state 0 that a
      recurrent net begins with.
    """
    dz, da = profile.path("log_dz"), profile.path("log_da")
    with np.errstate(invalid="ignore"):
        change = direction * (dz[:, :, None] - da[:, None, :])
    depth = dz.shape[-1]
    passed_by = (dz == -np.inf) & np.logical_or.accumulate(np.isfinite(dz), axis=-1)
    allowed = np.triu(np.ones((depth, depth), bool)) & np.isfinite(da)[:, None, :]
    allowed &= ~passed_by[:, :, None]
    change = np.where(allowed & ~np.isnan(change), change, 0.0)
    flat = change.reshape(len(change), -1)
    # Among equal changes (a fall to exactly zero) the one nearest the output is where it happened.
    best = flat.shape[-1] - 1 - flat[:, ::-1].argmax(-1)
    return flat.max(-1), best // depth, best % depth


def headline(flow: Measured | Profile, forecast: Any = None) -> str:
    """One sentence on the whole main path: how the gradient changes, who does it, what theory says.

    Args:
      flow: as measured; several runs are averaged in the log.
      forecast: optional, with `log_gain` and `linear_log_gain` by layer as theory.forecast gives.

    Raises:
      ValueError: `forecast` is of another number of layers.
    """
    profile = Profile.of(flow)
    arriving = profile.path("log_da")[:, -1]
    arrives = np.isfinite(arriving)
    layers = f"{profile.depth} activation" + ("s" if profile.depth > 1 else "")
    if not arrives.any():
        nothing = ": nothing can be said of the gains."
        if np.isneginf(arriving).all():
            return f"No gradient reaches the last of {layers}{nothing}"
        return f"The gradient that reaches the last of {layers} is not finite{nothing}"
    whole = span(profile, 0, profile.depth - 1, arrives)
    said = f"Over {layers} the gradient norm {folds(whole.rate)} towards the input"
    if whole.log_gain == -math.inf:
        said = f"Over {layers} the gradient becomes exactly 0 on its way to the input"
    elif not math.isfinite(whole.log_gain):
        return f"Over {layers} the gradient becomes non-finite on its way to the input."
    elif abs(whole.rate) >= 0.005:
        said += (
            f" ({factor(whole.log_gain)} of it arrives); {blame(whole.activation, whole.linear)}"
        )
    if forecast is not None:
        rate = compare(forecast, profile).predicted_rate
        said += f"; theory predicts that it {folds(rate)}"
    return said + "."


def narrowest(flow: Measured | Profile) -> str:
    """One sentence on the activation that lets the smallest share of the gradient's norm through.

    Args:
      flow: as measured; several runs are averaged in the log.
    """
    profile = Profile.of(flow)
    measured = np.where(np.isposinf(profile.path("log_da")), np.nan, profile.path("log_gain"))
    gains = np.array([mean_log(column) for column in measured.T])
    if np.isnan(gains).all():
        return "No finite gradient goes through any activation."
    k = int(np.nanargmin(gains))
    slope = np.sqrt(np.mean(profile.path("slope_second")[:, k]))
    who = profile.names[k] + (f" ({profile.activations[k]})" if profile.activations[k] else "")
    least = "" if profile.depth == 1 else "the least of the gradient, "
    share = factor(float(gains[k]))
    return f"{who} passes on {least}{share} of its norm; its rms slope is {slope:.2g}."
