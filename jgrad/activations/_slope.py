"""Slopes of activations, and their logarithms."""

import functools

import jax.numpy as jnp

from jgrad._numerics import at_least_float32
from jgrad._types import Elementwise, FloatArray

from ._catalog import LOG_SLOPES
from ._link import derivative_of


def slope(phi: Elementwise, order: int = 1) -> Elementwise:
    """The derivative φ', or φ'', ... of an elementwise function; shape and dtype are its input's.

    For an activation of the catalogue every order is right in the tails too; for any other function
    it is what `jax.grad` gives. Of a NaN every activation makes NaN. φ'(NaN) is NaN where φ is
    curved; where φ is made of straight pieces it is one piece's slope, as in jax.nn (0 for relu and
    relu6, `negative_slope` for leaky_relu) or, where jax.nn lacks φ, in PyTorch: look for NaN in
    values, not in slopes.

    Args:
      phi: any elementwise function of one array.
      order: how many times to differentiate; 0 gives φ itself.

    Raises:
      ValueError: the order is negative.

    Example:
      >>> from jgrad.activations import sigmoid
      >>> [round(float(y), 4) for y in slope(sigmoid)(jnp.array([1.0, 2.0, 3.0]))]
      [0.1966, 0.105, 0.0452]
    """
    if order < 0:
        msg = f"order is how many times to differentiate, at least 0; got {order}"
        raise ValueError(msg)
    return functools.reduce(lambda f, _: derivative_of(f), range(order), phi)


def log_slope(phi: Elementwise) -> Elementwise:
    """ln|φ'|, at least in float32, for measuring saturation.

    An activation of the catalogue that has a logarithmic form is finite wherever φ' ≠ 0, even where
    φ' itself is below the dtype's smallest number. Of any other function it is the logarithm of the
    slope that autodiff gives.

    Example:
      >>> from jgrad.activations import tanh
      >>> log_slope(tanh)(jnp.array([0.0, 60.0], jnp.bfloat16)).round(2)
      Array([   0.  , -118.61], dtype=float32)
    """
    settings = {}
    bare = phi
    while isinstance(bare, functools.partial):
        settings = {**bare.keywords, **settings}
        bare = bare.func
    # How φ is computed is not what φ is.
    settings.pop("accuracy", None)
    form = LOG_SLOPES.get(bare)

    def log_slope_of_phi(x: FloatArray) -> FloatArray:
        if form is None:
            return jnp.log(jnp.abs(slope(phi)(at_least_float32(x))))
        return form(at_least_float32(x), **settings)

    return log_slope_of_phi
