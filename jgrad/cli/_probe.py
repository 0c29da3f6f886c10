"""A loss measured where it stands, and after a short training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from jgrad import diagnosis, optim, probes


class Stage(NamedTuple):
    """What is measured at one step of the training.

    Attributes:
      step: how many steps were taken before.
      loss: its value there.
      flow: of the gradient there.
      chain: what theory says of it, where the network is a plain chain.
      first_nonfinite: where the first NaN or infinity began, if there is one.
    """

    step: int
    loss: float
    flow: probes.Flow
    chain: diagnosis.Chain | None
    first_nonfinite: probes.NonFinite | None


def measured(
    loss: Callable[..., Any],
    given: tuple[Any, ...],
    *,
    steps: int,
    optimizer: str,
    learning_rate: float,
) -> tuple[list[Stage], list[float]]:
    """The stages (step 0, and `steps` if it is more), and the losses from step 0 to `steps`.

    Every step sees the same arguments: what is asked is whether the gradient gets through, not how
    well the model generalises.
    """
    loss, (params, *rest) = _of_arrays(*probes.pure_call(loss, given))
    tell = jax.jit(probes.value_grad_and_flow(loss))

    def stage(step: int, params: Any) -> Stage:
        value, _, flow = tell(params, *rest)
        said = diagnosis.chain(loss, (params, *rest), flow)
        flow = flow.on_host()
        broken = not np.isfinite(value) or any(np.any(flow[key].nonfinite) for key in flow)
        place = probes.first_nonfinite(loss)(params, *rest) if broken else None
        return Stage(step, float(value), flow, said, place)

    stages, losses = [stage(0, params)], []
    if steps == 0:
        return stages, [stages[0].loss]
    chain = optim.chain(optimizer=optimizer, learning_rate=learning_rate)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, *rest)
        updates, state = chain.update(grads, state, params)
        return optax.apply_updates(params, updates), state, value

    state = chain.init(params)
    for _ in range(steps):
        params, state, value = step(params, state)
        losses.append(value)
    stages.append(stage(steps, params))
    return stages, [*(float(v) for v in jax.device_get(losses)), stages[-1].loss]


def _of_arrays(
    loss: Callable[..., Any], given: tuple[Any, ...]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The call with what is no array in its arguments (an Equinox module's activation) held."""

    def is_array(leaf: Any) -> bool:
        return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int)

    def of_arrays(*arrays: Any) -> Any:
        full = jax.tree.map(
            lambda array, leaf: leaf if array is None else array,
            arrays,
            given,
            is_leaf=lambda x: x is None,
        )
        return loss(*full)

    if all(map(is_array, jax.tree.leaves(given))):
        return loss, given
    return of_arrays, jax.tree.map(lambda leaf: leaf if is_array(leaf) else None, given)
