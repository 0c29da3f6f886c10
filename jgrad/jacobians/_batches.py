"""Running a function of one example over a batch, all at once or some at a time."""

from collections.abc import Callable

import jax

from jgrad._types import PyTree


def over_batch(one: Callable[..., PyTree], batch_size: int | None) -> Callable[..., PyTree]:
    """`one` over the leading axis of all its arguments, `batch_size` examples at a time.

    Raises:
      ValueError: batch_size is below one.
    """
    if batch_size is None:
        return jax.vmap(one)
    if batch_size < 1:
        msg = f"batch_size is {batch_size}; wanted a number of examples, or None for all"
        raise ValueError(msg)
    return lambda *xs: jax.lax.map(lambda args: one(*args), xs, batch_size=batch_size)


def keys_for(key: jax.Array | None, batch: int) -> jax.Array:
    """One random key per example; `key` None is a fixed key."""
    return jax.random.split(jax.random.key(0) if key is None else key, batch)
