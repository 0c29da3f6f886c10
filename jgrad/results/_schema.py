"""What is in a dataset of results: every variable with its dims, units and long name."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

#: Version of the layout below. Files of versions 1 and 2 are read too, as `upgraded` says; one of
#: another is refused with its number.
SCHEMA = 3

_POINT = ("config", "rate", "seed")
_PROFILE = (*_POINT, "record", "depth")

#: Variable → (dims, units, long name). What is not here is in no dataset.
VARIABLES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "activation": (("config",), "", "activation"),
    "init": (("config",), "", "initialiser of the kernels"),
    "norm": (("config",), "", "normalisation of the pre-activations"),
    "skip": (("config",), "", "layers add their input to their output"),
    "optimizer": (("config",), "", "optimiser"),
    "clip": (("config",), "", "gradient clipping"),
    "layers": (("config",), "1", "hidden layers"),
    "width": (("config",), "1", "units of a hidden layer"),
    "program": (("config",), "", "the compiled program that trained it"),
    "label": (("config",), "", "the configuration in a few words"),
    "remedy": (("config",), "", "what was tried on the baseline, empty in the base grid"),
    "baseline": (("config",), "", "label of the configuration it remedies, or empty"),
    "data": (("config",), "", "data set"),
    "score": (("config",), "", "how it is judged: by accuracy, explained variance, or loss"),
    "chance": (("config",), "1", "score of the best answer that does not look at the example"),
    "baseline_loss": (
        ("config",),
        "",
        "test loss of one who knows only how often each answer comes, in loss_unit",
    ),
    "loss_unit": (("config",), "", "unit of the losses; empty where nobody knows it"),
    "seed": (("seed",), "", "seed of the parameters and batches"),
    "step": (("step",), "step", "steps trained"),
    "record": (("record",), "step", "steps trained when the flow was recorded"),
    "quantile": (("quantile",), "1", "which quantile over the steps since the step before"),
    "site": (("config", "depth"), "", "activation site, input side first; empty past the last"),
    "learning_rate": (("config", "rate"), "1", "learning rate"),
    "train_loss": ((*_POINT, "step"), "", "mean training loss since the step before, in loss_unit"),
    "test_loss": ((*_POINT, "step"), "", "loss over all test examples, in loss_unit"),
    "test_accuracy": (
        (*_POINT, "step"),
        "1",
        "share of the test examples classed rightly; NaN where answers are no classes",
    ),
    "explained_variance": (
        (*_POINT, "step"),
        "1",
        "share of the test answers' variance explained; NaN where answers are no numbers",
    ),
    "diverged": (_POINT, "", "some training loss or gradient was not finite"),
    "diverged_at": (
        _POINT,
        "step",
        "first step whose loss or gradient was not finite; NaN for none",
    ),
    "gradient_norm": (
        (*_POINT, "step", "quantile"),
        "1",
        "norm of the whole gradient before clipping, quantiles since the step before",
    ),
    "clip_share": (
        (*_POINT, "step"),
        "1",
        "share of the steps since the step before in which clipping acted",
    ),
    "sharpness": ((*_POINT, "record"), "1", "largest Hessian eigenvalue of a batch's loss"),
    "log_gain": (_PROFILE, "nat", "ln ‖δz‖/‖δa‖: what the activation did to the gradient"),
    "linear_log_gain": (
        _PROFILE,
        "nat",
        "ln ‖δa of the site before‖/‖δz‖: what the linear map did to the gradient",
    ),
    "log_da": (_PROFILE, "nat", "ln ‖δa‖, of the loss's gradient in the activation's output"),
    "log_dz": (_PROFILE, "nat", "ln ‖δz‖, of the loss's gradient in the pre-activation"),
    "slope_mean": (_PROFILE, "1", "mean φ'(z)"),
    "slope_second": (_PROFILE, "1", "mean φ'(z)²"),
    "z_second": (_PROFILE, "1", "mean z²"),
    "a_second": (_PROFILE, "1", "mean a²"),
    "zero_slope_share": (_PROFILE, "1", "share of elements with φ'(z) exactly 0"),
    "dead_share": (_PROFILE, "1", "share of units whose φ' is 0 on the whole batch"),
    "forecast_log_gain": (("config", "depth"), "nat", "log_gain that theory predicts at step 0"),
    "forecast_linear_log_gain": (
        ("config", "depth"),
        "nat",
        "linear_log_gain that theory predicts at step 0",
    ),
}

_INDEX = ("seed", "step", "record", "quantile")

#: Settings of another name here: "depth" is a dimension, and layers are what it counts.
_RENAMED = {"depth": "layers", "layers": "branch_layers"}


def build(
    values: Mapping[str, Any],
    attrs: Mapping[str, Any],
    *,
    settings: Mapping[str, Sequence[Any]] | None = None,
) -> xr.Dataset:
    """The dataset of named arrays, each with the dims, units and long name of `VARIABLES`.

    Args:
      values: name in `VARIABLES` → array.
      attrs: attributes of the whole.
      settings: further names → a value for each configuration.

    Raises:
      ValueError: a name is not in the table, a setting has a variable's name, or sizes disagree
        (xarray says which).

    Example:
      >>> dataset = build({"seed": [0, 1, 2], "learning_rate": [[0.1, 0.2]]}, {})
      >>> dataset.learning_rate.dims, sorted(dataset.sizes.items())
      (('config', 'rate'), [('config', 1), ('rate', 2), ('seed', 3)])
    """
    unknown = sorted(set(values) - set(VARIABLES))
    if unknown:
        msg = f"not variables of a result: {', '.join(unknown)}"
        raise ValueError(msg)
    extra = {_RENAMED.get(name, name): column for name, column in (settings or {}).items()}
    clash = [name for name in extra if VARIABLES.get(name, (("config",),))[0] != ("config",)]
    if clash:
        msg = f"a setting cannot be called {clash[0]!r}: it is a variable of every result"
        raise ValueError(msg)
    arrays = {
        name: xr.Variable(dims, np.asarray(values[name]), _described(units, long_name))
        for name, (dims, units, long_name) in VARIABLES.items()
        if name in values
    }
    for name, column in extra.items():
        _, units, long_name = VARIABLES.get(name, ((), "", name.replace("_", " ")))
        arrays[name] = xr.Variable(("config",), np.asarray(column), _described(units, long_name))
    labels = (name for name in arrays if arrays[name].dims == ("config",) or name == "site")
    coords = {name: arrays[name] for name in (*_INDEX, *labels) if name in arrays}
    return xr.Dataset(
        {name: array for name, array in arrays.items() if name not in coords},
        coords,
        {"schema": SCHEMA, **attrs},
    )


def upgraded(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset of an older layout in today's.

    In version 1 all configurations had the same sites. Up to version 2 the data set and what it is
    held against were attributes, an explained variance stood under the name of an accuracy, and of
    several data sets nothing was said: their `score` is "" here.

    Raises:
      ValueError: it is of no version that is known; quotes it.
    """
    version = dataset.attrs.get("schema")
    if version == SCHEMA:
        return dataset
    if version not in (1, 2):
        msg = f"schema {version}; this version of jgrad reads schemas 1 to {SCHEMA}"
        raise ValueError(msg)
    if "config" in dataset.sizes:
        if version == 1 and "site" in dataset.coords:
            site = dataset.site.expand_dims(config=dataset.sizes["config"])
            site.attrs = _described(*VARIABLES["site"][1:])
            dataset = dataset.drop_vars("site").assign_coords(site=site)
        dataset = _judged(dataset)
    return dataset.assign_attrs(schema=SCHEMA)


