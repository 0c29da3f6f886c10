"""What several rooms need to know about pytrees."""

import jax

from jgrad._types import PyTree


def paths(tree: PyTree) -> tuple[str, ...]:
    """The leaves' paths, joined by "/", in the order of `jax.tree.leaves`.

    Example:
      >>> paths({"dense": {"bias": 0.0, "kernel": 1.0}})
      ('dense/bias', 'dense/kernel')
    """
    with_path, _ = jax.tree_util.tree_flatten_with_path(tree)
    return tuple(jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in with_path)
