"""What all configurations share: the task's sizes, the choices every model has, their checks.

A configuration is written before the task is known, `MLP(depth=30)`, and fitted to it by `sized`;
until then it can be compared, hashed and swept over, but not built.
"""

import abc
import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from jgrad import activations
from jgrad._names import unknown
from jgrad._types import Elementwise

from ._norms import NORMS

C = TypeVar("C", bound="Config")

#: The dtypes that a model may compute in; "float64" needs `jax_enable_x64`.
DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(abc.ABC):
    """What chooses a model's program: one value, one compilation.

    Attributes:
      shape: of one example; () until `sized`.
      outputs: how many numbers come out (of each position, where there are any); 0 until `sized`.
      vocabulary: how many different tokens there are, where examples are tokens; else None.
      width: units, or channels, of a hidden layer.
      activation: a name in `jgrad.activations.CATALOG`, or any elementwise function.
      norm: a name in `NORMS`.
      dropout: the share of a layer's outputs that training sets to zero; `apply` then needs a key.
      dtype: what is computed in, a name in `DTYPES`. Parameters and outputs are float32, or
        float64 with "float64".

    Raises:
      ValueError: a number out of its range, a name that is not known, or a task that the
        architecture does not fit.
    """

    shape: tuple[int, ...] = ()
    outputs: int = 0
    vocabulary: int | None = None
    width: int = 64
    activation: str | Elementwise = "relu"
    norm: str = "none"
    dropout: float = 0.0
    dtype: str = "float32"

    #: The normalisations that suit the architecture.
    norms: ClassVar[tuple[str, ...]] = tuple(NORMS)

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))
        self.phi()
        self.at_least(1, "width")
        self.at_least(0, "outputs")
        self.one_of("norm", self.norms)
        self.one_of("dtype", DTYPES)
        if not 0 <= self.dropout < 1:
            msg = f"dropout must be at least 0 and below 1, got {self.dropout}"
            raise ValueError(msg)
        if any(not _is_whole(axis) or axis < 1 for axis in self.shape):
            msg = f"shape must be of whole numbers from 1 up, got {self.shape}"
            raise ValueError(msg)
        if self.vocabulary is not None:
            self.at_least(1, "vocabulary")
        if self.shape:
            self.check_task()

    @abc.abstractmethod
    def check_task(self) -> None:
        """Refuse a shape or a vocabulary that the architecture cannot take."""

    @abc.abstractmethod
    def network(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """The module of a configuration that is sized."""

    def sized(self: C, shape: tuple[int, ...], outputs: int, vocabulary: int | None = None) -> C:
        """The same configuration for a task whose examples have that shape.

        Args:
          shape: of one example, without the batch.
          outputs: how many numbers come out.
          vocabulary: how many different tokens there are, where examples are tokens.

        Raises:
          ValueError: the task does not fit the architecture; says which shape is wanted.
        """
        if outputs < 1 or not tuple(shape):
            msg = f"a task has a shape and at least 1 output, got shape={shape}, outputs={outputs}"
            raise ValueError(msg)
        return dataclasses.replace(self, shape=tuple(shape), outputs=outputs, vocabulary=vocabulary)

    def module(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """The model as a Flax NNX module, called as (x, train=..., key=...).

        Raises:
          ValueError: it is not sized, or computes in float64 where JAX has none.
        """
        if not self.shape or not self.outputs:
            msg = (
                f"{type(self).__name__} does not know its task yet: call .sized(shape, outputs) "
                f"first (shape={self.shape}, outputs={self.outputs})"
            )
            raise ValueError(msg)
        if self.dtype == "float64" and not jax.config.read("jax_enable_x64"):
            msg = "dtype='float64' needs jax_enable_x64"
            raise ValueError(msg)
        return self.network(kernel_init, rngs)

    def phi(self) -> Elementwise:
        """The activation itself."""
        if isinstance(self.activation, str):
            return activations.get(self.activation)
        return self.activation

    def at_least(self, least: int, *fields: str) -> None:
        """Refuse a field that is no whole number from `least` up."""
        for field in fields:
            value = getattr(self, field)
            if not _is_whole(value):
                msg = f"{field} must be a whole number, got {value!r}"
                raise ValueError(msg)
            if value < least:
                msg = f"{field} must be at least {least}, got {value}"
                raise ValueError(msg)

    def one_of(self, field: str, names: Iterable[str]) -> None:
        """Refuse a field that is none of the names."""
        if getattr(self, field) not in names:
            what = f"{field} of {type(self).__name__}"
            raise ValueError(unknown(what, getattr(self, field), names))

    def takes(self, wanted: str, fits: bool) -> None:
        """Refuse the task where it does not fit, saying what is wanted."""
        if not fits:
            kind = "floats" if self.vocabulary is None else f"tokens (of {self.vocabulary})"
            msg = (
                f"{type(self).__name__} takes {wanted}; the task's examples are {kind} of "
                f"shape {self.shape}"
            )
            raise ValueError(msg)

    @property
    def size(self) -> int:
        """Numbers in one example."""
        return math.prod(self.shape)

    @property
    def param_dtype(self) -> Any:
        """What parameters and outputs are: float32 at least."""
        return jnp.promote_types(self.dtype, jnp.float32)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
