"""Several datasets as one: configurations one after the other, depth filled up."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ._schema import VARIABLES


def merge(datasets: Sequence[xr.Dataset]) -> xr.Dataset:
    """The configurations of several datasets in one.

    Networks may differ in depth: profiles are filled up with NaN, sites with "". A setting that
    some of them do not have is "" there. Attributes are kept where all agree.

    Raises:
      ValueError: no datasets, two configurations of one label, or seeds, steps, records or numbers
        of learning rates that differ; quotes them.

    Example:
      >>> from jgrad.results import build
      >>> parts = [build({"label": [name], "seed": [0, 1]}, {}) for name in ("tanh", "relu")]
      >>> merge(parts).label.values.tolist()
      ['tanh', 'relu']
    """
    if not datasets:
        msg = "no datasets to merge"
        raise ValueError(msg)
    for name in ("seed", "step", "record", "quantile"):
        _check_equal(name, [d[name].values.tolist() for d in datasets if name in d.coords])
    _check_equal("number of learning rates", [d.sizes.get("rate") for d in datasets])
    labels = [label for d in datasets if "label" in d for label in d.label.values.tolist()]
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if twice:
        msg = f"configuration {twice[0]!r} is in more than one of the datasets"
        raise ValueError(msg)
    if len(datasets) == 1:
        return datasets[0]
    depth = max(d.sizes.get("depth", 0) for d in datasets)
    widened = [_widened(d, depth, datasets) for d in datasets]
    return xr.concat(
        widened,
        "config",
        data_vars="minimal",
        coords="minimal",
        compat="equals",
        join="exact",
        combine_attrs="drop_conflicts",
    )


def _check_equal(what: str, values: Sequence[object]) -> None:
    different = list(dict.fromkeys(map(repr, values)))
    if len(different) > 1:
        msg = f"datasets of different {what} cannot be merged: {different[0]} and {different[1]}"
        raise ValueError(msg)


def _widened(dataset: xr.Dataset, depth: int, others: Sequence[xr.Dataset]) -> xr.Dataset:
    """The dataset with all of the others' settings and with profiles of that depth."""
    missing = depth - dataset.sizes.get("depth", depth)
    if missing:
        site = dataset.site if "site" in dataset.coords else None
        dataset = dataset.drop_vars("site", errors="ignore").pad(
            depth=(0, missing), constant_values=np.nan
        )
        if site is not None:
            filled = np.full((dataset.sizes["config"], depth), "", dtype=object)
            filled[:, : site.sizes["depth"]] = site.values
            dataset = dataset.assign_coords(site=(site.dims, filled, site.attrs))
    for name in dict.fromkeys(name for other in others for name in other.coords):
        dims = VARIABLES.get(str(name), (("config",),))[0]
        everywhere = all(name in other.coords for other in others)
        kinds = {other[name].dtype.kind for other in others if name in other.coords}
        if dims != ("config",) or (everywhere and len(kinds - {"O", "U"}) == len(kinds) == 1):
            continue
        column = dataset[name].values.tolist() if name in dataset.coords else None
        words = [str(v) for v in column] if column else [""] * dataset.sizes["config"]
        attrs = next(other[name].attrs for other in others if name in other.coords)
        dataset = dataset.assign_coords({name: ("config", np.asarray(words, object), attrs)})
    return dataset
