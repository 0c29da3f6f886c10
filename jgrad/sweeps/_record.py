"""What is kept of a gradient flow along training: profiles over depth, and their labels."""

import numpy as np

from jgrad.probes import Flow

#: Quantities of a site kept at every depth; `jgrad.results.VARIABLES` says what each is.
QUANTITIES = (
    "log_gain",
    "linear_log_gain",
    "log_da",
    "log_dz",
    "slope_mean",
    "slope_second",
    "z_second",
    "a_second",
    "zero_slope_share",
    "dead_share",
)


def profiles(flow: Flow) -> dict[str, np.ndarray]:
    """Every quantity along the main path [*batch, depth], input side first, in float32.

    Read on the host: in the compiled program it would take longer to compile than the training.
    """
    return {name: np.asarray(flow.profile(name), np.float32) for name in QUANTITIES}
