"""Recurrent nets: vanilla, LSTM and GRU layers, each scanned over time and stacked by a scan.

A layer's input kernels act on all positions at once; only what depends on the state is in the scan
over time. A kernel is drawn for each gate by itself, so that an initialiser sees its true fans.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jgrad import activations, inits
from jgrad._types import Elementwise

from ._config import Config
from ._layers import (
    Embedding,
    Head,
    KernelInit,
    dropped,
    normalisation,
    parts,
    scaled,
    stacked,
    through,
)

#: How the kernel from state to state starts; "init" draws it as all the others.
RECURRENT = ("orthogonal", "identity", "init")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recurrent(Config):
    """What the recurrent configurations share; with all architectures they share `Config`.

    The examples are sequences, of vectors or of tokens, which are embedded. The first of `depth`
    layers takes them to `width`; those after it have one shape and are scanned. The head reads the
    last state, or every one. Norms act on every sum that a gate or φ is applied to.

    Attributes:
      depth: layers.
      per_position: whether the head reads every state.
      recurrent: a name in `RECURRENT`; "identity" is Le, Jaitly & Hinton, 2015, arXiv:1504.00941.
      recurrent_scale: a factor on the kernel from state to state.
    """

    depth: int = 1
    activation: str | Elementwise = "tanh"
    per_position: bool = False
    recurrent: str = "orthogonal"
    recurrent_scale: float = 1.0

    norms: ClassVar[tuple[str, ...]] = ("none", "layer", "rms", "group")
    #: The gates, and the candidate among them, in the order of the kernels.
    gates: ClassVar[tuple[str, ...]]

    def __post_init__(self):
        super().__post_init__()
        self.at_least(1, "depth")
        self.one_of("recurrent", RECURRENT)

    def check_task(self) -> None:
        """Sequences of vectors or tokens."""
        fits = len(self.shape) == (2 if self.vocabulary is None else 1)
        self.takes("floats [length, features] or tokens [length]", fits)

    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """Embedding of tokens, layers, head."""
        return _Network(self, kernel_init, rngs)

    @abc.abstractmethod
    def layer(self, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> "Layer":
        """One layer, from so many features to the width."""

    def recurrent_init(self, kernel_init: KernelInit) -> KernelInit:
        """What draws the kernel from state to state."""
        initialisers = {
            "orthogonal": inits.orthogonal(),
            "identity": lambda _, shape, dtype: jnp.eye(*shape, dtype=dtype),
            "init": kernel_init,
        }
        return scaled(initialisers[self.recurrent], self.recurrent_scale)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RNN(Recurrent):
    """The vanilla net h_t = φ(W x_t + U h_(t-1) + b); see `Recurrent`."""

    gates: ClassVar[tuple[str, ...]] = ("act",)

    def layer(self, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> "Layer":
        """A vanilla layer."""
        return _Vanilla(self, inputs, kernel_init, rngs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gated(Recurrent):
    """What LSTM and GRU share; see `Recurrent`.

    Attributes:
      gate: the gates' activation.
    """

    gate: str | Elementwise = "sigmoid"

    def __post_init__(self):
        super().__post_init__()
        self.gate_phi()

    def gate_phi(self) -> Elementwise:
        """The gates' activation itself."""
        return activations.get(self.gate) if isinstance(self.gate, str) else self.gate


