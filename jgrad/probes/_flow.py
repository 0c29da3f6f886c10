"""Flow: the measured sums at all sites, and everything that is read off them."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._names import unknown

from . import _show
from ._packed import Array, Packed, Sums, namespace
from ._site_flow import SiteFlow
from ._sites import Site

#: A place along the main path: the site's key and the step of the scans that it stands in.
Position = tuple[str, tuple[int, ...]]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["packed", "passes"],
    meta_fields=["sites", "orders"],
)
@dataclasses.dataclass(frozen=True)
class Flow(Mapping):
    """The sums measured at all sites of one or many backward passes.

    A flow is a pytree of arrays; `flow_a + flow_b` is the flow of both passes. Arrays have the
    axes `[*batch, *steps]`, where batch is whatever `vmap` or stacking put in front, and steps are
    those of the scans that a site stands in. Ratios, roots and logarithms are taken when they are
    read, so that flows may be added, averaged over devices and kept.

    Attributes:
      packed: the sums, in as few arrays as their shapes and dtypes allow.
      passes: how many backward passes it holds.
      sites: the sites, in program order.
      orders: (name of a sum, its order in δ) for every sum whose order is not 0.
    """

    packed: tuple[Packed, ...]
    passes: Any
    sites: tuple[Site, ...]
    orders: tuple[tuple[str, int], ...] = ()

    @functools.cached_property
    def sums(self) -> dict[str, Sums]:
        """Site key → its sums, by name."""
        return {key: packed[key] for packed in self.packed for key in packed}

    def __getitem__(self, key: str) -> "SiteFlow":
        for site in self.sites:
            if site.key == key:
                return SiteFlow(self, site, self.sums[key])
        raise KeyError(unknown("site", key, (site.key for site in self.sites)))

    def __iter__(self) -> Iterator[str]:
        return (site.key for site in self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __add__(self, other: "Flow") -> "Flow":
        if not isinstance(other, Flow):
            return NotImplemented
        if self.sites != other.sites:
            msg = (
                f"flows of different functions do not add: sites {list(self)} and {list(other)}"
                if list(self) != list(other)
                else "flows taken at different shapes do not add"
            )
            raise ValueError(msg)
        packed = jax.tree.map(jnp.add, self.packed, other.packed)
        return dataclasses.replace(self, packed=packed, passes=self.passes + other.passes)

    def __radd__(self, other: int) -> "Flow":
        return self if isinstance(other, int) and other == 0 else NotImplemented  # where sum starts

    def scale(self, c: float) -> "Flow":
        """The flow of c times the loss: sums of order k in δ become cᵏ as large.

        A mean over half a batch has a δ twice as large as the mean over the whole: scale each
        half's flow by ½ before adding.
        """
        factors = {name: c**order for name, order in self.orders}
        packed = tuple(alike.scale(factors) for alike in self.packed)
        return dataclasses.replace(self, packed=packed)

    @functools.cached_property
    def main_path(self) -> tuple[str, ...]:
        """Keys of the sites on the way from the last one back to the input, input side first.

        Each site is followed to the nearest before it in the program whose output reaches it with
        no other site between.
        """
        if not self.sites:
            return ()
        index = len(self.sites) - 1
        path = [index]
        while before := [p for p in self.sites[index].parents if p < index]:
            index = max(before)
            path.append(index)
        return tuple(self.sites[k].key for k in reversed(path))

    @functools.cached_property
    def positions(self) -> tuple[Position, ...]:
        """The main path with its scans unrolled into depth, input side first."""
        by_key = {site.key: site for site in self.sites}
        return tuple(_unrolled([by_key[key] for key in self.main_path], ()))

    @property
    def unrolled(self) -> tuple[Position, ...]:
        """Every site at every step, in the order in which the program comes by them."""
        return tuple(_unrolled(list(self.sites), ()))

    def profile(self, name: str) -> Array:
        """A quantity of `SiteFlow` along the main path, [*batch, depth], input side first.

        Example:
          `flow.profile("log_gain")` is what each activation did to the gradient's norm, by depth.
        """
        if name == "linear_log_gain":
            return self._linear_log_gains
        columns = [getattr(self[key], name)[..., *step] for key, step in self.positions]
        return namespace(columns[0]).stack(columns, axis=-1)

    @functools.cached_property
    def _linear_log_gains(self) -> Array:
        after, before = self.profile("log_da"), self.profile("log_dz")
        xp = namespace(before)
        first = xp.full_like(before[..., :1], xp.nan)
        with np.errstate(invalid="ignore"):
            return xp.concatenate([first, after[..., :-1] - before[..., 1:]], axis=-1)

    def on_host(self) -> "Flow":
        """The same flow in NumPy arrays: to read these, nothing is compiled.

        Example:
          >>> import jgrad
          >>> flow = jgrad.probes.gradient_flow(lambda x: jnp.sum(jnp.tanh(x)))(jnp.zeros(4))
          >>> type(flow.on_host().total_log_gain).__module__
          'numpy'
        """
        return jax.tree.map(np.asarray, jax.device_get(self))

    def profile_names(self) -> tuple[str, ...]:
        """A label for each position of a profile: the key, and the step where there are any."""
        return tuple(
            f"{key}[{','.join(map(str, step))}]" if step else key for key, step in self.positions
        )

    @property
    def total_log_gain(self) -> Array:
        """ln(‖δz‖ at the first site / ‖δa‖ at the last) along the main path, [*batch].

        The log-gains of the activations and of the linear maps between them add up to it.
        """
        with np.errstate(invalid="ignore"):  # not a number where no gradient came
            return self.profile("log_dz")[..., 0] - self.profile("log_da")[..., -1]

    def scalars(self, prefix: str = "") -> dict[str, Array]:
        """A flat dict of numbers for a logger, "{prefix}{site}/{quantity}"; works under jit.

        Steps are averaged over.
        """
        if not isinstance(prefix, str):
            msg = f"prefix={prefix!r}, wanted a text that the names begin with"
            raise TypeError(msg)
        flat = {}
        for key in self:
            for name in _SCALARS:
                value = getattr(self[key], name)
                flat[f"{prefix}{key}/{name}"] = jnp.mean(value)
        flat[f"{prefix}total_log_gain"] = jnp.mean(self.total_log_gain)
        return flat

    def __str__(self) -> str:
        return _show.text(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        return _show.for_rich(self)

    def _repr_html_(self) -> str:
        return _show.in_html(self)


_SCALARS = ("log_gain", "slope_mean", "zero_slope_share", "dead_share", "nonfinite")


def _unrolled(sites: list[Site], done: tuple[int, ...]) -> Iterator[Position]:
    """The sites in the order in which a gradient meets them backwards, scans unrolled."""
    level = len(done)
    k = 0
    while k < len(sites):
        site = sites[k]
        if len(site.steps) == level:
            yield site.key, done
            k += 1
            continue
        together = k
        while (
            together < len(sites) and sites[together].loops[: level + 1] == site.loops[: level + 1]
        ):
            together += 1
        steps = range(site.steps[level])
        for step in reversed(steps) if site.reverse[level] else steps:
            yield from _unrolled(sites[k:together], (*done, step))
        k = together
