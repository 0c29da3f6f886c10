"""Gradient clipping, written as "kind:threshold"."""

import inspect
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jgrad import probes
from jgrad._names import described, known_options, unknown
from jgrad._types import PyTree

from ._call import Call, in_layers, named

#: Kind → the function from the threshold to an optax transformation.
CLIPS: dict[str, str] = {
    "value": "optax.clip",
    "norm": "jgrad.optim.clip_by_norm",
    "global_norm": "optax.clip_by_global_norm",
    "block": "optax.clip_by_block_rms",
    "adaptive": "optax.adaptive_grad_clip",
    "percentile": "jgrad.optim.clip_by_percentile",
}

#: Those that go by single arrays.
BY_ARRAY = ("norm", "block", "adaptive")


def clip(description: str) -> optax.GradientTransformation:
    """The clipping that "none" or "kind:threshold" stands for, kind in `CLIPS`.

    With g the gradient and c the threshold:

    - "value:c": each element to [-c, c];
    - "norm:c": each array to a Euclidean norm of at most c;
    - "global_norm:c": all arrays together to one;
    - "block:c": each array to a root mean square of at most c;
    - "adaptive:c,eps=0.001": each unit (column of a kernel) to c · max(‖w‖, eps), w the unit's
      weights (Brock et al., 2021, arXiv:2102.06171);
    - "percentile:p,window=100": all together to the p-th percentile of the norms seen so far.

    For "norm", "block" and "adaptive" a stack of scanned layers is one array, unless the paths of
    such stacks are told: `Chain.transformation(stacked=)`, `per_layer`.

    Raises:
      ValueError: the kind or an option is not known, or the threshold is missing, not finite or not
        above zero.

    Example:
      >>> clip("global_norm:1.0").update({"w": jnp.array([3.0, 4.0])}, optax.EmptyState())[0]
      {'w': Array([0.6, 0.8], dtype=float32)}
    """
    call = clip_call(description)
    return optax.identity() if call is None else call.made()


def clip_call(description: str, stacked: str = "") -> Call | None:
    """The call that makes that clipping, layer by layer in stacks; None for "none"."""
    if description.strip() == "none":
        return None
    kind, numbers, options = described(description, "clipping")
    if kind not in CLIPS:
        raise ValueError(unknown("clipping", kind, [*CLIPS, "none"]))
    threshold = numbers[0] if len(numbers) == 1 else math.nan
    if isinstance(threshold, bool | None) or not (math.isfinite(threshold) and threshold > 0):
        msg = (
            f"clipping is written 'kind:threshold' with one finite threshold above 0, "
            f"for instance {kind + ':1.0'!r}; got {description!r}"
        )
        raise ValueError(msg)
    _, *known = inspect.signature(named(CLIPS[kind])).parameters
    known_options(options, known, f"clipping {kind!r}")
    call = Call(CLIPS[kind], (threshold,), options)
    return in_layers(call, stacked) if kind in BY_ARRAY else call


def clip_by_norm(max_norm: float | int) -> optax.GradientTransformation:
    """Each array g of the tree becomes g · min(1, max_norm/‖g‖), by its own Euclidean norm.

    Keras and TensorFlow call this `clipnorm`.
    Pascanu, Mikolov & Bengio, 2013, arXiv:1211.5063, Algorithm 1, array by array.
    """

    def clipped(g: jax.Array) -> jax.Array:
        return _at_most(g, jnp.linalg.norm(g.ravel()), max_norm)

    def init(params: PyTree) -> PyTree:
        del params
        return optax.EmptyState()

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        return jax.tree.map(clipped, updates), state

    return optax.GradientTransformation(init, update)


class SeenNorms(NamedTuple):
    """The state of `clip_by_percentile`.

    Attributes:
      norms: the last finite norms, in a ring; infinite where there is none yet.
      number: how many finite norms have been seen.
    """

    norms: Float[Array, " window"]
    number: Int[Array, ""]


def clip_by_percentile(percentile: float | int, window: int = 100) -> optax.GradientTransformation:
    """All arrays together become g · min(1, c/‖g‖), c a percentile of the norms of this training.

    AutoClip of Seetharaman, Wichern, Pardo & Le Roux, 2020, arXiv:2007.14469, which keeps every
    norm since the first step, this one's too. Here the last `window` are kept; percentiles between
    two norms are interpolated linearly, as NumPy does. A norm that is not finite is not remembered,
    so that one bad step does not end the clipping.

    Args:
      percentile: above 0, at most 100, which never clips; 10 is usual.
      window: how many norms are kept.

    Raises:
      ValueError: a percentile or window out of range.

    Example:
      >>> clipping = clip_by_percentile(50)
      >>> state = clipping.init(jnp.zeros(1))
      >>> for g in (1.0, 3.0):
      ...     clipped, state = clipping.update(jnp.array([g]), state)
      >>> clipped
      Array([2.], dtype=float32)
    """
    if not 0 < percentile <= 100:
        msg = f"percentile must be above 0 and at most 100, got {percentile!r}"
        raise ValueError(msg)
    if not (isinstance(window, int) and window >= 1):
        msg = f"window must be a whole number of norms, at least 1, got {window!r}"
        raise ValueError(msg)

    def init(params: PyTree) -> SeenNorms:
        del params
        return SeenNorms(jnp.full(window, jnp.inf, jnp.float32), jnp.zeros((), jnp.int32))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, SeenNorms]:
        del params
        norm = optax.tree.norm(updates).astype(jnp.float32)
        seen = SeenNorms(state.norms.at[state.number % window].set(norm), state.number + 1)
        state = jax.tree.map(lambda new, old: jnp.where(jnp.isfinite(norm), new, old), seen, state)
        threshold = _percentile(state, percentile)
        return jax.tree.map(lambda g: _at_most(g, norm, threshold), updates), state

    return optax.GradientTransformation(init, update)


def _percentile(seen: SeenNorms, percentile: float | int) -> Float[Array, ""]:
    """That percentile of the norms seen; infinite while there is none."""
    ordered = jnp.sort(seen.norms)
    last = jnp.clip(seen.number, 1, len(ordered)) - 1
    position = last.astype(jnp.float32) * (percentile / 100)
    below = jnp.floor(position).astype(jnp.int32)
    share = position - below.astype(jnp.float32)
    low, high = ordered[below], ordered[jnp.minimum(below + 1, last)]
    # Not low + share · (high - low), which is NaN while both are infinite.
    return jnp.where(share > 0, (1 - share) * low + share * high, low)


def _at_most(g: jax.Array, norm: jax.Array, threshold: float | int | jax.Array) -> jax.Array:
    """`g`, of that norm, shortened to the threshold where it is longer."""
    # Written so that a zero gradient stays zero, not 0/0.
    return jnp.where(norm > threshold, g * jnp.asarray(threshold / norm, g.dtype), g)


def clipped_share(before: PyTree, after: PyTree) -> Float[Array, ""]:
    """The share of the gradient's norm that clipping took, 1 - ‖after‖/‖before‖.

    0 where clipping did not act, and for a gradient of zero.

    Args:
      before: the gradients before clipping.
      after: the same after it.

    Example:
      >>> float(clipped_share({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([0.6, 0.8])}))
      0.8000...
    """
    return probes.watch(grads=before, clipped=after)["total/clipped_share"]