@dataclasses.dataclass(frozen=True, kw_only=True)
class LSTM(Gated):
    """Long short-term memory: Hochreiter & Schmidhuber, 1997, with Gers' forget gate, 2000.

    c_t = f c_(t-1) + i φ(z_g), h_t = o φ(norm(c_t)); see `Gated`.

    Attributes:
      forget_bias: where the forget gate's bias starts.
    """

    forget_bias: float = 1.0

    gates: ClassVar[tuple[str, ...]] = ("input_gate", "forget_gate", "candidate", "output_gate")

    def layer(self, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> "Layer":
        """An LSTM layer."""
        return _LSTM(self, inputs, kernel_init, rngs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRU(Gated):
    """Gated recurrent unit: Cho et al., 2014, arXiv:1406.1078, as cuDNN, PyTorch and Flax have it.

    h_t = (1 - u) n + u h_(t-1), n = φ(W x_t + b + r (U h_(t-1) + b')); see `Gated`.
    """

    gates: ClassVar[tuple[str, ...]] = ("reset_gate", "update_gate", "act")

    def layer(self, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs) -> "Layer":
        """A GRU layer."""
        return _GRU(self, inputs, kernel_init, rngs)


class Layer(nnx.Module):
    """One recurrent layer [batch, length, inputs] → [batch, length, width].

    Its kernels are [inputs, gates, width] and [width, gates, width].
    """

    #: How many arrays the memory has, from one position to the next.
    memories: ClassVar[int] = 1

    def __init__(self, config: Recurrent, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs):
        self.names = config.gates
        self.width = config.width
        self.dtype = jnp.dtype(config.dtype)
        self.phi = config.phi()
        self.dropout = config.dropout

        def kernel(init: KernelInit, rows: int) -> nnx.Param:
            drawn = [
                init(rngs.params(), (rows, config.width), config.param_dtype) for _ in self.names
            ]
            return nnx.Param(jnp.stack(drawn, axis=1))

        self.kernel = kernel(kernel_init, inputs)
        self.recurrent = kernel(config.recurrent_init(kernel_init), config.width)
        self.bias = nnx.Param(jnp.zeros((len(self.names), config.width), config.param_dtype))
        for name in self.names:
            setattr(self, f"{name}_norm", normalisation(config, config.width, rngs))

    @abc.abstractmethod
    def step(self, memory: Any, z: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
        """The memory one position on, h last in it; z is W x_t + b, [batch, gates, width]."""

    def __call__(self, h: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        del train  # no norm here tells training from evaluation
        kernel, recurrent, bias = (
            leaf[...].astype(self.dtype) for leaf in (self.kernel, self.recurrent, self.bias)
        )
        z = jnp.einsum("bti,igw->tbgw", h.astype(self.dtype), kernel) + bias

        def recur(h: jax.Array) -> jax.Array:
            return jnp.einsum("bv,vgw->bgw", h, recurrent)

        def step(memory: tuple[jax.Array, ...], z: jax.Array) -> Any:
            memory = self.step(memory, z, recur)
            return memory, memory[-1]

        start = (jnp.zeros((len(h), self.width), self.dtype),) * self.memories
        _, states = lax.scan(step, start, z)
        return dropped(states.swapaxes(0, 1), self.dropout, key)

    def activated(self, name: str, phi: Elementwise, z: jax.Array) -> jax.Array:
        """φ(norm(z)), in the scope of that name."""
        z = getattr(self, f"{name}_norm")(z, train=False)
        with jax.named_scope(name):
            return phi(z)


class _Vanilla(Layer):
    def step(self, memory: Any, z: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
        (h,) = memory
        return (self.activated("act", self.phi, (z + recur(h))[:, 0]),)


class _LSTM(Layer):
    memories = 2

    def __init__(self, config: LSTM, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs):
        super().__init__(config, inputs, kernel_init, rngs)
        self.gate = config.gate_phi()
        forget = self.names.index("forget_gate")
        self.bias[...] = self.bias[...].at[forget].set(config.forget_bias)
        self.act_norm = normalisation(config, config.width, rngs)

    def step(self, memory: Any, z: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
        c, h = memory
        z = z + recur(h)
        phis = (self.gate, self.gate, self.phi, self.gate)
        i, f, g, o = (
            self.activated(name, phi, z[:, k])
            for k, (name, phi) in enumerate(zip(self.names, phis, strict=True))
        )
        c = f * c + i * g
        return c, o * self.activated("act", self.phi, c)


class _GRU(Layer):
    def __init__(self, config: GRU, inputs: int, kernel_init: KernelInit, rngs: nnx.Rngs):
        super().__init__(config, inputs, kernel_init, rngs)
        self.gate = config.gate_phi()
        self.candidate_bias = nnx.Param(jnp.zeros((config.width,), config.param_dtype))

    def step(self, memory: Any, z: jax.Array, recur: Callable[[jax.Array], jax.Array]) -> Any:
        (h,) = memory
        s = recur(h)
        r = self.activated("reset_gate", self.gate, z[:, 0] + s[:, 0])
        u = self.activated("update_gate", self.gate, z[:, 1] + s[:, 1])
        candidate = s[:, 2] + self.candidate_bias[...].astype(self.dtype)
        n = self.activated("act", self.phi, z[:, 2] + r * candidate)
        return ((1 - u) * n + u * h,)


class _Network(nnx.Module):
    """Embedding of tokens, layers, head."""

    def __init__(self, config: Recurrent, kernel_init: KernelInit, rngs: nnx.Rngs):
        self.embed = Embedding(config, rngs) if config.vocabulary else None
        inputs = config.width if config.vocabulary else config.shape[-1]
        self.first = config.layer(inputs, kernel_init, rngs)
        self.scanned = config.depth - 1
        self.layers = stacked(
            lambda rngs: config.layer(config.width, kernel_init, rngs), self.scanned, rngs
        )
        self.per_position = config.per_position
        self.head = Head(config, config.width, kernel_init, rngs)

    def __call__(self, x: jax.Array, *, train: bool, key: jax.Array | None) -> jax.Array:
        first, rest = parts(key, 2)
        h = x if self.embed is None else self.embed(x)
        with jax.named_scope("first"):
            h = self.first(h, train=train, key=first)
        h = through(self.layers, h, count=self.scanned, train=train, key=rest)
        return self.head(h if self.per_position else h[:, -1])
