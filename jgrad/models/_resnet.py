"""Residual networks, from an 8 x 8 image to ImageNet's ResNet-152."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from ._branches import Added, Start, branches
from ._config import Config
from ._layers import (
    Head,
    KernelInit,
    Stage,
    convolution,
    dropped,
    normalisation,
    parts,
    scaled,
)

#: Kind of block → the windows of its convolutions.
BLOCKS = {"basic": (3, 3), "bottleneck": (1, 3, 1)}

# Normalisations that shift by themselves, so that a bias before them would do nothing.
_SHIFTS = ("batch", "layer", "group", "weight_group")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet(Config):
    """A residual network; what it shares with all architectures stands in `Config`.

    He et al., 2015, arXiv:1512.03385, with the stride of a bottleneck on its 3 x 3 convolution. The
    first block of a stage but the first halves the resolution and doubles the channels; a 1 x 1
    convolution then matches the shortcut. The blocks after it have one shape and are scanned. The
    mean over all places goes to the head. ResNet-50 is
    `ResNet(stages=(3, 4, 6, 3), block="bottleneck", width=64, stem="imagenet")`, ResNet-18 is
    `ResNet(stages=(2, 2, 2, 2), width=64, stem="imagenet")`.

    Attributes:
      stages: the number of blocks in each.
      block: "basic" (two 3 x 3), or "bottleneck" (1 x 1, 3 x 3, and 1 x 1 to 4 times the channels).
      stem: "small" is a 3 x 3 convolution, for images of 8 x 8 or 32 x 32; "imagenet" is 7 x 7 with
        a stride of 2, and a maximum over 3 x 3 with another.
      order: "post" has its activation after the sum; "pre" has norm and activation before each
        convolution, and once more before the head: He et al., 2016, arXiv:1603.05027.
      branch: a name in `BRANCHES`: how the branches start and are scaled.
    """

    stages: tuple[int, ...] = (2, 2, 2)
    block: str = "basic"
    width: int = 16
    stem: str = "small"
    order: str = "post"
    branch: str = "plain"
    norm: str = "batch"

    def __post_init__(self):
        object.__setattr__(self, "stages", tuple(self.stages))
        super().__post_init__()
        self.one_of("block", BLOCKS)
        self.one_of("stem", ("small", "imagenet"))
        self.one_of("order", ("pre", "post"))
        if not self.stages or min(self.stages) < 1:
            msg = f"stages must be numbers of blocks, at least 1 each, got {self.stages}"
            raise ValueError(msg)
        self.start()
        if self.branch == "fixup" and self.norm in _SHIFTS:
            msg = f"fixup is for networks without normalisation, got norm={self.norm!r}"
            raise ValueError(msg)

    def check_task(self) -> None:
        """Images, large enough to be halved."""
        least = 2 ** (len(self.stages) - 1) * (4 if self.stem == "imagenet" else 1)
        fits = self.vocabulary is None and len(self.shape) == 3 and min(self.shape[:2]) >= least
        self.takes(f"images [height, width, channels] of {least} x {least} or more", fits)

    def start(self) -> Start:
        """How the branches start."""
        return branches(self.branch, sum(self.stages), len(BLOCKS[self.block]))

    def channels(self, stage: int) -> int:
        """Of the trunk, after that stage."""
        return self.width * 2**stage * (4 if self.block == "bottleneck" else 1)

    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """Stem, stages, mean over places, head."""
        return _Network(self, kernel_init, rngs)


class _Block(nnx.Module):
    """The trunk plus a branch of two or three convolutions."""

    def __init__(
        self,
        config: ResNet,
        stage: int,
        inputs: int,
        stride: int,
        kernel_init: KernelInit,
        rngs: nnx.Rngs,
    ):
        self.windows = BLOCKS[config.block]
        self.pre = config.order == "pre"
        self.phi = config.phi()
        self.dropout = config.dropout
        start = config.start()
        outputs = config.channels(stage)
        channels = [inputs, *[config.width * 2**stage] * (len(self.windows) - 1), outputs]

        def convolve(inputs: int, outputs: int, factor: float, **options: Any) -> nnx.Conv:
            bias = config.norm not in _SHIFTS
            init = scaled(kernel_init, factor)
            return convolution(config, inputs, outputs, init, rngs, bias=bias, **options)

        strided = self.windows.index(3)
        for k, window in enumerate(self.windows):
            factor = start.last if k == len(self.windows) - 1 else start.inner
            step = stride if k == strided else 1
            of = convolve(channels[k], channels[k + 1], factor, window=window, stride=step)
            setattr(self, f"conv_{k}", of)
            normed = channels[k if self.pre else k + 1]
            setattr(self, f"norm_{k}", normalisation(config, normed, rngs))
        self.added = Added(start, config.param_dtype)
        changes = inputs != outputs or stride > 1
        self.shortcut = convolve(inputs, outputs, 1.0, window=1, stride=stride) if changes else None
        # With pre-activation the trunk is left unnormalised.
        self.shortcut_norm = (
            normalisation(config, outputs, rngs) if changes and not self.pre else None
        )

    def __call__(self, h: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        return (self._pre if self.pre else self._post)(h, train, parts(key, len(self.windows)))

    def _pre(self, h: jax.Array, train: bool, keys: Any) -> jax.Array:
        f = h
        for k, key in enumerate(keys):
            a = self._act(k, getattr(self, f"norm_{k}")(f, train=train))
            if k == 0 and self.shortcut is not None:
                h = self.shortcut(a)
            f = getattr(self, f"conv_{k}")(dropped(a, self.dropout, key) if k else a)
        return self.added(h, f)

    def _post(self, h: jax.Array, train: bool, keys: Any) -> jax.Array:
        f = h
        for k, key in enumerate(keys):
            f = f if k == 0 else dropped(self._act(k, f), self.dropout, key)
            f = getattr(self, f"norm_{k}")(getattr(self, f"conv_{k}")(f), train=train)
        if self.shortcut is not None:
            h = self.shortcut(h)
        if self.shortcut_norm is not None:
            h = self.shortcut_norm(h, train=train)
        return self._act(0, self.added(h, f))

    def _act(self, k: int, z: jax.Array) -> jax.Array:
        # The activation of the trunk is "act"; those within the branch are numbered.
        with jax.named_scope(f"act_{k}" if k else "act"):
            return self.phi(z)


def _stage(config: ResNet, stage: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> Stage:
    def make(first: bool, rngs: nnx.Rngs) -> _Block:
        before = config.channels(stage - 1) if stage else config.width
        inputs = before if first else config.channels(stage)
        stride = 2 if first and stage else 1
        return _Block(config, stage, inputs, stride, kernel_init, rngs)

    return Stage(make, config.stages[stage], rngs)


class _Network(nnx.Module):
    """Stem, stages, mean over places, head."""

    def __init__(self, config: ResNet, kernel_init: KernelInit, rngs: nnx.Rngs):
        self.large = config.stem == "imagenet"
        self.pre = config.order == "pre"
        self.count = len(config.stages)
        self.phi = config.phi()
        outputs = config.channels(self.count - 1)
        self.stem = convolution(
            config,
            config.shape[-1],
            config.width,
            kernel_init,
            rngs,
            window=7 if self.large else 3,
            stride=2 if self.large else 1,
            bias=config.norm not in _SHIFTS,
        )
        for k in range(self.count):
            setattr(self, f"stage_{k}", _stage(config, k, kernel_init, rngs))
        # With pre-activation the norm is the last one, otherwise it is the stem's.
        self.norm = normalisation(config, outputs if self.pre else config.width, rngs)
        self.head = Head(config, outputs, scaled(kernel_init, config.start().head), rngs)

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        h = self.stem(x)
        if not self.pre:
            h = self._act("stem", h, train)
        if self.large:
            border: Any = ((1, 1), (1, 1))
            h = nnx.max_pool(h, (3, 3), (2, 2), padding=border)
        for k, own in enumerate(parts(key, self.count)):
            with jax.named_scope(f"stage_{k}"):
                h = getattr(self, f"stage_{k}")(h, train=train, key=own)
        if self.pre:
            h = self._act("last", h, train)
        return self.head(h.mean((1, 2)))

    def _act(self, where: str, h: jax.Array, train: bool) -> jax.Array:
        z = self.norm(h, train=train)
        with jax.named_scope(f"{where}/act"):
            return self.phi(z)
