"""What a diagnosis reads: a flow as plain arrays along the depth of the network."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jgrad.probes import Flow

#: What is read of every site; a flow's `profile` gives each as [*runs, depth].
QUANTITIES = (
    "log_gain",
    "linear_log_gain",
    "log_da",
    "log_dz",
    "z_second",
    "slope_second",
    "zero_slope_share",
    "dead_share",
    "nonfinite",
)


@runtime_checkable
class Measured(Protocol):
    """Anything with a flow's profile along its main path: `probes.Flow`, or a table of its own."""

    def profile(self, name: str, /) -> Any:
        """[*runs, depth]: that quantity along the main path, input side first."""
        ...

    def profile_names(self) -> Any:
        """The labels of these depth positions."""
        ...


@dataclasses.dataclass(frozen=True)
class Profile:
    """The measured quantities of one or several runs, by position along the main path.

    Attributes:
      names: label of each position, input side first.
      activations: name of the activation at each position, "" where it is not known.
      values: quantity → float64 [runs, positions]; a quantity that was not measured is NaN.
      depth: the first `depth` positions are the main path; sites off it follow.
    """

    names: tuple[str, ...]
    activations: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    depth: int

    @classmethod
    def of(cls, flow: Any) -> "Profile":
        """The profile of a flow: its main path, scans unrolled, then its other activations.

        Raises:
          TypeError: `flow` is no flow.
          ValueError: it has no site on its main path.
        """
        if isinstance(flow, Profile):
            return flow
        if not isinstance(flow, Flow | Measured):
            msg = f"a Flow (from jgrad.probes) is wanted, got {type(flow).__name__}"
            raise TypeError(msg)
        if isinstance(flow, Flow):
            flow = flow.on_host()
        names = tuple(str(name) for name in flow.profile_names())
        if not names:
            msg = "the flow has no site on its main path: nothing to diagnose"
            raise ValueError(msg)
        with np.errstate(all="ignore"):  # what is no number is not judged
            values = {name: _by_run(flow.profile(name)) for name in QUANTITIES}
        activations, others = [""] * len(names), []
        if isinstance(flow, Flow):
            on_path = {key for key, _ in flow.positions}
            activations = [str(flow[key].site.activation) for key, _ in flow.positions]
            others = [flow[key] for key in flow if key not in on_path]
            others = [other for other in others if other.site.role == "activation"]
        runs = len(values["log_gain"])
        for other in others:
            count = math.prod(other.site.steps)
            names += (
                (other.site.key,)
                if count == 1
                else tuple(f"{other.site.key}[{i}]" for i in range(count))
            )
            activations += [str(other.site.activation)] * count
            values = {
                name: np.concatenate([have, _reshaped(other, name, runs, count)], axis=1)
                for name, have in values.items()
            }
        return cls(names, tuple(activations), values, flow.profile("log_gain").shape[-1])

    def __getitem__(self, name: str) -> np.ndarray:
        """[runs, positions]: one quantity at every position."""
        return self.values[name]

    def path(self, name: str) -> np.ndarray:
        """[runs, depth]: one quantity along the main path."""
        return self.values[name][:, : self.depth]

    @property
    def runs(self) -> int:
        """How many flows (seeds, batches, ...) are held side by side."""
        return next(iter(self.values.values())).shape[0]


def _by_run(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values.reshape(-1, values.shape[-1])


def _reshaped(site: Any, name: str, runs: int, count: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(getattr(site, name), np.float64).reshape(runs, count)
