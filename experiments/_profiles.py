"""Signal and gradient by layer before the first step, in many networks at once."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import models, probes
from jgrad.sweeps import Supervised, drawn


def profiles(
    model: models.Architecture, inits: Sequence[str], x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ln of z's root mean square and ln ‖δz‖ by layer, [init, network, layer] each.

    There is a network for every example of `x` [networks, ...] with its class in `y`, which it
    sees alone; those of different initialisers are drawn from the same keys.
    """
    loss = Supervised(model).loss
    keys = jax.random.split(jax.random.key(0), len(x))

    @jax.jit
    @jax.vmap
    def probed(params, state, x, y, key):
        batch = x[None], y[None]
        return probes.gradient_flow(lambda p: loss(p, state, batch, key)[0])(params)

    examples = jnp.asarray(x), jnp.asarray(y)
    flows = [probed(*drawn(model, init, keys), *examples, keys) for init in inits]
    log_z = 0.5 * np.log(np.stack([flow.profile("z_second") for flow in flows]))
    return log_z, np.stack([flow.profile("log_dz") for flow in flows])
