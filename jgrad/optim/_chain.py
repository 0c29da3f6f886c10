"""Clipping and an optimiser in one optax transformation."""

from collections.abc import Callable
from typing import Any

import optax

from jgrad._names import lookup

from ._clip import clip as clipping
from ._rate import rate

#: Name → function from the learning rate (and that optimiser's own keywords) to a transformation.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": lambda learning_rate, momentum=0.9, **more: optax.sgd(
        learning_rate, momentum=momentum, **more
    ),
    "adam": optax.adam,
    "rmsprop": optax.rmsprop,
}


def chain(
    *,
    optimizer: str = "sgd",
    learning_rate: Any = 1e-2,
    clip: str = "none",
    **keywords: Any,
) -> optax.GradientTransformation:
    """Clipping, then the optimiser: `optax.chain(clip, optimizer(learning_rate))`.

    Args:
      optimizer: a name in `OPTIMIZERS`.
      learning_rate: a number, a traced number (so that many trainings vmap over it), or an optax
        schedule.
      clip: "none", "value:0.5" (each element), "norm:1.0" (each array), "global_norm:1.0" (all).
      keywords: the optimiser's own, such as `momentum=0.95` or `b2=0.95`.

    Raises:
      ValueError: an unknown optimiser or clipping, a negative or non-finite learning rate, a
        clipping threshold not above zero.
      TypeError: a keyword that the optimiser does not take.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = chain(optimizer="sgd", learning_rate=0.1, clip="value:1.0")
      >>> updates, _ = tx.update(jnp.array([0.5, -9.0]), tx.init(jnp.zeros(2)))
      >>> updates
      Array([-0.05,  0.1 ], dtype=float32)
    """
    return optax.chain(
        clipping(clip),
        lookup(OPTIMIZERS, optimizer, "optimiser")(rate(learning_rate), **keywords),
    )
