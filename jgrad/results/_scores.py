"""How configurations are judged: by which number, and what it is held against."""

from collections.abc import Mapping
from typing import NamedTuple

import xarray as xr

#: Score → the variable that holds it.
SCORES: Mapping[str, str] = {
    "accuracy": "test_accuracy",
    "explained variance": "explained_variance",
    "loss": "test_loss",
}


class Yardstick(NamedTuple):
    """What a configuration's numbers are held against; its task decides.

    Attributes:
      score: how it is judged, a name in `SCORES`.
      chance: the score of the best answer that does not look at the example; NaN for a loss.
      baseline_loss: the loss of one who knows only how often each answer comes, or NaN.
      loss_unit: the unit of the losses; "" where nobody knows it.
    """

    score: str
    chance: float
    baseline_loss: float
    loss_unit: str


def scores(dataset: xr.Dataset) -> xr.DataArray:
    """Each configuration's score along training, larger is better: [config, rate, seed, step].

    That is the test accuracy, the explained variance, or the negative test loss, as `score` says.

    Raises:
      ValueError: the dataset does not say, or lacks the variable: quotes it.
    """
    kinds = dict.fromkeys(dataset["score"].values.tolist() if "score" in dataset else [""])
    found = None
    for kind in kinds:
        name = SCORES.get(kind)
        if name not in dataset:
            msg = (
                f"judged by its {kind}, but no {name} in the dataset"
                if name
                else "no score in the dataset: it does not say how its configurations are judged"
            )
            raise ValueError(msg)
        values = -dataset[name] if kind == "loss" else dataset[name]
        found = values if found is None else values.where(dataset["score"] == kind, found)
    assert found is not None
    return found.drop_attrs()
