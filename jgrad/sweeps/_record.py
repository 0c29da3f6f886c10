"""What is kept of a gradient flow along training: profiles over depth, and their labels."""

import numpy as np

from jgrad.probes import Flow

#: Quantities of a site kept at every depth; `jgrad.results.VARIABLES` says what each is.
QUANTITIES = (
    "log_da",
    "log_dz",
    "log_gain",
    "slope_mean",
    "slope_second",
    "z_second",
    "a_second",
    "zero_slope_share",
    "dead_share",
)

#: The measures behind them.
MEASURES = ("moments", "gains", "sloped")


def profiles(flow: Flow | None, scope: str | None) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """(quantity → [*batch, depth] in float32, labels), along the main path; input side first.

    Of the sites on it those are kept whose innermost named scope is `scope`, or all of them where
    it is None. What a normalisation does between two activations counts as the linear map's:
    `linear_log_gain` is NaN at the first. A flow in NumPy arrays is read at once; to read any
    other, programs are compiled. Without a flow there is no depth.
    """
    if flow is None:
        return {name: np.zeros(0, np.float32) for name in (*QUANTITIES, "linear_log_gain")}, ()
    places = [
        (position, label)
        for position, label in zip(flow.positions, flow.profile_names(), strict=True)
        if scope in (None, flow[position[0]].site.path.rpartition("/")[-1])
    ]
    kept = {}
    with np.errstate(all="ignore"):  # what is no number is data
        for name in QUANTITIES:
            of_site = {key: getattr(flow[key], name) for (key, _), _ in places}
            columns = [of_site[key][..., *step] for (key, step), _ in places]
            kept[name] = np.stack(columns, axis=-1).astype(np.float32)
        linear = kept["log_da"][..., :-1] - kept["log_dz"][..., 1:]
    kept["linear_log_gain"] = np.insert(linear, 0, np.nan, axis=-1)
    return kept, tuple(label for _, label in places)
