"""Slopes of activations, and their logarithms."""

import functools
import operator

import jax.numpy as jnp

from jgrad._numerics import at_least_float32
from jgrad._types import Elementwise, FloatArray

from ._catalog import LOG_SLOPES
from ._link import check_function, check_parameters, defaults_of, derivative_of, float_array


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
      TypeError: φ is no function, the order no int; or, when it is called, x is not of a float
        dtype.

    Example:
      >>> from jgrad.activations import sigmoid
      >>> [round(float(y), 4) for y in slope(sigmoid)(jnp.array([1.0, 2.0, 3.0]))]
      [0.1966, 0.105, 0.0452]
    """
    check_function("slope", phi)
    try:
        times = operator.index(order)
    except TypeError:
        msg = f"order is how many times to differentiate, an int; got {order!r}"
        raise TypeError(msg) from None
    if times < 0:
        msg = f"order is how many times to differentiate, at least 0; got {order}"
        raise ValueError(msg)
    return functools.reduce(lambda f, _: derivative_of(f), range(times), phi)


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
    check_function("log_slope", phi)
    settings = {}
    bare = phi
    while isinstance(bare, functools.partial):
        settings = {**bare.keywords, **settings}
        bare = bare.func
    # How φ is computed is not what φ is.
    settings.pop("accuracy", None)
    form = LOG_SLOPES.get(bare)
    if form is not None:
        check_parameters(bare.__name__, defaults_of(bare), settings)

    def log_slope_of_phi(x: FloatArray) -> FloatArray:
        x = at_least_float32(float_array("log_slope", x))
        return jnp.log(jnp.abs(slope(phi)(x))) if form is None else form(x, **settings)

    return log_slope_of_phi
