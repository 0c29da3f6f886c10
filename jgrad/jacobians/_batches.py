"""Running a function of one example over a batch, all at once or some at a time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jgrad._types import PyTree

from ._inputs import batch_axis, whole


def over_batch(one: Callable[..., PyTree], batch_size: int | None) -> Callable[..., PyTree]:
    """`one` over the leading axis of all its arguments, `batch_size` examples at a time.

    Turns of one size take their examples from all over the batch: where it lies on several devices,
    which divide batch_size, each then has its share of every turn, and nothing moves. The last turn
    of an uneven batch begins early and does some examples again, so that beside the result there
    is never more than one turn's need; `lax.map` joins such a rest on, which takes the whole
    result twice.

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
        place = _place_of_batch(jax.tree.leaves(xs)[0])
        if place is not None and turn_size % place.num_devices:
            # Explicit axes cannot be cut otherwise; the results go back to where the batch lies.
            whole = jax.sharding.PartitionSpec()
            return jax.sharding.reshard(of(*jax.sharding.reshard(xs, whole)), place)
        turns, rest = divmod(batch, turn_size)
        cut = (batch,) if rest else (turn_size, turns)
        # Slices that would end after the batch are moved back to end with it.
        starts = jnp.arange(0, batch, turn_size) if rest else jnp.arange(turns)

        def some(a: jax.Array, start: jax.Array) -> jax.Array:
            if rest:
                return lax.dynamic_slice_in_dim(a, start, turn_size)
            return lax.dynamic_index_in_dim(a, start, axis=1, keepdims=False)

        def put(a: jax.Array, part: jax.Array, start: jax.Array) -> jax.Array:
            if rest:
                return lax.dynamic_update_slice_in_dim(a, part, start, axis=0)
            return lax.dynamic_update_index_in_dim(a, part, start, axis=1)

        def turn(whole: PyTree, start: jax.Array) -> tuple[PyTree, None]:
            parts = several(*jax.tree.map(lambda a: some(a, start), split))
            return jax.tree.map(lambda a, part: put(a, part, start), whole, parts), None

        split = jax.tree.map(lambda a: a.reshape(*cut, *a.shape[1:]), xs)
        shapes = jax.eval_shape(several, *xs)
        empty = jax.tree.map(lambda s: _zeros_like((*cut, *s.shape[1:]), s), shapes)
        whole, _ = lax.scan(turn, empty, starts)
        return jax.tree.map(lambda a: a.reshape(batch, *a.shape[len(cut) :]), whole)

    return of


def _zeros_like(shape: tuple[int, ...], like: jax.ShapeDtypeStruct) -> jax.Array:
    """Zeros that lie as the batch of `like` does."""
    return lax.full(shape, 0, like.dtype, sharding=_place_of_batch(like))


def _place_of_batch(x: Any) -> jax.sharding.NamedSharding | None:
    """Where x's leading axis lies on a mesh of explicit axes; None if it is not spread over one."""
    sharding = jax.typeof(x).sharding
    axis = (*sharding.spec, None)[0]
    if axis is None:
        return None
    return jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec(axis))


def keys_for(key: jax.Array | None, x: PyTree) -> jax.Array:
    """One random key per example of x, where the example lies; `key` None is a fixed key."""
    keys = jax.random.split(jax.random.key(0) if key is None else key, batch_axis(x))
    place = _place_of_batch(jax.tree.leaves(x)[0])
    return keys if place is None else jax.sharding.reshard(keys, place)
