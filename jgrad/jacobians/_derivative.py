"""Derivatives of elementwise functions: one pass, no matrix."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jgrad._types import Elementwise

from ._inputs import as_arrays, as_structs, output_of, whole
from ._structure import elementwise_mode


def derivative(
    f: Elementwise, order: int = 1, *, check: bool = True
) -> Callable[[ArrayLike], jax.Array]:
    """The elementwise derivative f⁽ᵒʳᵈᵉʳ⁾ of an elementwise f, by autodiff.

    The function that comes back maps x of any shape to f⁽ᵒʳᵈᵉʳ⁾(x), same shape and dtype, by
    `order` nested passes with a tangent of ones: time and memory are linear in x.

    Args:
      f: an elementwise function.
      order: how often to differentiate.
      check: whether the traced f must show that no element depends on another; False for an f
        that is elementwise in a way that the trace does not show.

    Raises:
      ValueError: order < 0, or f is not (seen to be) elementwise.
      TypeError: x or f(x) is not of real floats.

    Example:
      >>> derivative(jnp.tanh)(jnp.array([0.0, 1.0])).round(4)
      Array([1.  , 0.42], dtype=float32)
      >>> derivative(lambda x: x**3, order=2)(jnp.array([1.0, 2.0]))
      Array([ 6., 12.], dtype=float32)
    """
    if whole("order", order) < 0:
        msg = f"order is {order}; wanted 0, 1, 2, ..."
        raise ValueError(msg)

    def of(x: ArrayLike) -> jax.Array:
        array: jax.Array = as_arrays(x)
        if not isinstance(array, jax.Array):
            msg = f"x is {jax.tree.structure(x)}; wanted one array"
            raise TypeError(msg)
        struct: jax.ShapeDtypeStruct = as_structs(array)
        out = output_of(f, struct, batched=False)
        if getattr(out, "shape", None) != array.shape:
            given = getattr(out, "shape", jax.tree.structure(out))
            msg = (
                f"f maps shape {array.shape} to {given}: it is not elementwise; "
                "jacobian(f) gives the derivative of any f"
            )
            raise ValueError(msg)
        mode, elementwise = elementwise_mode(f, struct)
        if check and not elementwise and array.size:
            msg = (
                f"f maps shape {array.shape} to the same, but as far as its trace shows, elements "
                "depend on one another: jacobian(f) gives the derivative of any f, and check=False "
                "takes your word that f is elementwise"
            )
            raise ValueError(msg)
        slope = _slope_forward if mode == "fwd" else _slope_reverse
        return functools.reduce(lambda g, _: slope(g), range(order), f)(array).astype(array.dtype)

    return of


def _slope_forward(f: Elementwise) -> Elementwise:
    return lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]


def _slope_reverse(f: Elementwise) -> Elementwise:
    return lambda x: jax.vjp(f, x)[1](jnp.ones_like(x))[0]
