"""What a sweep's dataset says of a training: how soon it works, which learning rates it takes."""

import numpy as np
import pandas as pd
import xarray as xr

from ._scores import scores


def steps_to(dataset: xr.Dataset, level: float | None = None) -> xr.DataArray:
    """The first recorded step from which the score stays at least there; NaN for never.

    Dims [config, rate, seed]; the score is that of `scores`. The default level is the sweep's own
    `trains_above`.

    Raises:
      ValueError: the dataset does not say how it is judged: not the results of a sweep.
    """
    wanted = float(dataset.attrs["trains_above"] if level is None else level)
    reached = scores(dataset) >= wanted
    # From the end: a step counts if it and all after it are above.
    stays = (
        reached.isel(step=slice(None, None, -1)).cumprod("step").isel(step=slice(None, None, -1))
    )
    first = dataset.step.where(stays > 0).min("step")
    return first.assign_attrs(long_name=f"steps to a score of {wanted:g} on the test", units="step")


def rate_window(dataset: xr.Dataset) -> xr.Dataset:
    """The best and the stable learning rates of each configuration, dims [config].

    `best` is the one at which the fewest seeds diverge and, of several, that with the lowest mean
    training loss of the others at the end. `stable_low` to `stable_high` are the smallest and
    largest rates at which every seed ends with a finite training loss below its first record; NaN
    where there is none.
    """
    loss, rate = dataset.train_loss, dataset.learning_rate
    last = loss.isel(step=-1)
    sound = np.isfinite(last)
    kept = sound.sum("seed")
    mean = last.where(sound).mean("seed").where(kept == kept.max("rate"))
    best = rate.isel(rate=mean.fillna(np.finfo(np.float32).max).argmin("rate"))
    stable = (sound & (last < loss.isel(step=0))).all("seed")
    described = {
        "best": (best, "learning rate at which fewest diverge, and the training loss ends lowest"),
        "stable_low": (rate.where(stable).min("rate"), "smallest stable learning rate"),
        "stable_high": (rate.where(stable).max("rate"), "largest stable learning rate"),
    }
    return xr.Dataset(
        {
            name: values.drop_vars("rate", errors="ignore").assign_attrs(long_name=words, units="1")
            for name, (values, words) in described.items()
        }
    )


def to_dataframe(dataset: xr.Dataset) -> pd.DataFrame:
    """One row a training: its settings, learning rate and seed, and where it ended.

    Columns: every setting of the configuration, `learning_rate`, `seed`, the last value of every
    curve, `diverged`, and `steps_to` where the sweep has a level.
    """
    point = ("config", "rate", "seed")
    ends = dataset.drop_dims([d for d in ("depth", "record", "quantile") if d in dataset.dims])
    if "step" in ends.dims:
        ends = ends.isel(step=-1, drop=True)
    if "score" in dataset and np.isfinite(dataset.attrs.get("trains_above", np.nan)):
        ends = ends.assign(steps_to=steps_to(dataset))
    rows = [
        {
            **{
                str(name): ends[name].values[c]
                for name in ends.coords
                if ends[name].dims == ("config",)
            },
            "learning_rate": float(ends.learning_rate.values[c, r]),
            "seed": int(ends.seed.values[s]),
            **{
                str(name): ends[name].transpose(*point).values[c, r, s]
                for name in ends.data_vars
                if set(ends[name].dims) == set(point)
            },
        }
        for c in range(ends.sizes["config"])
        for r in range(ends.sizes["rate"])
        for s in range(ends.sizes["seed"])
    ]
    return pd.DataFrame(rows)
