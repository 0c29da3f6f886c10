"""Derivatives of elementwise functions: one pass, no matrix."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jgrad._types import Elementwise

from ._inputs import as_arrays, as_structs, output_of


def derivative(f: Elementwise, order: int = 1) -> Callable[[ArrayLike], jax.Array]:
    """The elementwise derivative f⁽ᵒʳᵈᵉʳ⁾ of an elementwise f, by autodiff.

    The function that comes back maps x of any shape to f⁽ᵒʳᵈᵉʳ⁾(x), same shape and dtype, by
    `order` nested forward passes with a tangent of ones: time and memory are linear in x.

    Raises:
      ValueError: order < 0, or f does not keep x's shape.
      TypeError: x or f(x) is not of real floats.

    Example:
      >>> derivative(jnp.tanh)(jnp.array([0.0, 1.0])).round(4)
      Array([1.  , 0.42], dtype=float32)
      >>> derivative(lambda x: x**3, order=2)(jnp.array([1.0, 2.0]))
      Array([ 6., 12.], dtype=float32)
    """
    if order < 0:
        msg = f"order is {order}; wanted 0, 1, 2, ..."
        raise ValueError(msg)

    def of(x: ArrayLike) -> jax.Array:
        x = as_arrays(x)
        out = output_of(f, as_structs(x), batched=False)
        if getattr(out, "shape", None) != x.shape:
            given = getattr(out, "shape", jax.tree.structure(out))
            msg = (
                f"f maps shape {x.shape} to {given}: it is not elementwise; "
                "jacobian(f) gives the derivative of any f"
            )
            raise ValueError(msg)
        return functools.reduce(lambda g, _: _slope(g), range(order), f)(x).astype(x.dtype)

    return of


def _slope(f: Elementwise) -> Elementwise:
    return lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]
