"""Initial parameters of many seeds at once."""

import functools
from collections.abc import Callable

import jax

from jgrad import inits, models
from jgrad._types import PyTree
from jgrad.models import Architecture


def drawn(
    model: Architecture, init: str, keys: jax.Array, gain: float = 1.0
) -> tuple[PyTree, PyTree]:
    """Initial (params, state) of one network for every key, along a leading axis."""
    compiled = _compiled(inits.get(init))

    def one(key: jax.Array) -> tuple[PyTree, PyTree]:
        _, params, state = models.build(model, key, init=compiled, gain=gain)
        return params, state

    return jax.vmap(one)(keys)


@functools.cache
def _compiled(init: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`init`, compiled once for each shape; op by op it costs seconds in every new process."""
    return jax.jit(init, static_argnums=(1, 2))
