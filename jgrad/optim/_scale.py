"""Loss scaling: gradients too small for their format, computed from a larger loss.

The training multiplies its loss by `loss_scale(chain, state)` before it differentiates; the chain
divides the gradients by the same number. In float16 a gradient below 6e-8 would else be zero.
Micikevicius et al., 2018, arXiv:1710.03740.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jgrad._types import PyTree

# Beyond it float32 losses come near overflow for no gain.
_LARGEST = 2.0**24


class ScaledState(NamedTuple):
    """The state of `dynamic_loss_scale`.

    Attributes:
      scale: what the loss is to be multiplied by.
      streak: finite steps since the scale last changed.
      inner: the state of the chain within.
    """

    scale: Float[Array, ""]
    streak: Int[Array, ""]
    inner: Any


def dynamic_loss_scale(
    inner: optax.GradientTransformation,
    initial: float | int = 2.0**15,
    factor: float | int = 2.0,
    interval: int = 2000,
) -> optax.GradientTransformation:
    """The chain on gradients of a scaled loss; a step that overflowed is left out.

    If a gradient is not finite the updates are zero, the inner state stays and the scale is divided
    by `factor` (never below 1); after `interval` finite steps in a row it is multiplied by it
    (never above 2²⁴).

    Args:
      inner: what sees the gradients of the loss itself.
      initial: the first scale.
      factor: above 1.
      interval: how many finite steps earn a larger scale.

    Raises:
      ValueError: a number out of range.
    """
    if not (1 <= initial <= _LARGEST and factor > 1 and interval >= 1):
        msg = (
            f"dynamic_loss_scale needs 1 <= initial <= 2**24, factor > 1 and interval >= 1, got "
            f"{initial=}, {factor=}, {interval=}"
        )
        raise ValueError(msg)

    def init(params: PyTree) -> ScaledState:
        return ScaledState(
            jnp.full((), initial, jnp.float32), jnp.zeros((), jnp.int32), inner.init(params)
        )

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, ScaledState]:
        grads = jax.tree.map(lambda g: g * (1 / state.scale).astype(g.dtype), updates)
        finite = jnp.all(jnp.stack([jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]))
        changes, moved = inner.update(grads, state.inner, params)
        streak = state.streak + 1
        earned = streak >= interval
        larger = jnp.where(earned, jnp.minimum(state.scale * factor, _LARGEST), state.scale)
        smaller = jnp.maximum(state.scale / factor, 1.0)
        return jax.tree.map(
            lambda u: jnp.where(finite, u, jnp.zeros_like(u)), changes
        ), ScaledState(
            jnp.where(finite, larger, smaller),
            jnp.where(finite & ~earned, streak, 0),
            jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, state.inner),
        )

    return optax.GradientTransformation(init, update)
