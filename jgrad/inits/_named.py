"""Initialisers by name, with the signature of `jax.nn.initializers`."""

from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jgrad._names import lookup

_init = jax.nn.initializers


def orthogonal(scale: float = 1.0) -> Initializer:
    """Scale times a random matrix with orthonormal columns (or rows), of any float dtype.

    Drawn in float32 where the dtype is narrower: LAPACK has no QR there. Saxe et al., 2014,
    arXiv:1312.6120.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> orthogonal()(jax.random.key(0), (4, 4), jnp.bfloat16).dtype
      dtype(bfloat16)
    """
    return _in_float32(_init.orthogonal(scale))


def delta_orthogonal(scale: float = 1.0) -> Initializer:
    """A convolution kernel that is zero but at its centre, and there `orthogonal`.

    With circular padding an isometry times the scale, for no fewer channels out than in. Xiao et
    al., 2018, arXiv:1806.05393. A kernel without a window is all centre, as that of a head.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> delta_orthogonal()(jax.random.key(0), (3, 3, 4, 8), jnp.float32)[0].any()
      Array(False, dtype=bool)
    """
    # Not JAX's, which takes no dense kernel, and none with fewer channels out than in: a network
    # has both.
    central = orthogonal(scale)

    def init(key: Any, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        *window, inputs, outputs = shape
        middle = central(key, (inputs, outputs), dtype, out_sharding)
        if not window:
            return middle
        return jnp.zeros(shape, dtype).at[*[(side - 1) // 2 for side in window]].set(middle)

    return init


def _in_float32(init: Initializer) -> Initializer:
    def wide(key: Any, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> jax.Array:
        wider = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        return init(key, shape, wider, out_sharding).astype(dtype)

    return wide


#: Canonical name → initialiser. A name without a distribution is the normal one, which is what
#: mean-field theory speaks of; beyond infinite width only the variance matters.
INITIALIZERS: MappingProxyType[str, Initializer] = MappingProxyType(
    {
        "xavier_normal": _init.variance_scaling(1.0, "fan_avg", "normal"),
        "xavier_uniform": _init.variance_scaling(1.0, "fan_avg", "uniform"),
        "he_normal": _init.variance_scaling(2.0, "fan_in", "normal"),
        "he_uniform": _init.variance_scaling(2.0, "fan_in", "uniform"),
        "lecun_normal": _init.variance_scaling(1.0, "fan_in", "normal"),
        "lecun_uniform": _init.variance_scaling(1.0, "fan_in", "uniform"),
        "torch_default": _init.variance_scaling(1 / 3, "fan_in", "uniform"),
        "orthogonal": orthogonal(),
        "delta_orthogonal": delta_orthogonal(),
        "zeros": _init.zeros,
    }
)

#: Other names in use → canonical name.
ALIASES: MappingProxyType[str, str] = MappingProxyType(
    {
        "xavier": "xavier_normal",
        "glorot": "xavier_normal",
        "glorot_normal": "xavier_normal",
        "glorot_uniform": "xavier_uniform",
        "he": "he_normal",
        "kaiming": "he_normal",
        "kaiming_normal": "he_normal",
        "kaiming_uniform": "he_uniform",
        "lecun": "lecun_normal",
    }
)


def get(name: str) -> Initializer:
    """The initialiser of that name or alias, (key, shape, dtype) -> weights of that shape.

    The last two axes of `shape` are (in, out), those before them a convolution's window.
    `xavier_*` (also `glorot_*`) has variance 2/(fan_in + fan_out) (Glorot & Bengio, 2010), `he_*`
    (also `kaiming_*`) 2/fan_in (He et al., 2015, arXiv:1502.01852), `lecun_*` 1/fan_in (LeCun et
    al., 1998), `torch_default` 1/(3 fan_in), uniform, as `torch.nn.Linear` draws. A bare `xavier`,
    `he` or `lecun` is the normal one. The normals are not truncated (jax.nn's own are).

    Raises:
      ValueError: there is none of that name; quotes the name and the nearest ones.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> weights = get("he_uniform")(jax.random.key(0), (300, 50), jnp.float32)
      >>> bool(abs(weights).max() <= (6 / 300) ** 0.5)
      True
    """
    every = {**INITIALIZERS, **{alias: INITIALIZERS[of] for alias, of in ALIASES.items()}}
    return lookup(every, name, "initialiser")
