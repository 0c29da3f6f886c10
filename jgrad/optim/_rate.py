"""Numbers that a caller gives: right on the host, or traced and taken as they are."""

import math
from typing import Any

import jax


def rate(value: Any, what: str = "learning rate") -> Any:
    """`value` itself, once it is known to be a finite number of at least zero.

    A traced value, an array and a schedule pass as they are: their numbers are not known here.

    Raises:
      ValueError: a number on the host that is negative, infinite or NaN.

    Example:
      >>> rate(-0.1)
      Traceback (most recent call last):
      ValueError: learning rate must be finite and at least 0, got -0.1
    """
    if callable(value) or isinstance(value, jax.Array):
        return value
    if not (math.isfinite(value) and value >= 0):
        msg = f"{what} must be finite and at least 0, got {value!r}"
        raise ValueError(msg)
    return value
