"""What φ' is at a kink: nothing mathematics decides, so frameworks differ."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jgrad._names import lookup
from jgrad._types import Elementwise, FloatArray

from ._algebraic import rational
from ._catalog import traits
from ._link import check_function, check_parameters, defaults_of
from ._piecewise import hard_tanh, hardshrink, softshrink, threshold
from ._rectified import elu, leaky_relu, selu
from ._slope import slope

#: Activations whose kinks move with their parameters: parameters → kinks.
_MOVING: dict[Elementwise, Callable[..., tuple[float, ...]]] = {
    hard_tanh: lambda min_val, max_val: (min_val, max_val),
    softshrink: lambda lambd: (-lambd, lambd),
    hardshrink: lambda lambd: (-lambd, lambd),
    threshold: lambda theta, value: (theta,),  # noqa: ARG005
}

#: Where a framework departs from jax.nn: activation → parameters → φ' at its kinks. Measured for
#: PyTorch 2.13; TensorFlow's from relu_op_functor.h, where elu and selu take φ' from the output.
_DEPARTURES: dict[str, dict[Elementwise, Callable[..., tuple[float, ...]]]] = {
    "jax": {},
    "torch": {
        leaky_relu: lambda negative_slope: (negative_slope,),
        hard_tanh: lambda min_val, max_val: (0.0, 0.0),  # noqa: ARG005
    },
    "tf": {
        leaky_relu: lambda negative_slope: (negative_slope,),
        elu: lambda alpha: (1.0,),  # noqa: ARG005
        selu: lambda: (1.0507009873554805,),
    },
}


def _unbound(phi: Elementwise) -> tuple[Elementwise, dict[str, Any]]:
    """The catalogue's function beneath partials, and all its parameters."""
    bound: dict[str, Any] = {}
    while isinstance(phi, functools.partial):
        bound = {**phi.keywords, **bound}
        phi = phi.func
    traits(phi)
    defaults = defaults_of(phi)
    check_parameters(phi.__name__, defaults, bound)
    parameters = defaults | bound
    # How φ is computed is not what φ is.
    parameters.pop("accuracy", None)
    return phi, parameters


def kinks(phi: Elementwise, convention: str = "jax") -> Mapping[float, float]:
    """The kinks of an activation of the catalogue, each with the value of φ' that is taken there.

    Where the framework does not have the activation, jax.nn's value stands, which is also what
    `slope` gives.

    Args:
      phi: an activation, or a partial of one that binds parameters.
      convention: whose values: "jax" (and Flax), "torch", or "tf".

    Raises:
      ValueError: no such convention, or no such activation.
      TypeError: φ is no function, or it has no such parameter.

    Example:
      >>> from jgrad.activations import leaky_relu, relu6
      >>> kinks(leaky_relu), kinks(leaky_relu, "torch")
      ({0.0: 1.0}, {0.0: 0.01})
      >>> kinks(relu6)
      {0.0: 0.0, 6.0: 0.0}
    """
    check_function("kinks", phi)
    departures = lookup(_DEPARTURES, convention, "kink convention")
    base, parameters = _unbound(phi)
    facts = traits(base)
    if base is rational and phi is not rational:
        msg = "the kinks of rational are known at its default coefficients only"
        raise ValueError(msg)
    moved = _MOVING[base](**parameters) if base in _MOVING else facts.kinks
    points = tuple(float(x) for x in moved)
    if base in departures:
        return dict(zip(points, departures[base](**parameters), strict=True))
    if base is phi:
        return dict(zip(points, facts.kink_slopes, strict=True))
    with jax.ensure_compile_time_eval():
        return {x: float(slope(phi)(jnp.float32(x))) for x in points}


def with_kinks(phi: Elementwise, convention: str) -> Elementwise:
    """φ with the φ' of a convention at its kinks: the same values, other gradients at those points.

    Args:
      phi: an activation of the catalogue, or a partial of one.
      convention: "jax", "torch" or "tf", as for `kinks`.

    Example:
      >>> from jgrad.activations import leaky_relu
      >>> jax.grad(with_kinks(leaky_relu, "torch"))(jnp.float32(0.0))
      Array(0.01, dtype=float32)
    """
    at_kinks = kinks(phi, convention)

    @jax.custom_jvp
    def conventional(x: FloatArray) -> FloatArray:
        return phi(x)

    @conventional.defjvp
    def _(primals: tuple[FloatArray], tangents: tuple[FloatArray]) -> tuple:
        (x,), (dx,) = primals, tangents
        s = slope(phi)(x)
        for kink, value in at_kinks.items():
            s = jnp.where(x == kink, jnp.asarray(value, s.dtype), s)
        return conventional(x), s * dx

    return conventional
