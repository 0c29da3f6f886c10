"""A measured flow as a labelled dataset."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from jgrad.probes import Flow

#: Quantities of a `SiteFlow` that are one number a site and step.
QUANTITIES = (
    "count",
    "z_mean",
    "z_second",
    "a_mean",
    "a_second",
    "slope_mean",
    "slope_second",
    "mean_log_slope",
    "log_da",
    "log_dz",
    "log_gain",
    "linear_log_gain",
    "zero_slope_share",
    "zero_gradient_share",
    "dead_share",
    "unfed_share",
    "nonfinite",
)


def flow_dataset(flow: Flow) -> xr.Dataset:
    """A flow as a dataset: a place for every site and step of the scans that it stands in.

    Variables are those of `SiteFlow` that were measured, over `place`, behind the dimensions
    `run_0`, `run_1`, ... of a `vmap` or of stacked flows. Coordinates of a place: `site` (its key),
    `step` (such as "3", or "0,3" in nested scans; "" outside), `activation`, `path`, `source`,
    `shape`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jgrad import probes
      >>> flow = probes.gradient_flow(lambda x: jnp.sum(jnp.tanh(x)))(jnp.zeros((2, 3)))
      >>> flow_dataset(flow)["slope_mean"].values
      array([1.], dtype=float32)
    """
    places = [(key, step) for key in flow for step in np.ndindex(flow[key].site.steps)]
    sites = [flow[key].site for key, _ in places]
    variables = {}
    for name in QUANTITIES:
        columns = []
        try:
            for key in flow:
                values = np.asarray(getattr(flow[key], name))
                runs = values.shape[: values.ndim - len(flow[key].site.steps)]
                columns.append(values.reshape(*runs, -1))
        except ValueError:  # not measured
            continue
        dims = (*(f"run_{k}" for k in range(columns[0].ndim - 1)), "place")
        variables[name] = (dims, np.concatenate(columns, axis=-1))
    coords: dict[str, Any] = {
        "site": [key for key, _ in places],
        "step": [",".join(map(str, step)) for _, step in places],
        "activation": [site.activation for site in sites],
        "path": [site.path for site in sites],
        "source": [site.source for site in sites],
        "shape": ["×".join(map(str, site.shape)) for site in sites],
    }
    return xr.Dataset(variables, {name: ("place", values) for name, values in coords.items()})


def flow_dataframe(flow: Flow) -> pd.DataFrame:
    """A flow as a table: a row for every site, step and run; columns as of `flow_dataset`."""
    return flow_dataset(flow).to_dataframe()
