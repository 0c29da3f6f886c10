"""The plain convolutional net: layers φ(norm(W * h + b)), stage after stage, no shortcuts."""

import dataclasses
from collections.abc import Callable

import jax
from flax import nnx

from ._config import Config
from ._layers import Head, Hidden, KernelInit, Stage, convolution, parts

#: What stands beyond an image's border.
PADDINGS = ("zeros", "circular")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CNN(Config):
    """A plain convolutional net; what it shares with all architectures stands in `Config`.

    The layers are shared out evenly over the stages. The first layer of a stage but the first has a
    stride of 2 and doubles the channels, the others have one shape and are scanned. The mean over
    all places goes to the head. With one stage and circular padding it is the net of Xiao et al.,
    2018, arXiv:1806.05393, which they trained 10,000 layers deep.

    Attributes:
      depth: convolutions; at least one a stage.
      stages: how many resolutions.
      window: a kernel's height and width.
      padding: a name in `PADDINGS`.
      skip: whether the input of a layer of one shape is added to its output.
    """

    depth: int = 8
    stages: int = 2
    width: int = 16
    window: int = 3
    padding: str = "zeros"
    skip: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "stages", "window")
        self.at_least(self.stages, "depth")
        self.one_of("padding", PADDINGS)

    def check_task(self) -> None:
        """Images, large enough to be halved."""
        least = 2 ** (self.stages - 1)
        fits = self.vocabulary is None and len(self.shape) == 3 and min(self.shape[:2]) >= least
        self.takes(f"images [height, width, channels] of {least} x {least} or more", fits)

    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """Stages, mean over places, head."""
        return _Network(self, kernel_init, rngs)

    def layers_of(self, stage: int) -> int:
        """How many layers a stage has; the first stages have one more where it does not divide."""
        each, more = divmod(self.depth, self.stages)
        return each + (stage < more)


def _stage(config: CNN, stage: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> Stage:
    width = config.width * 2**stage

    def make(first: bool, rngs: nnx.Rngs) -> Hidden:
        inputs = (width // 2 if stage else config.shape[-1]) if first else width
        of = convolution(
            config,
            inputs,
            width,
            kernel_init,
            rngs,
            window=config.window,
            stride=2 if first and stage else 1,
            circular=config.padding == "circular",
        )
        return Hidden(config, of, width, rngs, skip=config.skip and not first)

    return Stage(make, config.layers_of(stage), rngs)


class _Network(nnx.Module):
    """Stages, mean over places, head."""

    def __init__(self, config: CNN, kernel_init: KernelInit, rngs: nnx.Rngs):
        self.count = config.stages
        for k in range(self.count):
            setattr(self, f"stage_{k}", _stage(config, k, kernel_init, rngs))
        self.head = Head(config, config.width * 2 ** (self.count - 1), kernel_init, rngs)

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        h = x
        for k, own in enumerate(parts(key, self.count)):
            with jax.named_scope(f"stage_{k}"):
                h = getattr(self, f"stage_{k}")(h, train=train, key=own)
        return self.head(h.mean((1, 2)))
