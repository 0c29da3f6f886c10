"""Flow: the measured sums at all sites, and everything that is read off them."""

import dataclasses
import functools
import html
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._names import unknown

from ._measures import below
from ._packed import Array, Packed, Sums, log_norm, namespace, read_count
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
        header, *rows = _table(self)
        widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]

        def line(row):
            cells = [
                cell.ljust(width) if title in _TEXTS else cell.rjust(width)
                for title, cell, width in zip(header, row, widths, strict=True)
            ]
            return "  ".join(cells).rstrip()

        return "\n".join([line(header), *(line(row) for row in rows), *_footer(self)])

    __repr__ = __str__

    def __rich__(self) -> Any:
        # Only rich calls this, so it is there.
        from rich.table import Table
        from rich.text import Text

        header, *rows = _table(self)
        table = Table(caption="\n".join(_footer(self)), caption_justify="left")
        for title in header:
            table.add_column(title, justify="left" if title in _TEXTS else "right")
        for row in rows:
            table.add_row(*map(Text, row))  # as it is: "[0]" is a step, and no markup
        return table

    def _repr_html_(self) -> str:
        header, *rows = (tuple(map(html.escape, row)) for row in _table(self))
        head = "".join(f"<th>{cell}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        foot = "<br>".join(map(html.escape, _footer(self)))
        return f"<table><tr>{head}</tr>{body}</table><p>{foot}</p>"


# Columns of the table that hold words.
_TEXTS = ("site", "activation")

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


@dataclasses.dataclass(frozen=True)
class SiteFlow:
    """What was measured at one site; every property is an array `[*batch, *steps]`.

    A property whose measure was not taken raises, and says which it is.

    Attributes:
      flow: the flow that it is a part of.
      site: where it was measured.
      sums: the sums themselves.
    """

    flow: Flow
    site: Site
    sums: Sums

    def _sum(self, name: str, measure: str) -> Array:
        if name not in self.sums:
            msg = (
                f"{name!r} was not measured at {self.site.key!r}; "
                f"ask for measures=[..., {measure!r}]"
            )
            raise ValueError(msg)
        return self.sums[name]

    def _mean(self, name: str, measure: str) -> Array:
        return self._sum(name, measure) / self.count

    @property
    def count(self) -> Array:
        """How many elements were seen."""
        return self.sums["visits"] * self.site.size

    @property
    def z_mean(self) -> Array:
        """Mean of z."""
        return self._mean("z", "moments")

    @property
    def z_second(self) -> Array:
        """Mean of z²: q, in mean-field theory."""
        return self._mean("z2", "moments")

    @property
    def a_mean(self) -> Array:
        """Mean of a."""
        return self._mean("a", "moments")

    @property
    def a_second(self) -> Array:
        """Mean of a²."""
        return self._mean("a2", "moments")

    @property
    def slope_mean(self) -> Array:
        """Mean of φ'(z), as the backward pass used it."""
        return self._mean("slope", "moments")

    @property
    def slope_second(self) -> Array:
        """Mean of φ'(z)²."""
        return self._mean("slope2", "moments")

    @property
    def log_da(self) -> Array:
        """ln‖δa‖, right for norms from 1e-34 to 1e+34; -inf where δa is 0."""
        return log_norm(self._sum("da2", "gains"))

    @property
    def log_dz(self) -> Array:
        """ln‖δz‖."""
        return log_norm(self._sum("dz2", "gains"))

    @property
    def log_gain(self) -> Array:
        """ln(‖δz‖/‖δa‖): what the activation did to the gradient's norm."""
        with np.errstate(invalid="ignore"):  # not a number where no gradient came
            return self.log_dz - self.log_da

    @property
    def linear_log_gain(self) -> Array:
        """ln(‖δa of the site before‖/‖δz‖): what the linear map before this site did.

        Not a number for a site that is off the main path, or the first on it.
        """
        gains = self.flow.profile("linear_log_gain")
        batch = gains.shape[:-1]
        places = {
            step: k for k, (key, step) in enumerate(self.flow.positions) if key == self.site.key
        }
        xp = namespace(gains)
        none = xp.full(batch, xp.nan, gains.dtype)
        each = [
            gains[..., places[step]] if step in places else none
            for step in np.ndindex(self.site.steps)
        ]
        return xp.stack(each, axis=-1).reshape((*batch, *self.site.steps))

    @property
    def mean_log_slope(self) -> Array:
        """Mean of ln|φ'(z)| over the elements with φ' ≠ 0, faithful where autodiff's φ' is lost."""
        total = self._sum("log_slope", "log_slope")
        return total / read_count(self.sums["log_sloped"], -1)

    def _share(self, name: str, measure: str) -> Array:
        return read_count(self._sum(name, measure), -1) / self.count

    def _rest_share(self, name: str, measure: str) -> Array:
        """The share of the elements that a count by unit leaves out."""
        counts = self._sum(name, measure)
        xp = namespace(counts)
        low, high = xp.moveaxis(counts, -2, 0)
        visits, examples = self.sums["visits"][..., None], self.site.size // self.site.units
        # Unit by unit and limb by limb: one element among 10⁹ is lost in the difference of counts.
        rest = (visits * (examples % 4096) - low) + 4096.0 * (visits * (examples // 4096) - high)
        return xp.sum(rest, -1) / self.count

    @property
    def zero_slope_share(self) -> Array:
        """Share of the elements whose φ' was exactly 0 in the backward pass."""
        return self._rest_share("sloped", "sloped")

    @property
    def zero_gradient_share(self) -> Array:
        """Share of the elements whose δz was exactly 0."""
        return self._rest_share("flowing", "flowing")

    @property
    def saturated_share(self) -> Array:
        """Share of the elements with |φ'(z)| under a threshold: see `saturated`."""
        return self._share("saturated", "saturated")

    @property
    def unreached_share(self) -> Array:
        """Share of the elements whose δa was exactly 0: no gradient came to them."""
        return self._share("unreached", "lost")

    @property
    def underflowed_share(self) -> Array:
        """Share of the elements with δz = 0 although neither δa nor φ'(z) is: it underflowed."""
        return self._share("underflowed", "lost")

    def below_share(self, format: str) -> Array:
        """Share of the elements with 0 < |δz| < the format's smallest normal number.

        Args:
          format: "float16", "float8_e4m3" or "float8_e5m2".
        """
        return self._share(below(format), "below")

    @property
    def da_mean(self) -> Array:
        """Mean of δa over the elements; its norm is `log_da`."""
        return self._mean("da", "gradient_means")

    @property
    def dz_mean(self) -> Array:
        """Mean of δz over the elements; its norm is `log_dz`."""
        return self._mean("dz", "gradient_means")

    @property
    def parameter(self) -> Array:
        """Mean of φ's own parameter, where it is a value of the program: PReLU's slope, Swish's β.

        Of several the first that φ uses.
        """
        if not self.site.traced:
            msg = f"{self.site.activation} at {self.site.key!r} has no parameter that is traced"
            raise ValueError(msg)
        return self._mean("parameter", "parameter")

    @property
    def signal_to_noise(self) -> Array:
        """(E δz)² / Var δz of each unit over the examples seen, [*batch, *steps, unit].

        δz summed over examples is the gradient of the unit's bias: this is that gradient's signal
        against its noise, for one example.
        """
        total, squares = self._sum("unit_dz", "signal"), self._sum("unit_dz2", "signal")
        examples = (self.count / self.site.units)[..., None]
        xp = namespace(total)
        # In logarithms: squares of small gradients are no float32.
        log_share = 2 * (xp.log(abs(total)) - log_norm(squares, -2)) - xp.log(examples)
        share = xp.minimum(xp.exp(log_share), 1.0)
        return share / (1 - share)

    @property
    def dead(self) -> Array:
        """Which units had φ' = 0 for every example seen, bool [*batch, *steps, unit]."""
        return read_count(self._sum("sloped", "sloped"), -2) == 0

    @property
    def dead_share(self) -> Array:
        """Share of the units that are dead by value: φ' = 0 for every example seen."""
        return namespace(self.dead).mean(self.dead, axis=-1, dtype=np.float32)

    @property
    def unfed(self) -> Array:
        """Which units had δz = 0 for every example seen, bool [*batch, *steps, unit]."""
        return read_count(self._sum("flowing", "flowing"), -2) == 0

    @property
    def unfed_share(self) -> Array:
        """Share of the units that are dead by gradient: δz = 0 for every example seen."""
        return namespace(self.unfed).mean(self.unfed, axis=-1, dtype=np.float32)

    @property
    def nonfinite(self) -> Array:
        """How many elements of z and of δz were not finite."""
        z = read_count(self._sum("nonfinite_z", "nonfinite"), -1)
        return z + read_count(self._sum("nonfinite_dz", "nonfinite_gradient"), -1)


def _table(flow: Flow) -> Iterator[tuple[str, ...]]:
    """Rows of text: a header, then a site each; batch axes are averaged over, steps as a range."""
    flow = flow.on_host()
    columns = {
        "mean φ'": "slope_mean",
        "φ'=0": "zero_slope_share",
        "dead": "dead_share",
        "ln‖δa‖": "log_da",
        "ln gain φ": "log_gain",
        "ln gain W": "linear_log_gain",
    }
    yield ("site", "activation", "shape", *columns)
    for key in flow:
        of_site = flow[key]
        shape = "×".join(map(str, (*of_site.site.steps, *of_site.site.shape)))
        cells = [_cell(of_site, name) for name in columns.values()]
        # Both branches ran, and the gradient of the one not taken is 0: the numbers say less.
        mark = " (select)" if of_site.site.select else ""
        yield (key, of_site.site.activation + mark, shape, *cells)


def _cell(of_site: SiteFlow, name: str) -> str:
    try:
        with np.errstate(all="ignore"):  # what is no number is not shown
            values = np.asarray(getattr(of_site, name), np.float64)
    except ValueError:  # not measured
        return "·"
    finite = values[~np.isnan(values)]
    if not finite.size:
        return "·"
    if "share" in name:
        return f"{finite.mean():.1%}"
    low, high = f"{finite.min():.3g}", f"{finite.max():.3g}"
    return low if low == high else f"{low} … {high}"


def _footer(flow: Flow) -> list[str]:
    positions = len(flow.positions)
    try:
        with np.errstate(all="ignore"):
            total = float(np.mean(flow.on_host().total_log_gain))
    except ValueError:
        return []
    if not math.isfinite(total):
        return [f"Along the main path ({positions} activations) no gradient comes through."]
    way = "falls" if total < 0 else "grows"
    return [
        f"Along the main path ({positions} activations) the gradient's norm {way} by "
        f"e^{abs(total):.3g}, from the last activation to the first."
    ]
