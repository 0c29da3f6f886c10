"""Layers that a scan keeps as one array, seen one by one by what goes by arrays or their axes."""

import fnmatch
from typing import Any

import jax
import optax

from jgrad._trees import paths
from jgrad._types import PyTree


def per_layer(inner: optax.GradientTransformation, stacked: str) -> optax.GradientTransformation:
    """A transformation that treats every array for itself, on trees with stacks of scanned layers.

    Each leaf is handed to `inner` alone; one whose path ("layers/linear/kernel") matches the
    pattern, layer by layer along its axis 0. So a stack [layer, in, out] is clipped, decayed or
    scaled as the layers [in, out] would be, and the program stays as large as for one layer.

    Args:
      inner: what treats every array for itself, such as `optax.adaptive_grad_clip` or `optax.lamb`;
        not what looks at all of them, such as `optax.clip_by_global_norm`.
      stacked: the pattern of the paths, as of `fnmatch`.

    Example:
      >>> import jax.numpy as jnp
      >>> clipping = per_layer(optax.clip_by_block_rms(1.0), "layers/*")
      >>> tree = {"layers": {"kernel": jnp.array([[3.0, 3.0], [0.5, 0.5]])}}
      >>> clipping.update(tree, clipping.init(tree))[0]["layers"]["kernel"]
      Array([[1. , 1. ],
             [0.5, 0.5]], dtype=float32)
    """

    def each(tree: PyTree) -> list[bool]:
        return [fnmatch.fnmatchcase(path, stacked) for path in paths(tree)]

    def init(params: PyTree) -> tuple[Any, ...]:
        leaves = zip(jax.tree.leaves(params), each(params), strict=True)
        return tuple((jax.vmap(inner.init) if many else inner.init)(leaf) for leaf, many in leaves)

    def update(
        updates: PyTree, state: Any, params: PyTree = None
    ) -> tuple[PyTree, tuple[Any, ...]]:
        leaves, structure = jax.tree.flatten(updates)
        beside: list[Any] = [None] * len(leaves) if params is None else jax.tree.leaves(params)
        changed = [
            (jax.vmap(inner.update) if many else inner.update)(leaf, of_leaf, param)
            for many, leaf, of_leaf, param in zip(each(updates), leaves, state, beside, strict=True)
        ]
        changes, states = zip(*changed, strict=True) if changed else ((), ())
        return structure.unflatten(changes), states

    return optax.GradientTransformation(init, update)
