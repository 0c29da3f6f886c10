"""What is trained of somebody's own model: its arrays of floats, however it is written.

A model may come as bare arrays, as a Flax NNX module, or as a pytree that holds more than arrays,
as an Equinox module does: functions, sizes, tables of whole numbers. All that is no array of floats
stays as it is, so the loss becomes one of the rest alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgrad import probes
from jgrad._trees import paths
from jgrad._types import PyTree


def parted(
    loss: Callable[..., Any], params: Any, batch: PyTree, seed: int
) -> tuple[Callable[..., Any], Callable[[int], PyTree]]:
    """The loss of (what is trained, batch), and the function from a seed to what is trained.

    Args:
      loss: called as loss(model, batch).
      params: the model; or a function from a random key to one, called with every seed's.
      batch: some examples.
      seed: whose model says what there is besides.

    Raises:
      TypeError: it holds no array of floats; says what it does hold.
    """
    _, (given, _) = probes.pure_call(loss, (params, batch))
    # A model can be called too, but it has parts.
    factory = callable(given) and jax.tree_util.all_leaves([given])

    def drawn(seed: int) -> tuple[Callable[..., Any], PyTree]:
        model = params(jax.random.key(seed)) if factory else params
        pure, (tree, _) = probes.pure_call(loss, (model, batch))
        return pure, tree

    pure, tree = drawn(seed)
    leaves, structure = jax.tree.flatten(tree)
    if not any(map(_learns, leaves)):
        held = ", ".join(sorted({type(leaf).__name__ for leaf in leaves})) or "nothing"
        msg = f"params wants arrays of floats to train, got {held}"
        raise TypeError(msg)

    def of_trained(part: PyTree, batch: PyTree) -> Any:
        own = iter(jax.tree.leaves(part))
        whole = [next(own) if _learns(leaf) else leaf for leaf in leaves]
        return pure(structure.unflatten(whole), batch)

    def draw(seed: int) -> PyTree:
        found = jax.tree.leaves(drawn(seed)[1] if factory else tree)
        return structure.unflatten([leaf if _learns(leaf) else None for leaf in found])

    return of_trained, draw


def names(params: PyTree) -> tuple[str, ...]:
    """The parameters' paths, "dense/kernel"; without the "value" that each of NNX's ends in."""
    found = paths(params)
    nnx = all(name.endswith("/value") for name in found)
    return tuple(name.removesuffix("/value") for name in found) if nnx else found


def _learns(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact)
