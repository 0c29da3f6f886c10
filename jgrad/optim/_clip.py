"""Gradient clipping, written as "kind:threshold"."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jgrad._names import unknown
from jgrad._types import PyTree


def clip_by_norm(max_norm: float) -> optax.GradientTransformation:
    """Each array g of the tree becomes g · min(1, max_norm/‖g‖), by its own Euclidean norm.

    Keras and TensorFlow call this `clipnorm`. A stack of scanned layers is one array.
    Pascanu, Mikolov & Bengio, 2013, arXiv:1211.5063, Algorithm 1, array by array.
    """

    def clipped(g: jax.Array) -> jax.Array:
        norm = jnp.linalg.norm(g.ravel())
        # Written so that a zero gradient stays zero, not 0/0.
        return jnp.where(norm > max_norm, g * (max_norm / norm), g)

    def init(params: PyTree) -> PyTree:
        del params
        return optax.EmptyState()

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        return jax.tree.map(clipped, updates), state

    return optax.GradientTransformation(init, update)


#: Kind → function from the threshold to an optax transformation.
CLIPS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "value": optax.clip,
    "norm": clip_by_norm,
    "global_norm": optax.clip_by_global_norm,
}


def clip(description: str) -> optax.GradientTransformation:
    """The clipping that "none" or "kind:threshold" stands for, kind in `CLIPS`.

    Raises:
      ValueError: the kind is not known, or the threshold is missing, not finite or not above zero.

    Example:
      >>> clip("global_norm:1.0").update({"w": jnp.array([3.0, 4.0])}, optax.EmptyState())[0]
      {'w': Array([0.6, 0.8], dtype=float32)}
    """
    if description == "none":
        return optax.identity()
    kind, _, threshold = description.partition(":")
    if kind not in CLIPS:
        raise ValueError(unknown("clipping", kind, [*CLIPS, "none"]))
    try:
        number = float(threshold)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        msg = (
            f"clipping is written 'kind:threshold' with a finite threshold above 0, "
            f"for instance {kind + ':1.0'!r}; got {description!r}"
        )
        raise ValueError(msg)
    return CLIPS[kind](number)
