"""A loss measured where it stands, and after a short training."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from jgrad import optim, probes


def measured(
    loss: Callable[..., Any],
    given: tuple[Any, ...],
    *,
    steps: int,
    optimizer: str,
    learning_rate: float,
) -> tuple[dict[int, probes.Flow], list[float]]:
    """The flow by step (0, and `steps` if it is more), and the losses from step 0 to `steps`.

    Every step sees the same arguments: what is asked is whether the gradient gets through, not how
    well the model generalises.
    """
    params, *rest = given
    tell = jax.jit(probes.value_grad_and_flow(loss))
    value, _, flow = tell(params, *rest)
    flows, losses = {0: flow}, [float(value)]
    if steps == 0:
        return flows, losses
    chain = optim.chain(optimizer=optimizer, learning_rate=learning_rate)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, *rest)
        updates, state = chain.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state, seen = chain.init(params), []
    for _ in range(steps):
        params, state, value = step(params, state)
        seen.append(value)
    value, _, flows[steps] = tell(params, *rest)
    return flows, [*(float(v) for v in jax.device_get(seen)), float(value)]
