"""The parts that models are made of: linear maps, dropout, the head, and scanned stacks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from ._config import Config
from ._norms import norm, standardised

KernelInit = Callable[..., jax.Array]


def scaled(kernel_init: KernelInit, factor: float) -> KernelInit:
    """`kernel_init` times a factor."""
    if factor == 1:
        return kernel_init

    def init(*args: Any) -> jax.Array:
        return kernel_init(*args) * factor

    return init


def linear(
    config: Config,
    inputs: int,
    outputs: int,
    kernel_init: KernelInit,
    rngs: nnx.Rngs,
    *,
    bias: bool = True,
) -> nnx.Linear:
    """A linear map, of standardised weights where the norm asks for them."""
    return nnx.Linear(
        inputs,
        outputs,
        use_bias=bias,
        dot_general=_standardised_dot if _standardises(config) else lax.dot_general,
        kernel_init=kernel_init,
        rngs=rngs,
        **_dtypes(config),
    )


def convolution(
    config: Config,
    inputs: int,
    outputs: int,
    kernel_init: KernelInit,
    rngs: nnx.Rngs,
    *,
    window: int = 3,
    stride: int = 1,
    circular: bool = False,
    bias: bool = True,
) -> nnx.Conv:
    """A convolution [batch, height, width, inputs] → [..., outputs], padded as PyTorch does.

    The padding is symmetric, where XLA's "SAME" pads more at the end under a stride of 2.
    """
    contract = _standardised_convolution if _standardises(config) else lax.conv_general_dilated
    return nnx.Conv(
        inputs,
        outputs,
        (window, window),
        strides=stride,
        # Of both axes: a single pair would be one number for each.
        padding="CIRCULAR" if circular else (((window - 1) // 2, window // 2),) * 2,
        use_bias=bias,
        conv_general_dilated=contract,
        kernel_init=kernel_init,
        rngs=rngs,
        **_dtypes(config),
    )


class Hidden(nnx.Module):
    """φ(norm(W h + b)) of a linear map or a convolution, with or without h added."""

    def __init__(
        self, config: Config, linear: nnx.Module, features: int, rngs: nnx.Rngs, *, skip: bool
    ):
        self.linear = linear
        self.norm = normalisation(config, features, rngs)
        self.phi = config.phi()
        self.dropout = config.dropout
        self.skip = skip

    def __call__(self, h: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        z = self.norm(self.linear(h), train=train)
        with jax.named_scope("act"):
            a = self.phi(z)
        a = dropped(a, self.dropout, key)
        return h + a if self.skip else a


class Embedding(nnx.Embed):
    """Tokens [...] → vectors [..., width] of unit variance, as standardised floats have it."""

    def __init__(self, config: Config, rngs: nnx.Rngs):
        super().__init__(
            config.vocabulary or 0,
            config.width,
            embedding_init=jax.nn.initializers.normal(1.0),
            rngs=rngs,
            **_dtypes(config),
        )


def normalisation(config: Config, features: int, rngs: nnx.Rngs) -> Any:
    """The configuration's normalisation of so many features."""
    return norm(config.norm)(features, rngs=rngs, **_dtypes(config))


class Head(nnx.Linear):
    """The last linear map, whose weights are never standardised; out come float32 or wider."""

    def __init__(self, config: Config, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs):
        super().__init__(
            inputs, config.outputs, kernel_init=kernel_init, rngs=rngs, **_dtypes(config)
        )

    def __call__(self, inputs: jax.Array, out_sharding: Any = None) -> jax.Array:
        with jax.named_scope("head"):
            return super().__call__(inputs, out_sharding).astype(self.param_dtype)


def dropped(h: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout: a share of the elements is zero, the others 1/(1 - rate) as large.

    Without a key, h itself.
    """
    if key is None or rate == 0:
        return h
    kept = jax.random.bernoulli(key, 1 - rate, h.shape)
    return h * (kept / (1 - rate)).astype(h.dtype)


def parts(key: jax.Array | None, count: int) -> Any:
    """So many keys of one, or so many None of none."""
    return [None] * count if key is None else jax.random.split(key, count)


#: The paths of the parameters that hold a layer at each index of axis 0; all stacks of scanned
#: layers are attributes of this name.
STACKED = "*layers/*"


def stacked(make: Callable[[nnx.Rngs], nnx.Module], count: int, rngs: nnx.Rngs) -> Any:
    """So many modules of one kind, drawn independently, their arrays stacked; None for none."""
    return nnx.vmap(make)(rngs.split(count)) if count else None


def through(
    layers: Any, h: jax.Array, *, count: int, train: bool, key: jax.Array | None
) -> jax.Array:
    """What becomes of h in the stacked layers, one after the other: a scan, which compiles one."""
    if layers is None:
        return h

    def step(h: jax.Array, layer: Any, key: jax.Array | None) -> jax.Array:
        return layer(h, train=train, key=key)

    scan = nnx.scan(step, in_axes=(nnx.Carry, 0, 0), out_axes=nnx.Carry)
    with jax.named_scope("layers"):
        return scan(h, layers, None if key is None else jax.random.split(key, count))


class Stage(nnx.Module):
    """One layer that may change the shape, and layers of one shape after it."""

    def __init__(self, make: Callable[[bool, nnx.Rngs], nnx.Module], count: int, rngs: nnx.Rngs):
        """Of `count` layers, made by `make(is it the first, rngs)`."""
        self.first: Any = make(True, rngs)
        self.scanned = count - 1
        self.layers = stacked(lambda rngs: make(False, rngs), self.scanned, rngs)

    def __call__(self, h: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        first, rest = parts(key, 2)
        with jax.named_scope("first"):
            h = self.first(h, train=train, key=first)
        return through(self.layers, h, count=self.scanned, train=train, key=rest)


def _standardises(config: Config) -> bool:
    return config.norm.startswith("weight")


def _dtypes(config: Config) -> dict[str, Any]:
    return {"dtype": jnp.dtype(config.dtype), "param_dtype": config.param_dtype}


def _standardised_convolution(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> Any:
    return lax.conv_general_dilated(x, standardised(kernel), *args, **options)


def _standardised_dot(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    return lax.dot_general(x, standardised(kernel), *args, **options)
