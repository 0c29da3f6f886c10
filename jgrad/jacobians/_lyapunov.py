"""Lyapunov exponents of a recurrent map, along the states that its inputs drive it through."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._chains import random_frame, scaled_qr
from ._inputs import (
    as_arrays,
    as_structs,
    batch_axis,
    flattened,
    one_example,
    output_of,
    shapes,
    whole,
)
from ._inputs import count as size_of
from ._krylov import Estimate
from ._operators import same_shapes
from ._structure import modes


def lyapunov_exponents(
    step: Callable[..., PyTree],
    count: int | None = None,
    *,
    backward: bool = False,
    discard: int = 0,
    blocks: int = 20,
) -> Callable[..., Estimate]:
    """Mean growth per step of ln ‖δstate‖, by direction: (state, inputs, key=None) -> Estimate.

    The QR method: a frame is carried along by Jacobian-vector products (or, backward, by
    vector-Jacobian products, the way a gradient goes through time) and made orthonormal at every
    step; the exponents are the means of ln R_ii, in float32 or better. It is the standard method,
    of Benettin et al., 1980 (Skokos, arXiv:0811.0882, surveys it), for recurrent networks Engelken,
    Wolf & Abbott, "Lyapunov spectra of chaotic recurrent neural networks", 2020, arXiv:2006.02427.
    It is a method for long runs: the growth over a given number of steps, exactly, is
    `log_singular_values`.

    A step whose derivative is singular in the arithmetic has exponents of -inf, or what rounding
    makes of them: in float32 slopes of tanh are 0 from |z| = 9 on, so the last exponents of a
    saturated network want float64.

    Args:
      step: (state, input) -> state, of one example; state a pytree of floats, such as an LSTM's
        (h, c).
      count: how many exponents, the largest; None for as many as the state has numbers.
      backward: follow gradients from the last step to the first. The exponents are the same in
        the limit, and differ over a finite run.
      discard: steps left out of the means while the frame turns into place: the first ones it
        sees.
      blocks: the standard errors are those of the mean of so many blocks of consecutive steps,
        which must be long against the memory of the dynamics.

    Returns:
      A function of the initial state [batch, ...] and the inputs [batch, time, ...] (a pytree of
      any kind), whose Estimate holds exponents [batch, count], largest first, and standard errors.

    Raises:
      ValueError: count, discard or blocks is out of range, shapes do not fit, or step fails or
        changes the state's shape.
      TypeError: the state is not of real floats.

    Example:
      >>> def step(h, x):
      ...     return jnp.array([[2.0, 1.0], [0.0, 0.5]]) @ h + x
      >>> found = lyapunov_exponents(step, discard=40)(jnp.ones((1, 2)), jnp.zeros((1, 100, 2)))
      >>> found.value.round(4)
      Array([[ 0.6931, -0.6931]], dtype=float32)
    """

    def of(state: PyTree, inputs: PyTree, key: jax.Array | None = None) -> Estimate:
        state, inputs = as_arrays(state, "state"), jax.tree.map(jnp.asarray, inputs)
        batch = batch_axis(state, "state")
        time = _time_axis(inputs, batch)
        example = one_example(state)
        n = size_of(example)
        wanted = n if count is None else whole("count", count)
        _check(wanted, n, discard, blocks, time)
        first = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[2:], a.dtype), inputs)
        after = output_of(step, example, first, what="step")
        same_shapes(after, as_structs(example), "step(state, input)", "state")
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), first)
        forwards, backwards = modes(lambda h: step(h, nothing), example, after, "step")
        if not (backwards if backward else forwards):
            msg = (
                f"step is not differentiable {'backwards' if backward else 'forwards'}, which "
                f"backward={backward} needs"
            )
            raise TypeError(msg)

        def one(state: PyTree, inputs: PyTree) -> Estimate:
            walk = _backward if backward else _forward
            logs = walk(step, state, inputs, jax.random.key(0) if key is None else key, wanted)
            kept = (time - discard) // blocks * blocks
            means = jnp.mean(logs[time - kept :].reshape(blocks, -1, wanted), axis=1)
            value = jnp.mean(means, axis=0)
            error = jnp.std(means, axis=0, ddof=1) / blocks**0.5
            order = jnp.argsort(-value)
            return Estimate(value[order], jnp.where(jnp.isinf(value), jnp.inf, error)[order])

        return jax.vmap(one)(state, inputs)

    return of


def _forward(
    step: Callable[..., PyTree], state: PyTree, inputs: PyTree, key: jax.Array, count: int
) -> Float[Array, "time count"]:
    flat, unravel = flattened(state)

    def turn(carry, x):
        flat, frame = carry

        def one(flat: jax.Array) -> jax.Array:
            return flattened(step(unravel(flat), x))[0]

        after, push = jax.linearize(one, flat)
        frame, logs = _orthonormal(jax.vmap(push, 1, 1)(frame))
        return (after, frame), logs

    return lax.scan(turn, (flat, random_frame(key, flat, count)), inputs)[1]


def _backward(
    step: Callable[..., PyTree], state: PyTree, inputs: PyTree, key: jax.Array, count: int
) -> Float[Array, "time count"]:
    """In the order in which the steps are seen: the last first."""
    flat, unravel = flattened(state)

    def one(flat: jax.Array, x: PyTree) -> jax.Array:
        return flattened(step(unravel(flat), x))[0]

    _, states = lax.scan(lambda flat, x: (one(flat, x), flat), flat, inputs)

    def turn(frame, at):
        flat, x = at
        _, pull = jax.vjp(functools.partial(one, x=x), flat)
        return _orthonormal(jax.vmap(lambda u: pull(u)[0], 1, 1)(frame))

    frame = random_frame(key, flat, count)
    return lax.scan(turn, frame, (states, inputs), reverse=True)[1][::-1]


def _orthonormal(
    frame: Float[Array, "n count"],
) -> tuple[Float[Array, "n count"], Float[Array, " count"]]:
    frame, triangle, log_scale = scaled_qr(frame)
    return frame, jnp.log(jnp.diag(triangle)) + log_scale


def _time_axis(inputs: PyTree, batch: int) -> int:
    leading = {leaf.shape[:2] for leaf in jax.tree.leaves(inputs)}
    if not leading:
        msg = (
            f"inputs holds no array: {inputs!r}, so there is no number of steps; a map without "
            f"input takes zeros of shape [{batch}, time] and leaves them"
        )
        raise ValueError(msg)
    if len(leading) != 1 or any(len(axes) != 2 or axes[0] != batch for axes in leading):
        msg = (
            f"inputs has the shapes {shapes(inputs)}; wanted [{batch}, time, ...], the state's "
            "batch first and one time for all"
        )
        raise ValueError(msg)
    return leading.pop()[1]


def _check(count: int, n: int, discard: int, blocks: int, time: int) -> None:
    if not 1 <= count <= n:
        msg = f"count is {count}; wanted 1 ... {n}, the numbers in a state"
        raise ValueError(msg)
    if not (whole("discard", discard) >= 0 and 2 <= whole("blocks", blocks) <= time - discard):
        msg = (
            f"discard is {discard} and blocks {blocks} for {time} steps; wanted discard ≥ 0 and "
            "2 ≤ blocks ≤ steps - discard"
        )
        raise ValueError(msg)
