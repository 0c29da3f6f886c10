"""Measured beside predicted, layer by layer."""

from typing import Any, NamedTuple

import numpy as np

from ._profile import Measured, Profile
from ._words import folds


class Comparison(NamedTuple):
    """Measured and predicted log-gains by position along the main path, [depth] each.

    Attributes:
      names: label of each position, input side first.
      measured: mean over runs of the activation's log-gain.
      predicted: the forecast of it.
      standard_error: of `measured`, from the spread over runs; NaN with a single run.
      linear_measured: mean over runs of the linear map's log-gain; NaN at the first position.
      linear_predicted: the forecast of it.
      linear_standard_error: as above.
      predicted_rate: predicted log-gain a layer over the whole path, activation and linear.
      measured_rate: the measured one.
      rate_standard_error: of `measured_rate`.
      runs: how many flows were averaged.
    """

    names: tuple[str, ...]
    measured: np.ndarray
    predicted: np.ndarray
    standard_error: np.ndarray
    linear_measured: np.ndarray
    linear_predicted: np.ndarray
    linear_standard_error: np.ndarray
    predicted_rate: float
    measured_rate: float
    rate_standard_error: float
    runs: int

    @property
    def difference(self) -> np.ndarray:
        """[depth]: measured minus predicted log-gain of the activations."""
        return self.measured - self.predicted

    @property
    def linear_difference(self) -> np.ndarray:
        """[depth]: measured minus predicted log-gain of the linear maps."""
        return self.linear_measured - self.linear_predicted

    @property
    def z(self) -> np.ndarray:
        """[depth]: `difference` in standard errors; NaN with a single run."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.difference / self.standard_error

    @property
    def linear_z(self) -> np.ndarray:
        """[depth]: `linear_difference` in standard errors."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.linear_difference / self.linear_standard_error

    def __str__(self) -> str:
        spread = f" ± {self.rate_standard_error:.3f}" if self.runs > 1 else ""
        return (
            f"measured: the gradient {folds(self.measured_rate)} ({self.measured_rate:+.3f}{spread}"
            f" in ln); predicted: it {folds(self.predicted_rate)} ({self.predicted_rate:+.3f})"
        )


def compare(forecast: Any, flow: Measured | Profile) -> Comparison:
    """A forecast beside the flow it foretold, per layer, in log-gains and in standard errors.

    Args:
      forecast: with `log_gain` and `linear_log_gain`, [depth] each, as `theory.forecast` gives;
        NaN where it foretells nothing.
      flow: measured; with leading axes (a vmap over seeds, several flows stacked) the mean over
        them is compared and its standard error is their deviation (n - 1) over √n.

    Raises:
      ValueError: the forecast is of another number of layers.
    """
    profile = Profile.of(flow)
    measured, linear = profile.path("log_gain"), profile.path("linear_log_gain")
    predicted = np.asarray(forecast.log_gain, np.float64)
    linear_predicted = np.asarray(forecast.linear_log_gain, np.float64)
    if predicted.shape != (profile.depth,) or linear_predicted.shape != (profile.depth,):
        msg = (
            f"the forecast is of {predicted.shape[-1] if predicted.ndim else 0} layers, "
            f"the flow's main path has {profile.depth}"
        )
        raise ValueError(msg)
    rates = (measured.sum(-1) + linear[:, 1:].sum(-1)) / profile.depth
    return Comparison(
        names=profile.names[: profile.depth],
        measured=measured.mean(0),
        predicted=predicted,
        standard_error=_standard_error(measured),
        linear_measured=linear.mean(0),
        linear_predicted=linear_predicted,
        linear_standard_error=_standard_error(linear),
        predicted_rate=float(predicted.sum() + linear_predicted[1:].sum()) / profile.depth,
        measured_rate=float(rates.mean()),
        rate_standard_error=float(_standard_error(rates)),
        runs=profile.runs,
    )


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Of the mean over axis 0; NaN for a single one."""
    n = len(values)
    if n == 1:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(0, ddof=1) / np.sqrt(n))
