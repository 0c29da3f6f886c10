"""One training step, and a chunk of them: pure functions of one point, for the caller to vmap."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from jgrad import inits, models, optim, probes
from jgrad._types import PyTree
from jgrad.models import Architecture
from jgrad.probes import Flow

from ._program import Point, Program


class Examples(NamedTuple):
    """A task's arrays on the device."""

    x_train: Float[Array, " train *shape"]
    y_train: Int[Array, " train"]
    x_test: Float[Array, " test *shape"]
    y_test: Int[Array, " test"]


class Carry(NamedTuple):
    """What one step hands to the next."""

    params: PyTree
    state: PyTree
    memory: PyTree


class Chunk(NamedTuple):
    """What one chunk of steps leaves behind.

    Attributes:
      train_loss: mean over the chunk's steps of the batch's cross-entropy, in nats.
      test_accuracy: share of all test examples classed rightly after the chunk.
      flow: the gradient flow at the chunk's first step, before its update.
    """

    train_loss: Float[Array, "*points"]
    test_accuracy: Float[Array, "*points"]
    flow: Flow


def cross_entropy(logits: Float[Array, " n classes"], y: Int[Array, " n"]) -> Float[Array, ""]:
    """Mean over the examples of -ln softmax(logits)[y], in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def chunk(program: Program, apply: Callable[..., Any]) -> Callable[..., tuple[Carry, Chunk]]:
    """The function (carry, learning rate, batches, examples) -> (carry, Chunk).

    It takes one step for each row of batches [steps, batch], which are indices into the training
    examples. The first step also records the flow.
    """
    loss = _loss(apply)
    plain = jax.value_and_grad(loss, has_aux=True)
    probed = probes.value_grad_and_flow(loss, has_aux=True)

    def run(
        carry: Carry, learning_rate: jax.Array, batches: jax.Array, examples: Examples
    ) -> tuple[Carry, Chunk]:
        optimizer = transformation(program, learning_rate)

        def step(
            carry: Carry, drawn: jax.Array, differentiate: Callable[..., Any]
        ) -> tuple[Carry, jax.Array, list[Any]]:
            batch = examples.x_train[drawn], examples.y_train[drawn]
            (value, state), grads, *flow = differentiate(carry.params, carry.state, *batch)
            updates, memory = optimizer.update(grads, carry.memory, carry.params)
            return Carry(optax.apply_updates(carry.params, updates), state, memory), value, flow

        carry, first, (flow,) = step(carry, batches[0], probed)
        carry, others = lax.scan(
            lambda carry, drawn: step(carry, drawn, plain)[:2], carry, batches[1:]
        )
        logits, _ = apply(carry.params, carry.state, examples.x_test)
        right = logits.argmax(-1) == examples.y_test
        mean_loss = (first + others.sum()) / len(batches)
        return carry, Chunk(mean_loss, right.mean(dtype=jnp.float32), flow)

    return run


def start(program: Program, point: Point) -> Carry:
    """The carry before the first step."""
    memory = transformation(program, point.learning_rate).init(point.params)
    return Carry(point.params, point.state, memory)


def transformation(program: Program, learning_rate: Any) -> optax.GradientTransformation:
    """The program's optimiser chain at one learning rate, which may be traced."""
    return optim.chain(optimizer=program.optimizer, learning_rate=learning_rate, clip=program.clip)


def _loss(apply: Callable[..., Any]) -> Callable[..., tuple[jax.Array, PyTree]]:
    """(params, state, x, y) -> (mean cross-entropy, new state)."""

    def loss(params: PyTree, state: PyTree, x: jax.Array, y: jax.Array) -> tuple[jax.Array, PyTree]:
        logits, state = apply(params, state, x, train=True)
        return cross_entropy(logits, y), state

    return loss


def drawn(
    model: Architecture, init: str, keys: jax.Array, gain: float = 1.0
) -> tuple[PyTree, PyTree]:
    """Initial (params, state) of one network for every key, along a leading axis."""
    compiled = _compiled(inits.get(init))

    def one(key: jax.Array) -> tuple[PyTree, PyTree]:
        _, params, state = models.build(model, key, init=compiled, gain=gain)
        return params, state

    return jax.vmap(one)(keys)


@functools.cache
def _compiled(init: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`init`, compiled once for each shape; op by op it costs seconds in every new process."""
    return jax.jit(init, static_argnums=(1, 2))
