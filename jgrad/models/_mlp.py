"""The deep multilayer perceptron: every layer h ← φ(norm(W h + b)), or h + that with a skip."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from jgrad import activations
from jgrad._types import Elementwise

from ._norms import norm


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLP:
    """What chooses a deep MLP's program: one value, one compilation.

    The first layer takes the features to `width`; the `depth - 1` after it have the same shape and
    are scanned, so that a thousand layers compile as quickly as two. Then a linear map to the
    classes. With a skip, each layer but the first adds its input to its output.

    Attributes:
      features: the length of one example.
      classes: how many numbers come out.
      depth: hidden layers, which is activations on the way; at least 1.
      width: units of a hidden layer.
      activation: a name in `jgrad.activations.CATALOG`, or any elementwise function.
      norm: a name in `NORMS`, applied to the pre-activation.
      skip: whether a layer's input is added to its output.

    Raises:
      ValueError: depth, width, features or classes below 1, or a name that is not known.
    """

    features: int
    classes: int
    depth: int = 30
    width: int = 64
    activation: str | Elementwise = "tanh"
    norm: str = "none"
    skip: bool = False

    def __post_init__(self):
        for field in ("features", "classes", "depth", "width"):
            if getattr(self, field) < 1:
                msg = f"{field} must be at least 1, got {getattr(self, field)}"
                raise ValueError(msg)
        self.phi()
        norm(self.norm)

    def phi(self) -> Elementwise:
        """The activation itself."""
        if isinstance(self.activation, str):
            return activations.get(self.activation)
        return self.activation

    def module(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """The model as a Flax NNX module, called as (x, train=...), kernels by `kernel_init`."""
        return _Network(self, kernel_init, rngs)


class _Hidden(nnx.Module):
    """φ(norm(W h + b)), with or without h added."""

    def __init__(
        self,
        config: MLP,
        features: int,
        kernel_init: Callable[..., jax.Array],
        rngs: nnx.Rngs,
        *,
        skip: bool,
    ):
        self.linear = nnx.Linear(features, config.width, kernel_init=kernel_init, rngs=rngs)
        self.norm = norm(config.norm)(config.width, rngs=rngs)
        self.phi = config.phi()
        self.skip = skip

    def __call__(self, h: jax.Array, *, train: bool) -> jax.Array:
        z = self.norm(self.linear(h), train=train)
        with jax.named_scope("act"):
            a = self.phi(z)
        return h + a if self.skip else a


class _Network(nnx.Module):
    """First layer, scanned layers, linear head."""

    def __init__(self, config: MLP, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs):
        self.first = _Hidden(config, config.features, kernel_init, rngs, skip=False)
        stacked = nnx.vmap(
            lambda keys: _Hidden(config, config.width, kernel_init, keys, skip=config.skip)
        )
        self.layers = stacked(rngs.split(config.depth - 1)) if config.depth > 1 else None
        self.head = nnx.Linear(config.width, config.classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        with jax.named_scope("first"):
            h = self.first(x, train=train)
        if self.layers is not None:
            through = nnx.scan(
                lambda h, layer: layer(h, train=train),
                in_axes=(nnx.Carry, 0),
                out_axes=nnx.Carry,
            )
            with jax.named_scope("layers"):
                h = through(h, self.layers)
        with jax.named_scope("head"):
            return self.head(h)
