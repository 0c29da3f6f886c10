"""What several rooms need to know about floating point."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
    """`x` in float32, or in its own dtype where that is wider."""
    # Not jnp.promote_types, which refuses bfloat16 with float32 under strict promotion.
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)
