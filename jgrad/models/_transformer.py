"""The Transformer, pre- and post-norm: a classifier of sequences, or a language model."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from jgrad._types import Elementwise

from ._branches import Added, Start, branches
from ._config import Config
from ._layers import (
    Embedding,
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

#: How positions are told apart.
POSITIONS = ("sinusoidal", "learned", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transformer(Config):
    """A Transformer: Vaswani et al., 2017, arXiv:1706.03762; see `Config` for what all share.

    The examples are sequences of vectors or of tokens, or images, cut into patches. They are
    embedded, positions are added, and `depth` blocks follow, which are scanned: attention, then two
    linear maps with φ between, each the branch of a sum. The head reads the mean over the
    positions, the last one where the model is causal, or every one.

    Attributes:
      depth: blocks.
      heads: of the attention; they divide the width.
      expansion: units between a block's two linear maps, in units of the width.
      order: "post" normalises each sum, "pre" what goes into each branch, and what goes into the
        head: Xiong et al., 2020, arXiv:2002.04745.
      causal: whether a position sees only itself and those before it.
      per_position: whether the head reads every position.
      positions: a name in `POSITIONS`.
      patch: height and width of an image's patches.
      branch: a name in `BRANCHES`: how the branches start and are scaled.
    """

    depth: int = 4
    heads: int = 4
    expansion: int = 4
    order: str = "pre"
    activation: str | Elementwise = "gelu"
    norm: str = "layer"
    causal: bool = False
    per_position: bool = False
    positions: str = "sinusoidal"
    patch: int = 2
    branch: str = "plain"

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "depth", "heads", "expansion", "patch")
        self.one_of("order", ("pre", "post"))
        self.one_of("positions", POSITIONS)
        self.start()
        if self.width % self.heads:
            msg = f"width must be a multiple of heads={self.heads}, got {self.width}"
            raise ValueError(msg)
        if self.causal and self.norm == "batch":
            msg = "batch norm lets a position see those after it: not for causal=True"
            raise ValueError(msg)

    def check_task(self) -> None:
        """Sequences of vectors or tokens, or images that patches divide."""
        images = len(self.shape) == 3 and not any(side % self.patch for side in self.shape[:2])
        fits = len(self.shape) == 2 or images if self.vocabulary is None else len(self.shape) == 1
        self.takes(
            "floats [length, features], tokens [length], or images [height, width, channels] of "
            f"whole {self.patch} x {self.patch} patches",
            fits,
        )

    @property
    def length(self) -> int:
        """Positions: of the sequence, or patches."""
        return math.prod(self.shape[:2]) // self.patch**2 if self.images else self.shape[0]

    @property
    def images(self) -> bool:
        """Whether the examples are cut into patches."""
        return len(self.shape) == 3

    def start(self) -> Start:
        """How the branches start: two a block, of two layers each."""
        return branches(self.branch, 2 * self.depth, 2)

    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """Embedding, positions, blocks, head."""
        return _Network(self, kernel_init, rngs)


def sinusoids(length: int, width: int) -> Float[np.ndarray, "length width"]:
    """Sines of each position in even features, cosines in odd ones, wavelengths from 2π to 10⁴·2π.

    Vaswani et al., 2017, arXiv:1706.03762.

    Example:
      >>> sinusoids(2, 4).round(3).tolist()
      [[0.0, 1.0, 0.0, 1.0], [0.841, 0.54, 0.01, 1.0]]
    """
    feature = np.arange(width)
    angle = np.arange(length)[:, None] / 10_000.0 ** (feature // 2 * 2 / width)
    return np.where(feature % 2, np.cos(angle), np.sin(angle))


def attention(
    query: Float[jax.Array, "batch length heads size"],
    key: Float[jax.Array, "batch length heads size"],
    value: Float[jax.Array, "batch length heads size"],
    *,
    causal: bool,
) -> Float[jax.Array, "batch length heads size"]:
    """softmax(q kᵀ/√size) v in each head, the softmax in float32 at least.

    Vaswani et al., 2017, arXiv:1706.03762. With `causal`, a position attends to itself and
    those before it.
    """
    size = query.shape[-1]
    scores = jnp.einsum("bqhs,bkhs->bhqk", query, key) / math.sqrt(size)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if causal:
        earlier = np.tril(np.ones(scores.shape[-2:], bool))
        scores = jnp.where(earlier[None, None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    return jnp.einsum("bhqk,bkhs->bqhs", weights, value)


class _Attention(nnx.Module):
    """Attention in several heads, between linear maps."""

    def __init__(self, config: Transformer, kernel_init: KernelInit, rngs: nnx.Rngs):
        start = config.start()
        self.heads, self.causal = config.heads, config.causal

        def projection(factor: float) -> nnx.Linear:
            init = scaled(kernel_init, factor)
            return linear(config, config.width, config.width, init, rngs)

        self.query, self.key, self.value = (projection(f) for f in (1.0, 1.0, start.inner))
        self.out = projection(start.last)

    def __call__(self, h: jax.Array) -> jax.Array:
        q, k, v = (
            of(h).reshape(*h.shape[:2], self.heads, -1) for of in (self.query, self.key, self.value)
        )
        return self.out(attention(q, k, v, causal=self.causal).reshape(h.shape))


class _Wide(nnx.Module):
    """Two linear maps with φ between."""

    def __init__(self, config: Transformer, kernel_init: KernelInit, rngs: nnx.Rngs):
        start, inner = config.start(), config.expansion * config.width
        self.up = linear(config, config.width, inner, scaled(kernel_init, start.inner), rngs)
        self.down = linear(config, inner, config.width, scaled(kernel_init, start.last), rngs)
        self.phi = config.phi()

    def __call__(self, h: jax.Array) -> jax.Array:
        z = self.up(h)
        with jax.named_scope("act"):
            a = self.phi(z)
        return self.down(a)


class _Block(nnx.Module):
    """Attention and the wide layer, each the branch of a sum."""

    def __init__(self, config: Transformer, kernel_init: KernelInit, rngs: nnx.Rngs):
        self.pre = config.order == "pre"
        self.dropout = config.dropout
        self.attention = _Attention(config, kernel_init, rngs)
        self.wide = _Wide(config, kernel_init, rngs)
        self.norm_0, self.norm_1 = (normalisation(config, config.width, rngs) for _ in range(2))
        self.added_0, self.added_1 = (Added(config.start(), config.param_dtype) for _ in range(2))

    def __call__(self, h: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        sublayers = (
            (self.norm_0, self.attention, self.added_0),
            (self.norm_1, self.wide, self.added_1),
        )
        for (norm, branch, added), own in zip(sublayers, parts(key, 2), strict=True):
            f = dropped(branch(norm(h, train=train) if self.pre else h), self.dropout, own)
            h = added(h, f)
            h = h if self.pre else norm(h, train=train)
        return h


class _Network(nnx.Module):
    """Embedding, positions, blocks, head."""

    def __init__(self, config: Transformer, kernel_init: KernelInit, rngs: nnx.Rngs):
        self.config = config
        features = config.shape[-1] * (config.patch**2 if config.images else 1)
        self.embed = (
            Embedding(config, rngs)
            if config.vocabulary
            else linear(config, features, config.width, kernel_init, rngs)
        )
        small = jax.nn.initializers.normal(0.02)
        place = (config.length, config.width)
        learned = config.positions == "learned"
        self.positions = (
            nnx.Param(small(rngs.params(), place, config.param_dtype)) if learned else None
        )
        self.layers = stacked(lambda rngs: _Block(config, kernel_init, rngs), config.depth, rngs)
        self.norm = normalisation(config, config.width, rngs) if config.order == "pre" else None
        init = scaled(kernel_init, config.start().head)
        self.head = Head(config, config.width, init, rngs)

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        config = self.config
        first, rest = parts(key, 2)
        h = self.embed(_patches(x, config.patch) if config.images else x)
        h = dropped(self._positioned(h), config.dropout, first)
        h = through(self.layers, h, count=config.depth, train=train, key=rest)
        if self.norm is not None:
            h = self.norm(h, train=train)
        if not config.per_position:
            h = h[:, -1] if config.causal else h.mean(1)
        return self.head(h)

    def _positioned(self, h: jax.Array) -> jax.Array:
        length, width = h.shape[1:]
        if self.positions is not None:
            return h + self.positions[...][None, :length].astype(h.dtype)
        if self.config.positions == "sinusoidal":
            return h + jnp.asarray(sinusoids(length, width), h.dtype)[None]
        return h


def _patches(
    x: Float[jax.Array, "batch height width channels"], side: int
) -> Float[jax.Array, "batch patches numbers"]:
    """The images cut into squares, row by row, each flattened."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, channels)
    return x.swapaxes(2, 3).reshape(batch, -1, side * side * channels)
