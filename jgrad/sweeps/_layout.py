"""How trainings lie on the devices: many small ones side by side, or one large one spread out."""

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jgrad._trees import paths
from jgrad._types import PyTree


@dataclasses.dataclass(frozen=True)
class Spread:
    """One large model over a mesh: examples along one axis, parameters by rules.

    Attributes:
      mesh: the devices, of this process or of all.
      data: the mesh axis that a batch's examples are divided over.
      rules: (pattern, axes) pairs; a parameter whose path ("layers/linear/kernel") matches the
        pattern first is divided by these mesh axes (None: not along this dimension). What matches
        none is copied to every device. The optimiser's memory follows its parameters.

    Raises:
      ValueError: an axis is not one of the mesh's.

    Example:
      >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
      >>> tuple(Spread(mesh, rules=(("*/kernel", (None, "data")),)).spec("head/kernel", 2))
      (None, 'data')
    """

    mesh: Mesh
    data: str = "data"
    rules: tuple[tuple[str, tuple[str | None, ...]], ...] = ()

    def __post_init__(self):
        named = {self.data, *(axis for _, axes in self.rules for axis in axes if axis)}
        if strange := sorted(named - set(self.mesh.axis_names)):
            msg = f"mesh axis {strange[0]!r} wanted, the mesh has {', '.join(self.mesh.axis_names)}"
            raise ValueError(msg)
        # Axes whose sharding XLA works out: a model need not say where its arrays lie.
        object.__setattr__(self, "mesh", Mesh(self.mesh.devices, self.mesh.axis_names))

    def spec(self, path: str, ndim: int) -> PartitionSpec:
        """How the array at that path lies, `ndim` being its number of dimensions.

        Raises:
          ValueError: the rule has more axes than the array has dimensions.
        """
        for pattern, axes in self.rules:
            if fnmatch.fnmatchcase(path, pattern):
                if len(axes) > ndim:
                    msg = f"{path} has {ndim} dimensions, its rule {pattern!r} divides {len(axes)}"
                    raise ValueError(msg)
                return PartitionSpec(*axes)
        return PartitionSpec()

    def place(self, params: PyTree) -> PyTree:
        """Points' parameters [points, ...] on the devices; the points' axis is not divided."""
        leaves, structure = jax.tree.flatten(params)
        placed = []
        for path, leaf in zip(paths(params), leaves, strict=True):
            spec = PartitionSpec(None, *self.spec(path, np.ndim(leaf) - 1))
            placed.append(jax.device_put(leaf, NamedSharding(self.mesh, spec)))
        return structure.unflatten(placed)

    def each(self, tree: PyTree) -> PyTree:
        """The same arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def batches(self, drawn: Any) -> jax.Array:
        """Indices [points, steps, batch], a batch divided over the data axis."""
        spec = PartitionSpec(None, None, self.data)
        return jax.device_put(drawn, NamedSharding(self.mesh, spec))


def share(count: int, *, processes: int, process: int) -> np.ndarray:
    """Which of `count` points are a process's own, when each takes every n-th.

    Example:
      >>> share(5, processes=2, process=1)
      array([1, 3])
    """
    return np.arange(process, count, processes)


def devices_here(devices: Sequence[Any] | None) -> list[Any]:
    """This process's devices among those given, or all of its own."""
    mine = jax.local_devices()
    return [device for device in devices if device in mine] if devices else mine


def meet(what: str) -> None:
    """Wait for the other processes, if there are any."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
