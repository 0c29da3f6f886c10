"""Normalisations by name: what stands between a linear map and its activation.

Each is Flax's own module behind one call, (z, train=...). Weight standardisation normalises
kernels instead: `standardised` is what the linear maps then do to theirs (see `_layers`), and its
module here does nothing, or goes on with group norm.
"""

import functools
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jgrad._names import lookup


class _Identity(nnx.Module):
    """No normalisation."""

    def __init__(self, features: int, **_: Any):
        del features

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        del train
        return z


class _Batch(nnx.Module):
    """Over the examples (and places), each feature by itself: Ioffe & Szegedy, 2015.

    arXiv:1502.03167. Training uses the batch's own moments, evaluation the running ones (0.9 old +
    0.1 new), which are state.
    """

    def __init__(self, features: int, **options: Any):
        # Flax's 0.99 still holds a third of the initial guess after a hundred steps.
        self.norm = nnx.BatchNorm(features, momentum=0.9, **options)

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        return self.norm(z, use_running_average=not train)


class _Features(nnx.Module):
    """Over the features of one place of one example; nothing differs between train and test."""

    def __init__(self, own: Callable[..., Any], features: int, **options: Any):
        self.norm = own(features, **options)

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        del train
        return self.norm(z)


class _Group(nnx.Module):
    """Over groups of features, and all places of an image: Wu & He, 2018, arXiv:1803.08494.

    In sequences each position is by itself, so that none sees those after it. A group has the
    smallest number of features from 16 up that divides them, or all of them: the usual 32 groups
    would leave a narrow net with groups of one or two, which have nothing but a sign.
    """

    def __init__(self, features: int, *, dtype: Any, param_dtype: Any, rngs: nnx.Rngs):
        del rngs
        self.size = next((n for n in range(16, features) if features % n == 0), features)
        self.scale = nnx.Param(jnp.ones((features,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((features,), param_dtype))
        self.dtype = dtype

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        del train
        # Not Flax's own: that repeats the variance over a group before its root is taken, which
        # the probe cannot tell from an activation.
        wide = z.astype(jnp.promote_types(self.dtype, jnp.float32))
        groups = wide.reshape(*z.shape[:-1], -1, self.size)
        axes = (1, 2, -1) if z.ndim == 4 else (-1,)
        centred = groups - groups.mean(axes, keepdims=True)
        normed = centred * lax.rsqrt((centred**2).mean(axes, keepdims=True) + 1e-6)
        like = (1,) * (z.ndim - 1) + (-1,)
        scale, bias = self.scale[...].reshape(like), self.bias[...].reshape(like)
        return (normed.reshape(z.shape) * scale + bias).astype(self.dtype)


#: Name → constructor (features, dtype=, param_dtype=, rngs=) of a module that is
#: called as (z, train=...). "layer" is Ba, Kiros & Hinton, 2016, arXiv:1607.06450; "rms" Zhang &
#: Sennrich, 2019, arXiv:1910.07467; "weight" standardises kernels and nothing else.
NORMS: MappingProxyType[str, Callable[..., nnx.Module]] = MappingProxyType(
    {
        "none": _Identity,
        "batch": _Batch,
        "layer": functools.partial(_Features, nnx.LayerNorm),
        "rms": functools.partial(_Features, nnx.RMSNorm),
        "group": _Group,
        "weight": _Identity,
        "weight_group": _Group,
    }
)


def norm(name: str) -> Callable[..., nnx.Module]:
    """The normalisation of that name.

    Raises:
      ValueError: there is none; quotes the name and the nearest ones.
    """
    return lookup(NORMS, name, "normalisation")


def standardised(kernel: jax.Array) -> jax.Array:
    """The kernel [*window, in, out] with mean 0 and variance 1/fan_in in each output.

    (W - μ)/(σ √N), N = fan_in: Qiao et al., 2019, arXiv:1903.10520, with the 1/√N of Brock et al.,
    2021, arXiv:2101.08692, which keeps a unit's variance where no other normalisation follows.
    """
    axes = tuple(range(kernel.ndim - 1))
    wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
    mean = wide.mean(axes, keepdims=True)
    deviation = jnp.sqrt(((wide - mean) ** 2).mean(axes, keepdims=True) + 1e-10)
    fan_in = math.prod(kernel.shape[:-1])
    return ((wide - mean) / (deviation * math.sqrt(fan_in))).astype(kernel.dtype)
