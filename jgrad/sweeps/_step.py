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

from ._program import Point, Program
from ._record import profiles


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
    optimizer: PyTree
    step: Int[Array, ""]


class Chunk(NamedTuple):
    """What one chunk of steps leaves behind.

    Attributes:
      train_loss: mean over the chunk's steps of the batch's cross-entropy, in nats.
      test_accuracy: share of all test examples classed rightly after the chunk.
      profiles: quantity → [depth], of the gradient flow at the chunk's first step, before its
        update.
    """

    train_loss: Float[Array, "*points"]
    test_accuracy: Float[Array, "*points"]
    profiles: dict[str, Float[Array, "*points depth"]]


def cross_entropy(logits: Float[Array, " n classes"], y: Int[Array, " n"]) -> Float[Array, ""]:
    """Mean over the examples of -ln softmax(logits)[y], in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def chunk(program: Program, apply: Callable[..., Any]) -> Callable[..., tuple[Carry, Chunk]]:
    """The function (carry, point, examples) -> (carry, Chunk) that takes `program.chunk` steps.

    The first step also records the flow. Examples of a batch are drawn with replacement, from the
    point's key and the step's number alone.
    """
    loss = _loss(apply)
    plain = jax.value_and_grad(loss, has_aux=True)
    probed = probes.value_grad_and_flow(loss, has_aux=True)

    def step(
        carry: Carry, point: Point, examples: Examples, differentiate: Callable[..., Any]
    ) -> tuple[Carry, jax.Array, tuple[Any, ...]]:
        drawn = jax.random.randint(
            jax.random.fold_in(point.key, carry.step), (program.batch,), 0, len(examples.y_train)
        )
        batch = examples.x_train[drawn], examples.y_train[drawn]
        (value, state), grads, *flow = differentiate(carry.params, carry.state, *batch)
        optimizer = _optimizer(program, point)
        updates, memory = optimizer.update(grads, carry.optimizer, carry.params)
        params = optax.apply_updates(carry.params, updates)
        return Carry(params, state, memory, carry.step + 1), value, tuple(flow)

    def run(carry: Carry, point: Point, examples: Examples) -> tuple[Carry, Chunk]:
        carry, first, (flow,) = step(carry, point, examples, probed)
        carry, others = lax.scan(
            lambda carry, _: step(carry, point, examples, plain)[:2],
            carry,
            length=program.chunk - 1,
        )
        logits, _ = apply(carry.params, carry.state, examples.x_test)
        right = logits.argmax(-1) == examples.y_test
        mean_loss = (first + others.sum()) / program.chunk
        return carry, Chunk(mean_loss, right.mean(dtype=jnp.float32), profiles(flow))

    return run


def flow_sites(
    program: Program, apply: Callable[..., Any], point: Point, examples: Examples
) -> tuple[str, ...]:
    """The labels along the depth of `Chunk.profiles`; nothing is computed."""
    batch = examples.x_train[: program.batch], examples.y_train[: program.batch]
    _, _, flow = jax.eval_shape(
        probes.value_grad_and_flow(_loss(apply), has_aux=True), point.params, point.state, *batch
    )
    return tuple(flow.profile_names())


def _loss(apply: Callable[..., Any]) -> Callable[..., tuple[jax.Array, PyTree]]:
    """(params, state, x, y) -> (mean cross-entropy, new state)."""

    def loss(params: PyTree, state: PyTree, x: jax.Array, y: jax.Array) -> tuple[jax.Array, PyTree]:
        logits, state = apply(params, state, x, train=True)
        return cross_entropy(logits, y), state

    return loss


def start(program: Program, point: Point) -> Carry:
    """The carry before the first step."""
    memory = _optimizer(program, point).init(point.params)
    return Carry(point.params, point.state, memory, jnp.int32(0))


def _optimizer(program: Program, point: Point) -> optax.GradientTransformation:
    return optim.chain(
        optimizer=program.optimizer, learning_rate=point.learning_rate, clip=program.clip
    )


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
