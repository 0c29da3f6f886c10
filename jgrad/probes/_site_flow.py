"""SiteFlow: what was measured at one site, and everything that is read off its sums."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ._measures import below
from ._packed import Array, Sums, log_norm, namespace, read_count
from ._sites import Site

if TYPE_CHECKING:
    from ._flow import Flow


@dataclasses.dataclass(frozen=True)
class SiteFlow:
    """What was measured at one site; every property is an array `[*batch, *steps]`.

    A property whose measure was not taken raises, and says which it is.

    Attributes:
      flow: the flow that it is a part of.
      site: where it was measured.
      sums: the sums themselves.
    """

    flow: "Flow"
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
        return _share_of(self.dead)

    @property
    def unfed(self) -> Array:
        """Which units had δz = 0 for every example seen, bool [*batch, *steps, unit]."""
        return read_count(self._sum("flowing", "flowing"), -2) == 0

    @property
    def unfed_share(self) -> Array:
        """Share of the units that are dead by gradient: δz = 0 for every example seen."""
        return _share_of(self.unfed)

    @property
    def nonfinite(self) -> Array:
        """How many elements of z and of δz were not finite."""
        z = read_count(self._sum("nonfinite_z", "nonfinite"), -1)
        return z + read_count(self._sum("nonfinite_dz", "nonfinite_gradient"), -1)


def _share_of(units: Array) -> Array:
    return namespace(units).mean(units, axis=-1, dtype=np.float32)
