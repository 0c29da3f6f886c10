"""What a training minimises and how it is judged, whatever the model: hashable, pure, unbatched.

An objective is the part of a program that knows what parameters and examples mean. The engine
(`_step`, `_train`) only differentiates `loss`, and asks `evaluate` how well it went.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Shaped

from jgrad import models, probes
from jgrad._types import PyTree
from jgrad.models import Architecture

#: Test examples that are evaluated at once, so that a long test set needs no more memory.
_BLOCK = 512


class Judged(NamedTuple):
    """How well parameters do on the test examples; NaN where that cannot be said.

    Attributes:
      loss: mean loss, in nats for classes, squared units for numbers.
      score: accuracy, the share of the examples (or scored positions) classed rightly; for numbers,
        the share of the variance explained, 1 - Σ(ŷ - y)²/Σ(y - ȳ)², which is at most 1 and may be
        negative.
    """

    loss: Float[Array, ""]
    score: Float[Array, ""]


@runtime_checkable
class Objective(Protocol):
    """What the engine needs to know of a model and a task."""

    def loss(
        self, params: PyTree, state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[Float[Array, ""], PyTree]:
        """(loss, new state) on one batch in training."""
        ...

    def evaluate(self, params: PyTree, state: PyTree, test: PyTree) -> Judged:
        """How well the parameters do on all test examples."""
        ...

    @property
    def scope(self) -> str | None:
        """The named scope of the activations whose profile is kept; None for the main path."""
        ...

    @property
    def stacked(self) -> str:
        """The pattern of the parameters that hold a layer at each index of axis 0; "" for none."""
        ...


@dataclasses.dataclass(frozen=True)
class Supervised:
    """One of jgrad's models on labelled examples; a batch is (x, y).

    The loss follows from the labels: whole numbers are classes and cost -ln softmax(outputs)[y] in
    nats, averaged over the examples and positions whose label is not -1; floats are numbers and
    cost the squared error.
    """

    model: Architecture

    #: The scope in which a model of `jgrad.models` applies the activations of its main path.
    scope = "act"
    stacked = models.STACKED

    @property
    def apply(self) -> Callable[..., tuple[jax.Array, PyTree]]:
        """(params, state, x, train=, key=) -> (outputs, new state)."""
        return _apply(self.model)

    def loss(
        self, params: PyTree, state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[Float[Array, ""], PyTree]:
        """Mean loss of the batch in training mode, and the model's new state."""
        x, y = batch
        outputs, state = self.apply(params, state, x, train=True, key=key)
        errors, scored, _ = _judge(outputs, y, y)
        return errors.sum() / jnp.maximum(scored.sum(), 1), state

    def evaluate(self, params: PyTree, state: PyTree, test: PyTree) -> Judged:
        """Loss and score over the test examples, block by block."""
        x, y = test
        count, size = len(y), min(len(y), _BLOCK)
        place = jnp.arange(-(-count // size) * size).reshape(-1, size)

        def block(place: jax.Array) -> tuple[jax.Array, ...]:
            outputs, _ = self.apply(params, state, x[place % count])
            sums = _judge(outputs, y[place % count], y)
            real = place < count  # the last block is filled up with examples that do not count
            return tuple(jnp.where(_over(real, part), part, 0).sum() for part in sums)

        errors, scored, right = (part.sum() for part in lax.map(block, place))
        return Judged(errors / scored, right / scored)


@dataclasses.dataclass(frozen=True)
class Own:
    """Somebody's own loss, (params, batch) -> scalar, with a rewriting of its activations or none.

    Attributes:
      fn: the loss.
      rules: what `jgrad.probes.rewrite` takes, as a tuple of pairs; () leaves it as it is.
      stacked: the pattern of the parameters that hold a layer at each index of axis 0.
    """

    fn: Callable[..., Any]
    rules: tuple[tuple[str, Any], ...] = ()
    stacked: str = ""

    scope = None

    def _rewritten(self) -> Callable[..., Any]:
        return probes.rewrite(self.fn, dict(self.rules)) if self.rules else self.fn

    def loss(
        self, params: PyTree, state: PyTree, batch: PyTree, key: jax.Array
    ) -> tuple[Float[Array, ""], PyTree]:
        """The loss of one batch."""
        del key
        return self._rewritten()(params, batch), state

    def evaluate(self, params: PyTree, state: PyTree, test: PyTree) -> Judged:
        """The loss of all test examples at once; of a score nothing is known."""
        del state
        value = jnp.asarray(self._rewritten()(params, test), jnp.float32)
        return Judged(value, jnp.full((), jnp.nan))


@functools.cache
def _apply(model: Architecture) -> Callable[..., tuple[jax.Array, PyTree]]:
    """The model's function, made without computing a single initial number."""
    made = []

    def make(key: jax.Array) -> PyTree:
        apply, params, _ = models.build(model, key)
        made.append(apply)
        return params

    jax.eval_shape(make, jax.random.key(0))
    return made[0]


def _judge(
    outputs: Float[Array, "n *positions k"], y: Shaped[Array, "..."], all_y: Shaped[Array, "..."]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Each example's (or position's) loss, whether it is scored, and its share of the score."""
    if jnp.issubdtype(y.dtype, jnp.floating):
        errors = ((outputs - y) ** 2).mean(-1)
        variance = ((all_y - all_y.mean(0)) ** 2).mean()
        return errors, jnp.ones_like(errors), 1 - errors / variance
    scored = y >= 0
    errors = optax.softmax_cross_entropy_with_integer_labels(outputs, jnp.maximum(y, 0))
    right = (outputs.argmax(-1) == y) & scored
    return jnp.where(scored, errors, 0), scored.astype(errors.dtype), right.astype(errors.dtype)


def _over(flags: jax.Array, part: jax.Array) -> jax.Array:
    """`flags` [n] with as many axes as `part` [n, ...]."""
    return flags.reshape(-1, *[1] * (part.ndim - 1))
