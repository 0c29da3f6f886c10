"""How an activation gets derivatives that are right: links, and the activation around them.

Autodiff differentiates a formula, and the derivative of a good formula is often a bad one:
1 - tanh² is 0 where tanh rounds to 1. A `link` states the derivative instead, as another link where
that has to be stated in its turn, so that every order is evaluated by a formula made for it.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._names import lookup, unknown
from jgrad._types import Elementwise


def derivative_of(f: Elementwise) -> Elementwise:
    """The derivative as autodiff gives it, of the shape and dtype of the input."""

    def derivative(x: jax.Array) -> jax.Array:
        x = float_array("a slope", x)
        return jax.jvp(f, (x,), (jnp.ones_like(x),))[1]

    return derivative


def float_array(who: str, x: Any) -> jax.Array:
    """`x` as an array.

    Raises:
      TypeError: it is not of a float dtype.
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        msg = f"{who} takes an array of a float dtype, got {x.dtype}"
        raise TypeError(msg)
    return x


def check_function(who: str, f: object) -> None:
    """Nothing.

    Raises:
      TypeError: `f` is no function, such as an activation's name.
    """
    if not callable(f):
        hint = f"; get({f!r}) is the function of a name" if isinstance(f, str) else ""
        msg = f"{who} takes a function, got {type(f).__name__} {f!r}{hint}"
        raise TypeError(msg)


def defaults_of(phi: Elementwise) -> dict[str, Any]:
    """The parameters of an activation, each with its default."""
    parameters = inspect.signature(phi).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_parameters(
    name: str, defaults: Mapping[str, object], given: Mapping[str, object]
) -> None:
    """Nothing.

    Raises:
      TypeError: the activation has no parameter of that name, or it is no number and no array.
    """
    for key, value in given.items():
        if key not in defaults:
            msg = unknown(f"parameter of {name}", key, defaults)
            raise TypeError(msg if defaults else f"{name} has no parameters, got {key}")
        if not _is_parameter(value, defaults[key]):
            msg = (
                f"{name} takes {key} as a number or an array, got {type(value).__name__} {value!r}"
            )
            raise TypeError(msg)


def _is_parameter(value: object, default: object) -> bool:
    if isinstance(default, str):
        return True  # A choice by name, looked up where it is made.
    if isinstance(default, Sequence) and isinstance(value, Sequence):
        return not isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number or _is_array(value) or hasattr(value, "__jax_array__")


def check_positive(**parameters: object) -> None:
    """Nothing; what is not known before the program runs is taken as it comes.

    Raises:
      ValueError: a parameter is not above 0.
    """
    for name, value in parameters.items():
        if isinstance(value, int | float) and not value > 0:
            msg = f"{name} is wanted above 0, got {value}"
            raise ValueError(msg)


def check_not_negative(**parameters: object) -> None:
    """Nothing; what is not known before the program runs is taken as it comes.

    Raises:
      ValueError: a parameter is below 0.
    """
    for name, value in parameters.items():
        if isinstance(value, int | float) and not value >= 0:
            msg = f"{name} is wanted at 0 or above, got {value}"
            raise ValueError(msg)


def check_nonzero(**parameters: object) -> None:
    """Nothing; what is not known before the program runs is taken as it comes.

    Raises:
      ValueError: a parameter is 0 or not finite.
    """
    for name, value in parameters.items():
        if isinstance(value, int | float) and not 0 < abs(value) < float("inf"):
            msg = f"{name} is wanted other than 0, and finite, got {value}"
            raise ValueError(msg)


def link(derivative: Elementwise) -> Callable[[Elementwise], Elementwise]:
    """A decorator that makes `derivative` the derivative of a function of one array."""

    def linked(value: Elementwise) -> Elementwise:
        f = jax.custom_jvp(value)
        f.defjvp(lambda primals, tangents: (f(*primals), derivative(*primals) * tangents[0]))
        return f

    return linked


def by_accuracy(accuracy: str, faithful: Elementwise, fast: Elementwise) -> Elementwise:
    """The form that is named: right in every tail and order, or as jax.nn computes it.

    Raises:
      ValueError: it names neither.
    """
    return lookup({"faithful": faithful, "fast": fast}, accuracy, "accuracy")


def _is_array(parameter: object) -> bool:
    return isinstance(parameter, jax.Array | np.ndarray | np.generic)


def activation(phi: Elementwise) -> Elementwise:
    """A decorator: φ written for float32 and float64, made to serve every float dtype.

    Narrower inputs (bfloat16, float16) are widened to float32 and the result is rounded once,
    and so is each derivative's. Parameters given as arrays are differentiable. In a jaxpr the
    activation is one `custom_jvp_call` that bears its name.

    Returns:
      φ of the same signature, raising TypeError where its input is not of a float dtype, or where
      it has no such parameter.
    """
    defaults = defaults_of(phi)

    @functools.wraps(phi)
    def faithful(x: jax.Array, **parameters: Any) -> jax.Array:
        x = float_array(phi.__name__, x)
        check_parameters(phi.__name__, defaults, parameters)
        wide = x.dtype if jnp.finfo(x.dtype).bits >= 32 else jnp.dtype(jnp.float32)
        arrays = {k: jnp.asarray(v, wide) for k, v in parameters.items() if _is_array(v)}
        settings = {k: v for k, v in parameters.items() if k not in arrays}

        def plain(x: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
            return phi(x.astype(wide), **arrays, **settings).astype(x.dtype)

        plain.__name__ = phi.__name__
        named = jax.custom_jvp(plain)
        named.defjvp(functools.partial(jax.jvp, plain))
        return named(x, arrays)

    return faithful
