"""One training step, and a chunk of them: pure functions of one point, for the caller to vmap."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jgrad import _jaxpr, jacobians, optim, probes
from jgrad._types import PyTree
from jgrad.probes import Flow

from ._objective import Judged
from ._program import Point, Program
from ._record import MEASURES

#: Which quantiles over a chunk's steps are kept of the gradient's norm.
QUANTILES = (0.05, 0.5, 0.95)


class Examples(NamedTuple):
    """A task's arrays on the device: pytrees whose leaves have the examples along axis 0."""

    train: PyTree
    test: PyTree


class Carry(NamedTuple):
    """What one step hands to the next.

    Attributes:
      params: the parameters.
      state: the model's state.
      memory: the optimiser's.
      clipping: the clipping's own, kept beside it to see what the clipping does.
      alive: false from the first step whose loss or gradient was not finite; from there on nothing
        changes.
    """

    params: PyTree
    state: PyTree
    memory: PyTree
    clipping: PyTree
    alive: Bool[Array, ""]


class Chunk(NamedTuple):
    """What one chunk of steps leaves behind.

    Attributes:
      train_loss: mean over the chunk's steps of the batch's loss; NaN once the point has diverged.
      judged: loss and score on the test examples after the chunk.
      alive_steps: how many of the chunk's steps had a finite loss and gradient.
      gradient_norm: quantiles over the chunk's steps of the whole gradient's norm, before clipping.
      clip_share: share of the steps in which clipping made the gradient smaller.
      sharpness: largest Hessian eigenvalue at the chunk's first step; NaN unless asked for.
      flow: the gradient flow at the chunk's first step, before its update; None where the loss has
        no activation.
    """

    train_loss: Float[Array, "*points"]
    judged: Judged
    alive_steps: Int[Array, "*points"]
    gradient_norm: Float[Array, "*points quantiles"]
    clip_share: Float[Array, "*points"]
    sharpness: Float[Array, "*points"]
    flow: Flow | None


class _Told(NamedTuple):
    """What is told of one step."""

    loss: jax.Array
    norm: jax.Array
    clipped: jax.Array


def chunk(program: Program, *, probed: bool) -> Callable[..., tuple[Carry, Chunk]]:
    """The function (carry, seed, learning rate, first, batches, examples) -> (carry, Chunk).

    It takes one step for each row of batches [steps, batch], which are indices into the training
    examples; `first` is the number of the first of these steps. That one also records the flow, if
    `probed`.
    """
    chain, objective = program.chain, program.objective
    clip = chain.clip_transformation(stacked=objective.stacked)
    # Accumulated gradients are clipped, not each; of that nothing is seen here.
    clips, seen = chain.clip != "none", chain.accumulate == 1

    def loss(params: PyTree, state: PyTree, batch: PyTree, key: jax.Array, scale: Any) -> Any:
        value, state = objective.loss(params, state, batch, key)
        return value * scale, state

    plain = jax.value_and_grad(loss, has_aux=True)
    telling = plain
    if probed:
        telling = probes.value_grad_and_flow(loss, has_aux=True, measures=MEASURES)
    # The steps are in a scan, and so are the layers of most models.
    plain, telling = _jaxpr.relaid(plain), _jaxpr.relaid(telling)

    def run(
        carry: Carry,
        seed: jax.Array,
        learning_rate: jax.Array,
        first: jax.Array,
        batches: jax.Array,
        examples: Examples,
    ) -> tuple[Carry, Chunk]:
        optimizer = transformation(program, learning_rate)
        stream = jax.random.key(seed)

        def inputs(carry: Carry, number: jax.Array, drawn: jax.Array) -> tuple[Any, ...]:
            # All of them are there, which XLA would check element by element.
            batch = jax.tree.map(
                lambda leaf: leaf.at[drawn].get(mode="promise_in_bounds"), examples.train
            )
            return carry.params, carry.state, batch, jax.random.fold_in(stream, number)

        def step(
            carry: Carry, number: jax.Array, drawn: jax.Array, differentiate: Callable[..., Any]
        ) -> tuple[Carry, _Told, list[Any]]:
            scale = optim.loss_scale(chain, carry.memory)
            (value, state), grads, *flow = differentiate(*inputs(carry, number, drawn), scale)
            updates, memory = optimizer.update(grads, carry.memory, carry.params)
            if chain.loss_scale != "none":
                value, grads = value / scale, jax.tree.map(lambda g: g / scale, grads)
                flow = [of_step.scale(1 / scale) for of_step in flow]
            norm, clipping, clipped = _norm(grads), carry.clipping, jnp.zeros(())
            if chain.clips_above is not None:  # told without another pass over the gradients
                clipped = (norm > chain.clips_above).astype(jnp.float32)
            elif clips:
                smaller, clipping = clip.update(grads, carry.clipping, carry.params)
                clipped = (_norm(smaller) < norm).astype(jnp.float32)
            # A dynamic loss scale passes over gradients that overflow; else they end a training.
            sound = jnp.isfinite(norm) | chain.loss_scale.startswith("dynamic")
            alive = carry.alive & jnp.isfinite(value) & sound
            params: Any = optax.apply_updates(carry.params, updates)
            new = Carry(params, state, memory, clipping, alive)
            # A diverged point stops where it was; the points beside it in the vmap go on.
            kept = jax.tree.map(lambda new, old: jnp.where(alive, new, old), new, carry)
            value = jnp.where(alive, value, jnp.nan).astype(jnp.float32)
            told = _Told(value, norm, clipped if seen else jnp.full((), jnp.nan))
            return kept._replace(alive=alive), told, flow

        numbers = first + jnp.arange(len(batches), dtype=first.dtype)
        sharpness = jnp.full((), jnp.nan)
        if program.sharpness:
            params, *rest = inputs(carry, numbers[0], batches[0])
            value = jacobians.sharpness(lambda params: objective.loss(params, *rest)[0])(
                params, key=jax.random.fold_in(stream, numbers[0])
            )
            sharpness = jnp.asarray(value, jnp.float32)
        carry, told, flow = step(carry, numbers[0], batches[0], telling)
        carry, others = lax.scan(
            lambda carry, row: step(carry, *row, plain)[:2], carry, (numbers[1:], batches[1:])
        )
        told = jax.tree.map(lambda one, more: jnp.append(more, one), told, others)
        params = optim.evaluation_params(chain, carry.memory, carry.params)
        return carry, Chunk(
            train_loss=told.loss.mean(),
            judged=objective.evaluate(params, carry.state, examples.test),
            alive_steps=jnp.isfinite(told.loss).sum(dtype=jnp.int32),
            gradient_norm=jnp.quantile(told.norm, jnp.asarray(QUANTILES)),
            clip_share=told.clipped.mean(),
            sharpness=sharpness,
            flow=flow[0] if flow else None,
        )

    return run


def _norm(grads: PyTree) -> Float[Array, ""]:
    """The norm of all gradients together, summed and told in float32 at least."""
    wide = jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), grads)
    return optax.tree.norm(wide)


def start(program: Program, point: Point) -> Carry:
    """The carry before the first step."""
    memory = transformation(program, point.learning_rate).init(point.params)
    clip = program.chain.clip_transformation(stacked=program.objective.stacked)
    return Carry(point.params, point.state, memory, clip.init(point.params), jnp.ones((), bool))


def transformation(program: Program, learning_rate: Any) -> optax.GradientTransformation:
    """The program's optimiser chain at one learning rate, which may be traced."""
    return program.chain.transformation(
        learning_rate, program.steps, stacked=program.objective.stacked
    )
