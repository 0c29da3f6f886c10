"""What is measured at a site: a table of additive sums.

Each row is a pure function of one site's tensors, element by element; what comes out is summed by
`sums`, together with what all other rows want. Sums add over examples, devices, scan steps and
passes, so no ratio, root or logarithm of a sum is taken here: that is `Flow`'s, when it is read.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jgrad._names import lookup

from ._sums import Apart, Squares, Term, Units


class Forward(NamedTuple):
    """What a measure may look at on the way forward.

    Attributes:
      z: pre-activation, at least float32.
      a: post-activation, at least float32.
      slope: φ'(z), at least float32.
      log_slope: gives ln|φ'(z)|, faithful where the catalogue knows φ, when called; -inf where
        φ' is 0.
      unit_axis: the axis of units.
      parameter: where φ has a parameter that is a value of the program (PReLU's slope, Swish's β),
        the mean of the first of them, in the shape of z.
    """

    z: jax.Array
    a: jax.Array
    slope: jax.Array
    log_slope: Callable[[], jax.Array]
    unit_axis: int
    parameter: jax.Array | None = None


class Backward(NamedTuple):
    """What a measure may look at on the way back.

    Attributes:
      da: ∂L/∂a, at least float32.
      dz: ∂L/∂z = φ'(z) ∂L/∂a, at least float32.
      slope: φ'(z), at least float32.
      unit_axis: the axis of units.
    """

    da: jax.Array
    dz: jax.Array
    slope: jax.Array
    unit_axis: int


class Measure(NamedTuple):
    """A row of the table.

    Attributes:
      terms: from a Forward or a Backward, what is summed over elements, by name: arrays of the
        shape of z, each element a function of that element's z, a, φ', δa, δz. A float array is
        summed, of a bool array it is counted how many are True; `Squares`, `Units` and `Apart`
        say more.
      on: which of the two it looks at. What is measured forward is kept until the backward pass;
        z itself is not.
      order: of the sums in δ: 0, 1 or 2, one for all or by name. A loss c times as large makes
        them cᵒʳᵈᵉʳ times as large.
    """

    terms: Callable[[Any], Mapping[str, Term]]
    on: Literal["forward", "backward"]
    order: int | Mapping[str, int] = 0

    def order_of(self, name: str) -> int:
        """The order in δ of the sum of that name."""
        return self.order if isinstance(self.order, int) else self.order[name]


def _moments(view: Forward) -> dict[str, Term]:
    z, a, slope = view.z, view.a, view.slope
    return {"z": z, "z2": z**2, "a": a, "a2": a**2, "slope": slope, "slope2": slope**2}


def _gradients(view: Backward) -> dict[str, Term]:
    return {"da2": Squares(view.da), "dz2": Squares(view.dz)}


def _live_by_value(view: Forward) -> dict[str, Term]:
    return {"sloped": Units(view.slope != 0)}


def _live_by_gradient(view: Backward) -> dict[str, Term]:
    return {"flowing": Units(view.dz != 0)}


def _nonfinite(view: Forward) -> dict[str, Term]:
    return {"nonfinite_z": ~jnp.isfinite(view.z)}


def _nonfinite_gradient(view: Backward) -> dict[str, Term]:
    return {"nonfinite_dz": ~jnp.isfinite(view.dz)}


def _log_slope(view: Forward) -> dict[str, Term]:
    logs = view.log_slope()
    sloped = jnp.isfinite(logs)
    return {"log_slope": Apart(jnp.where(sloped, logs, 0.0)), "log_sloped": Apart(sloped)}


def _gradient_means(view: Backward) -> dict[str, Term]:
    return {"da": view.da, "dz": view.dz}


def _lost(view: Backward) -> dict[str, Term]:
    lost = (view.dz == 0) & (view.da != 0) & (view.slope != 0)
    return {"underflowed": lost, "unreached": view.da == 0}


#: The smallest normal numbers of the narrow formats, by name.
SMALLEST_NORMAL: Mapping[str, float] = {
    "float16": 2.0**-14,
    "float8_e4m3": 2.0**-6,
    "float8_e5m2": 2.0**-14,
}


def below(format: str) -> str:
    """The name of the sum that counts the δz under the format's smallest normal number.

    Formats with as many bits in their exponents share it.
    """
    return f"below_2^{math.log2(lookup(SMALLEST_NORMAL, format, 'format')):.0f}"


def _below(view: Backward) -> dict[str, Term]:
    size = jnp.abs(view.dz)
    return {
        below(name): (size < smallest) & (size > 0) for name, smallest in SMALLEST_NORMAL.items()
    }


def _parameter(view: Forward) -> dict[str, Term]:
    return {} if view.parameter is None else {"parameter": view.parameter}


def _signal(view: Backward) -> dict[str, Term]:
    return {"unit_dz": Units(view.dz), "unit_dz2": Units(Squares(view.dz))}


def saturated(threshold: float = 0.05) -> Measure:
    """The measure that counts saturated elements: |φ'(z)| < threshold.

    Where it holds, the activation passes on less than that part of the gradient. The slope counts
    as it is, not beside the largest that φ can have: a sigmoid's is at most 1/4.

    Args:
      threshold: of |φ'(z)|.

    Example:
      >>> import jgrad
      >>> flow = jgrad.probes.gradient_flow(
      ...     lambda z: jnp.sum(jnp.tanh(z)), measures=["default", saturated(0.1)]
      ... )(jnp.array([0.0, 1.0, 2.0, 3.0]))
      >>> [float(flow[key].saturated_share) for key in flow]
      [0.5]
    """
    return Measure(lambda view: {"saturated": jnp.abs(view.slope) < threshold}, "forward")


#: Every measure there is, by name.
MEASURES: Mapping[str, Measure] = {
    "moments": Measure(_moments, "forward"),
    "gains": Measure(_gradients, "backward", order=2),
    "sloped": Measure(_live_by_value, "forward"),
    "flowing": Measure(_live_by_gradient, "backward"),
    "nonfinite": Measure(_nonfinite, "forward"),
    "nonfinite_gradient": Measure(_nonfinite_gradient, "backward"),
    "log_slope": Measure(_log_slope, "forward"),
    "gradient_means": Measure(_gradient_means, "backward", order=1),
    "lost": Measure(_lost, "backward"),
    "below": Measure(_below, "backward"),
    "saturated": saturated(),
    "parameter": Measure(_parameter, "forward"),
    "signal": Measure(_signal, "backward", order={"unit_dz": 1, "unit_dz2": 2}),
}

#: Those that are taken unless others are asked for.
DEFAULT = (
    "moments",
    "gains",
    "sloped",
    "flowing",
    "nonfinite",
    "nonfinite_gradient",
    "parameter",
)

#: Those that "all" leaves out: a number for every unit and not for every site.
ON_REQUEST = ("signal",)

#: What `measures=` may be: "default", "all", or an iterable of these, of names of the table and of
#: measures of one's own.
Measures = str | Iterable[str | Measure]


def choose(measures: Measures) -> tuple[Measure, ...]:
    """The rows asked for.

    Raises:
      ValueError: a name that is not in the table; quotes the nearest.

    Example:
      >>> len(choose(["default", "lost"])) - len(choose("default"))
      1
    """
    groups = {"default": DEFAULT, "all": [name for name in MEASURES if name not in ON_REQUEST]}
    chosen = (measures,) if isinstance(measures, str) else measures
    rows: list[Measure] = []
    for row in chosen:
        if isinstance(row, Measure):
            rows.append(row)
        elif row in groups:
            rows += [MEASURES[name] for name in groups[row]]
        else:
            rows.append(lookup(MEASURES, row, "measure"))
    return tuple(row for k, row in enumerate(rows) if row not in rows[:k])


#: What a measure on either may look at, with one array for all of it: to learn what it sums.
VIEWS: Mapping[str, Callable[[Any], Any]] = {
    "forward": lambda x: Forward(x, x, x, lambda: x, -1, x),
    "backward": lambda x: Backward(x, x, x, -1),
}


def order_of_sums(measures: Iterable[Measure]) -> tuple[tuple[str, int], ...]:
    """(name, order in δ) of every sum that changes when the loss is scaled."""
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)

    def names(measure: Measure) -> Iterable[str]:
        return jax.eval_shape(lambda x: measure.terms(VIEWS[measure.on](x)), x)

    orders = [(name, row.order_of(name)) for row in measures if row.order for name in names(row)]
    return tuple((name, order) for name, order in orders if order)