def _judged(dataset: xr.Dataset) -> xr.Dataset:
    """With what version 2 said of its one data set as coordinates, and a score by its own name."""
    attrs = dict(dataset.attrs)
    told = {"score": "", "chance": math.nan, "baseline_loss": math.nan, "loss_unit": ""}
    accuracy = dataset.get("test_accuracy")
    if "classes" in attrs:
        numbers = attrs.get("chance") == 0
        chance = float(attrs.pop("chance", 1 / attrs["classes"]))
        told = {
            "data": attrs.pop("data", ""),
            "score": "explained variance" if numbers else "accuracy",
            "chance": chance,
            "baseline_loss": float(attrs.pop("baseline_loss", -math.log(chance or 1))),
            "loss_unit": "" if numbers else "nat",
        }
        if numbers and accuracy is not None:
            dataset = dataset.rename(test_accuracy="explained_variance")
    elif accuracy is not None and bool(accuracy.isnull().all()):
        told["score"] = "loss"
    columns = {
        name: ("config", [value] * dataset.sizes["config"], _described(*VARIABLES[name][1:]))
        for name, value in told.items()
        if name not in dataset
    }
    dataset = dataset.assign_coords(columns)
    for name in {"train_loss", "test_loss", "explained_variance"} & set(map(str, dataset)):
        dataset[name].attrs = _described(*VARIABLES[name][1:])
    dataset.attrs = attrs
    return dataset


def _described(units: str, long_name: str) -> dict[str, str]:
    return {"long_name": long_name} | ({"units": units} if units else {})
