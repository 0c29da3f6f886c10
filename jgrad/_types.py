"""The types that signatures are written in."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Float

#: An array of any float dtype and shape.
FloatArray = Float[jax.Array, "..."]

#: A function applied elementwise: same shape and dtype out as in.
Elementwise = Callable[..., jax.Array]

#: Any pytree.
PyTree = Any
