"""What is measured at a site: a table of additive sums.

Each row is a pure function of one site's tensors that returns a few sums over elements. Sums add
over examples, devices, scan steps and passes, so no ratio, root or logarithm is taken here: that
is `Flow`'s, when it is read.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jgrad._names import lookup

#: Exponents of two by which a gradient is scaled before it is squared: see `windows`.
WINDOWS = (-64, 0, 64)


class Forward(NamedTuple):
    """What a measure may look at on the way forward.

    Attributes:
      z: pre-activation, at least float32.
      a: post-activation, at least float32.
      slope: φ'(z), at least float32.
      log_slope: gives ln|φ'(z)|, faithful where the catalogue knows φ, when called; -inf where
        φ' is 0.
      unit_axis: the axis of units.
    """

    z: jax.Array
    a: jax.Array
    slope: jax.Array
    log_slope: Callable[[], jax.Array]
    unit_axis: int


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
      sums: sums over elements, by name, from a Forward or a Backward. Every sum must be additive:
        its value over two batches is the sum of its values over each.
      on: which of the two it looks at. What is measured forward is kept until the backward pass;
        z itself is not.
      order: of the sums in δ: 0, 1 or 2. A loss c times as large makes them cᵒʳᵈᵉʳ as large.
    """

    sums: Callable[[Any], dict[str, jax.Array]]
    on: Literal["forward", "backward"]
    order: int = 0


def total(x: jax.Array) -> jax.Array:
    """Σ x over all elements."""
    # A product with ones: on CPU a sum is one dependent chain of additions, a product is not.
    flat = x.reshape(-1)
    return jnp.dot(flat, jnp.ones_like(flat))


def total_of_squares(x: jax.Array) -> jax.Array:
    """Σ x² over all elements."""
    flat = x.reshape(-1)
    return jnp.dot(flat, flat)


def windows(x: jax.Array) -> jax.Array:
    """Σ x² at each of the scales 2⁻⁶⁴, 1, 2⁶⁴ of x, shape [3].

    The square of 1e-25 is no float32. Of the three sums, the one at the largest scale that is
    finite is right to rounding for every normal x; `log_norm` reads it.
    """
    # XLA would fold the scaling away, first where x has one element.
    scaled = [x if e == 0 else jax.lax.optimization_barrier(x * 2.0**e) for e in WINDOWS]
    return jnp.stack([total_of_squares(y) for y in scaled])


def log_norm(sums: jax.Array) -> jax.Array:
    """½ ln Σ x² from the sums of `windows`, shape [..., 3] -> [...]; -inf where every x is 0."""
    sum_, exponent = _window(sums)
    return 0.5 * jnp.log(sum_) - exponent.astype(sums.dtype) * math.log(2.0)


def norm(sums: jax.Array) -> jax.Array:
    """√Σ x² from the sums of `windows`, shape [..., 3] -> [...]."""
    sum_, exponent = _window(sums)
    return jnp.ldexp(jnp.sqrt(sum_), -exponent)


