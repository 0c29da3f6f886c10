"""Running a function of one example over a batch, all at once or some at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jgrad._types import PyTree

from ._inputs import batch_axis, whole


def over_batch(one: Callable[..., PyTree], batch_size: int | None) -> Callable[..., PyTree]:
    """`one` over the leading axis of all its arguments, `batch_size` examples at a time.

    The last turn of an uneven batch begins early and does some examples again, so that beside the
    result there is never more than one turn's need; `lax.map` joins such a rest on, which takes
    the whole result twice.

    Raises:
      ValueError: batch_size is below one.
    """
    if batch_size is not None and whole("batch_size", batch_size) < 1:
        msg = f"batch_size is {batch_size}; wanted a number of examples, or None for all"
        raise ValueError(msg)

    def several(*xs: PyTree) -> PyTree:
        if batch_axis(xs) != 1:
            return jax.vmap(one)(*xs)
        # Without vmap a loop in `one` may stop and branch, and a matrix keeps its layout.
        return jax.tree.map(lambda a: a[None], one(*jax.tree.map(lambda a: a[0], xs)))

    def of(*xs: PyTree) -> PyTree:
        batch = batch_axis(xs)
        turn_size = batch if batch_size is None else batch_size
        if batch <= turn_size:
            return several(*xs)
        starts = jnp.minimum(jnp.arange(0, batch, turn_size), batch - turn_size)

        def turn(whole: PyTree, start: jax.Array) -> tuple[PyTree, None]:
            some = [
                jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, turn_size), x) for x in xs
            ]
            return jax.tree.map(
                lambda a, part: lax.dynamic_update_slice_in_dim(a, part, start, 0),
                whole,
                several(*some),
            ), None

        shapes = jax.eval_shape(several, *xs)
        return lax.scan(turn, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes), starts)[
            0
        ]

    return of


def keys_for(key: jax.Array | None, batch: int) -> jax.Array:
    """One random key per example; `key` None is a fixed key."""
    return jax.random.split(jax.random.key(0) if key is None else key, batch)
