"""How an activation gets derivatives that are right: links, and the activation around them.

Autodiff differentiates a formula, and the derivative of a good formula is often a bad one:
1 - tanh² is 0 where tanh rounds to 1. A `link` states the derivative instead, as another link where
that has to be stated in its turn, so that every order is evaluated by a formula made for it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._names import lookup
from jgrad._types import Elementwise


def derivative_of(f: Elementwise) -> Elementwise:
    """The derivative as autodiff gives it, of the shape and dtype of the input."""

    def derivative(x: jax.Array) -> jax.Array:
        return jax.jvp(f, (x,), (jnp.ones_like(x),))[1]

    return derivative


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
      φ of the same signature, raising TypeError where its input is not of a float dtype.
    """

    @functools.wraps(phi)
    def faithful(x: jax.Array, **parameters: Any) -> jax.Array:
        x = jnp.asarray(x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            msg = f"{phi.__name__} takes an array of a float dtype, got {x.dtype}"
            raise TypeError(msg)
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