def _window(sums: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum at the largest scale at which it is finite, and the exponent of that scale."""
    down, plain, up = (sums[..., k] for k in range(len(WINDOWS)))
    at_plain, at_up = jnp.isfinite(plain), jnp.isfinite(up)
    sum_ = jnp.where(at_up, up, jnp.where(at_plain, plain, down))
    return sum_, jnp.where(at_up, WINDOWS[2], jnp.where(at_plain, WINDOWS[1], WINDOWS[0]))


def count_by_unit(mask: jax.Array, unit_axis: int) -> jax.Array:
    """How many elements of each unit are True, in two limbs, shape [2, unit], float32.

    float32 counts stall at 2²⁴; the count modulo 4096 and the rest stay exact for longer.
    """
    if mask.ndim == 0:
        mask = mask[None]
    units = jnp.moveaxis(mask, unit_axis, -1).reshape(-1, mask.shape[unit_axis])
    n = jnp.sum(units, axis=0, dtype=jnp.int32)
    return jnp.stack([n % 4096, n // 4096]).astype(jnp.float32)


def count(mask: jax.Array) -> jax.Array:
    """How many elements are True, in two limbs, shape [2], float32."""
    n = jnp.sum(mask, dtype=jnp.int32)
    return jnp.stack([n % 4096, n // 4096]).astype(jnp.float32)


def read_count(limbs: jax.Array, axis: int) -> jax.Array:
    """The count from its two limbs, which lie along the axis."""
    low, high = jnp.moveaxis(limbs, axis, 0)
    return low + 4096.0 * high


def _moments(view: Forward) -> dict[str, jax.Array]:
    return {
        "z": total(view.z),
        "z2": total_of_squares(view.z),
        "a": total(view.a),
        "a2": total_of_squares(view.a),
        "slope": total(view.slope),
        "slope2": total_of_squares(view.slope),
    }


def _gradients(view: Backward) -> dict[str, jax.Array]:
    return {"da2": windows(view.da), "dz2": windows(view.dz)}


def _live_by_value(view: Forward) -> dict[str, jax.Array]:
    return {"sloped": count_by_unit(view.slope != 0, view.unit_axis)}


def _live_by_gradient(view: Backward) -> dict[str, jax.Array]:
    return {"flowing": count_by_unit(view.dz != 0, view.unit_axis)}


def _nonfinite(view: Forward) -> dict[str, jax.Array]:
    return {"nonfinite_z": count(~jnp.isfinite(view.z))}


def _nonfinite_gradient(view: Backward) -> dict[str, jax.Array]:
    return {"nonfinite_dz": count(~jnp.isfinite(view.dz))}


def _log_slope(view: Forward) -> dict[str, jax.Array]:
    logs = view.log_slope()
    sloped = jnp.isfinite(logs)
    return {"log_slope": total(jnp.where(sloped, logs, 0.0)), "log_sloped": count(sloped)}


def _gradient_means(view: Backward) -> dict[str, jax.Array]:
    return {"da": total(view.da), "dz": total(view.dz)}


def _lost(view: Backward) -> dict[str, jax.Array]:
    lost = (view.dz == 0) & (view.da != 0) & (view.slope != 0)
    return {"underflowed": count(lost), "unreached": count(view.da == 0)}


# The smallest normal numbers of the narrow formats.
_SMALLEST_NORMAL = {"float16": 2.0**-14, "float8_e4m3": 2.0**-6, "float8_e5m2": 2.0**-14}


def _below(view: Backward) -> dict[str, jax.Array]:
    size = jnp.abs(view.dz)
    return {
        f"below_{name}": count((size < smallest) & (size > 0))
        for name, smallest in _SMALLEST_NORMAL.items()
    }


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
}

#: Those that are taken unless others are asked for.
DEFAULT = ("moments", "gains", "sloped", "flowing", "nonfinite", "nonfinite_gradient")

#: What `measures=` may be: "default", "all", or names of the table and measures of one's own.
Measures = Literal["default", "all"] | Iterable[str | Measure]


def choose(measures: Measures) -> tuple[Measure, ...]:
    """The rows asked for.

    Raises:
      ValueError: a name that is not in the table; quotes the nearest.
    """
    if measures == "all":
        return tuple(MEASURES.values())
    chosen = DEFAULT if measures == "default" else measures
    if isinstance(chosen, str):
        chosen = (chosen,)
    return tuple(
        lookup(MEASURES, row, "measure") if isinstance(row, str) else row for row in chosen
    )


def order_of_sums(measures: Iterable[Measure]) -> tuple[tuple[str, int], ...]:
    """(name, order in δ) of every sum that changes when the loss is scaled."""
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)

    def names(measure: Measure) -> Iterable[str]:
        view = {
            "forward": lambda x: Forward(x, x, x, lambda: x, -1),
            "backward": lambda x: Backward(x, x, x, -1),
        }[measure.on]
        return jax.eval_shape(lambda x: measure.sums(view(x)), x)

    return tuple((name, row.order) for row in measures if row.order for name in names(row))
