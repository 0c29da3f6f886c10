"""What is kept of a gradient flow along training: profiles over depth, and their labels."""

import jax

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


def profiles(flow: Flow) -> dict[str, jax.Array]:
    """Every quantity along the main path [*batch, depth], input side first, in float32."""
    return {name: flow.profile(name).astype("float32") for name in QUANTITIES}
