"""The residual multilayer perceptron, h ← h + s·F(h), with pre-activation branches."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from ._branches import Added, branches
from ._config import Config
from ._layers import (
    Head,
    KernelInit,
    dropped,
    linear,
    normalisation,
    parts,
    scaled,
    stacked,
    through,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResidualMLP(Config):
    """A deep residual perceptron; what it shares with all architectures stands in `Config`.

    A linear map takes the example, flattened, to `width`; `depth` blocks of one shape follow, which
    are scanned; then norm, φ and the head. A block's branch is `layers` times norm, φ, linear: He
    et al., 2016, arXiv:1603.05027.

    Attributes:
      depth: blocks; at least 1.
      layers: linear maps in a branch.
      branch: a name in `BRANCHES`: how the branches start and are scaled.
    """

    depth: int = 15
    layers: int = 2
    branch: str = "plain"

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "depth", "layers")
        branches(self.branch, self.depth, self.layers)

    def check_task(self) -> None:
        """Floats of any shape."""
        self.takes("floats of any shape", self.vocabulary is None)

    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """Linear map, scanned blocks, norm and φ, head."""
        return _Network(self, kernel_init, rngs)


class _Block(nnx.Module):
    """h + s·F(h)."""

    def __init__(self, config: ResidualMLP, kernel_init: KernelInit, rngs: nnx.Rngs):
        start = branches(config.branch, config.depth, config.layers)
        self.count = config.layers
        for k in range(self.count):
            factor = start.last if k == self.count - 1 else start.inner
            setattr(self, f"norm_{k}", normalisation(config, config.width, rngs))
            of = linear(config, config.width, config.width, scaled(kernel_init, factor), rngs)
            setattr(self, f"linear_{k}", of)
        self.added = Added(start, config.param_dtype)
        self.phi = config.phi()
        self.dropout = config.dropout

    def __call__(self, h: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        f = h
        for k, own in enumerate(parts(key, self.count)):
            z = getattr(self, f"norm_{k}")(f, train=train)
            # The activation of the trunk is "act"; those within the branch are numbered.
            with jax.named_scope(f"act_{k}" if k else "act"):
                a = self.phi(z)
            f = getattr(self, f"linear_{k}")(dropped(a, self.dropout, own))
        return self.added(h, f)


class _Network(nnx.Module):
    """Linear map, scanned blocks, norm and φ, head."""

    def __init__(self, config: ResidualMLP, kernel_init: KernelInit, rngs: nnx.Rngs):
        start = branches(config.branch, config.depth, config.layers)
        self.count = config.depth
        self.first = linear(config, config.size, config.width, kernel_init, rngs)
        self.layers = stacked(lambda rngs: _Block(config, kernel_init, rngs), self.count, rngs)
        self.norm = normalisation(config, config.width, rngs)
        self.phi = config.phi()
        self.head = Head(config, config.width, scaled(kernel_init, start.head), rngs)

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        h = self.first(x.reshape(len(x), -1))
        h = through(self.layers, h, count=self.count, train=train, key=key)
        z = self.norm(h, train=train)
        with jax.named_scope("last/act"):
            a = self.phi(z)
        return self.head(a)
