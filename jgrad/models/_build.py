"""A model leaves Flax here: from a configuration to a plain function and plain arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx

from jgrad import inits
from jgrad._types import FloatArray, PyTree

A = TypeVar("A", bound="Architecture")


@runtime_checkable
class Architecture(Protocol):
    """What every model's configuration is: hashable, fitted to a task, able to make its module.

    Where it has a field `dropout` that is not 0, training needs a random key.
    """

    def sized(self: A, shape: tuple[int, ...], outputs: int, vocabulary: int | None = None) -> A:
        """The same configuration for a task whose examples have that shape."""
        ...

    def module(self, kernel_init: Callable[..., jax.Array], rngs: nnx.Rngs) -> nnx.Module:
        """The Flax NNX module, called as (x, train=..., key=...); key is None or a random key."""
        ...


class Model(NamedTuple):
    """A model as a function and its arrays.

    Attributes:
      apply: (params, state, x, train=False, key=None) -> (outputs, new state); pure, so jit, vmap
        and grad are the caller's. Only dropout in training needs the key, and then must have it.
      params: what is trained, as nested dicts of arrays; scanned layers are stacked on axis 0.
      state: what training carries along beside them (batch norm's running moments), {} if nothing.
    """

    apply: Callable[..., tuple[jax.Array, PyTree]]
    params: PyTree
    state: PyTree


def build(
    config: Architecture,
    key: jax.Array,
    *,
    init: str | Callable[..., jax.Array] = "he",
    gain: float | FloatArray = 1.0,
) -> Model:
    """The model that `config` describes, its kernels drawn by `init` and multiplied by `gain`.

    Biases start at zero; what an architecture says of its own start (an identity for a recurrent
    kernel, a zero for a branch's last one) is the configuration's. Which initialiser and which gain
    only change the arrays: models that differ in nothing else share one compiled program. May be
    vmapped over `key` and `gain`.

    Args:
      config: for instance an `MLP`, fitted to its task by `sized`.
      key: a JAX random key.
      init: a name that `jgrad.inits.get` knows, or a function (key, shape, dtype) -> array.
      gain: a factor on every kernel that `init` draws.

    Raises:
      ValueError: there is no initialiser of that name, or the configuration is not sized.

    Example:
      >>> from jgrad.models import MLP
      >>> apply, params, state = build(MLP(depth=5).sized((3,), 2), jax.random.key(0))
      >>> outputs, _ = apply(params, state, jax.numpy.ones((7, 3)))
      >>> outputs.shape, params["layers"]["linear"]["kernel"].shape
      ((7, 2), (4, 64, 64))
    """
    drawn = inits.get(init) if isinstance(init, str) else init

    def kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: Any, *rest: Any) -> jax.Array:
        return (drawn(key, shape, dtype, *rest) * gain).astype(dtype)

    module = config.module(kernel_init, nnx.Rngs(key))
    graph, params, state = nnx.split(module, nnx.Param, ...)

    dropout = getattr(config, "dropout", 0.0)

    def apply(
        params: PyTree,
        state: PyTree,
        x: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, PyTree]:
        if train and dropout and key is None:
            msg = f"dropout={dropout} in training needs a random key: apply(..., train=True, key=)"
            raise ValueError(msg)
        # Flax writes new moments into a NumPy array in place, which would change the caller's.
        state = jax.tree.map(jnp.asarray, state)
        merged: Any = nnx.merge(graph, nnx.State(params), nnx.State(state))
        outputs = merged(x, train=train, key=key if train and dropout else None)
        return outputs, nnx.to_pure_dict(nnx.state(merged, nnx.Not(nnx.Param)))

    return Model(apply, nnx.to_pure_dict(params), nnx.to_pure_dict(state))
