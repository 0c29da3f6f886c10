"""The deep multilayer perceptron: every layer h ← φ(norm(W h + b)), or h + that with a skip."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from jgrad._types import Elementwise

from ._config import Config
from ._layers import Head, Hidden, KernelInit, linear, parts, stacked, through


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLP(Config):
    """A deep multilayer perceptron; what it shares with all architectures stands in `Config`.

    Examples of any shape are flattened. The first layer takes them to `width`; the `depth - 1`
    after it have the same shape and are scanned, so that a thousand layers compile as quickly as
    two. Then a linear map to the outputs. With a skip, each layer but the first adds its input to
    its output.

    Attributes:
      depth: hidden layers, which is activations on the way; at least 1.
      skip: whether a layer's input is added to its output.
    """

    depth: int = 30
    skip: bool = False
    activation: str | Elementwise = "tanh"

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "depth")

    def check_task(self) -> None:
        """Floats of any shape."""
        self.takes("floats of any shape", self.vocabulary is None)

    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """First layer, scanned layers, head."""
        return _Network(self, kernel_init, rngs)


class _Network(nnx.Module):
    """First layer, scanned layers, linear head."""

    def __init__(self, config: MLP, kernel_init: KernelInit, rngs: nnx.Rngs):
        def hidden(inputs: int, rngs: nnx.Rngs, *, skip: bool) -> Hidden:
            of = linear(config, inputs, config.width, kernel_init, rngs)
            return Hidden(config, of, config.width, rngs, skip=skip)

        self.first = hidden(config.size, rngs, skip=False)
        self.scanned = config.depth - 1
        self.layers = stacked(
            lambda rngs: hidden(config.width, rngs, skip=config.skip), self.scanned, rngs
        )
        self.head = Head(config, config.width, kernel_init, rngs)

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        first, rest = parts(key, 2)
        with jax.named_scope("first"):
            h = self.first(x.reshape(len(x), -1), train=train, key=first)
        h = through(self.layers, h, count=self.scanned, train=train, key=rest)
        return self.head(h)
