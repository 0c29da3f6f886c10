"""Normalisations by name: what stands between a linear map and its activation."""

from collections.abc import Callable

import jax
from flax import nnx

from jgrad._names import lookup


class _Identity(nnx.Module):
    """No normalisation."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        del features, rngs

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        del train
        return z


class _Batch(nnx.Module):
    """Over the examples, each feature by itself: Ioffe & Szegedy, 2015, arXiv:1502.03167.

    Training uses the batch's own moments, evaluation the running ones (0.9 old + 0.1 new), which
    are state.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        # Flax's 0.99 still holds a third of the initial guess after a hundred steps.
        self.norm = nnx.BatchNorm(features, momentum=0.9, rngs=rngs)

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        return self.norm(z, use_running_average=not train)


class _Layer(nnx.Module):
    """Over the features, each example by itself: Ba, Kiros & Hinton, 2016, arXiv:1607.06450."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.norm = nnx.LayerNorm(features, rngs=rngs)

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        del train
        return self.norm(z)


class _RMS(nnx.Module):
    """Over the features, the scale only: Zhang & Sennrich, 2019, arXiv:1910.07467."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        self.norm = nnx.RMSNorm(features, rngs=rngs)

    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        del train
        return self.norm(z)


#: Name → constructor (features, rngs=...) of a module called as (z, train=...).
NORMS: dict[str, Callable[..., nnx.Module]] = {
    "none": _Identity,
    "batch": _Batch,
    "layer": _Layer,
    "rms": _RMS,
}


def norm(name: str) -> Callable[..., nnx.Module]:
    """The normalisation of that name.

    Raises:
      ValueError: there is none; quotes the name and the nearest ones.
    """
    return lookup(NORMS, name, "normalisation")
