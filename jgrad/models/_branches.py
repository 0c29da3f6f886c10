"""Residual branches h + s·F(h): how F and s start, by the name of the paper's recipe."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jgrad._names import lookup


class Start(NamedTuple):
    """How the branches of a network start.

    Attributes:
      inner: a factor on the kernels of a branch, but for its last.
      last: a factor on its last kernel.
      head: a factor on the head's kernel.
      constant: what a branch is multiplied by, for good.
      learned: where a multiplier that is learned starts; None for no such multiplier.
    """

    inner: float = 1.0
    last: float = 1.0
    head: float = 1.0
    constant: float = 1.0
    learned: float | None = None


def _plain(branches: int, layers: int) -> Start:
    """F as it is drawn."""
    del branches, layers
    return Start()


def _scaled(branches: int, layers: int) -> Start:
    """L^(-1/2) F, with which the sum over L branches keeps its variance."""
    del layers
    return Start(constant=branches**-0.5)


def _zero_scalar(branches: int, layers: int) -> Start:
    """α F with α learned from 0.

    De & Smith, 2020, arXiv:2002.10444 (SkipInit); Bachlechner et al., 2020, arXiv:2003.04887
    (ReZero).
    """
    del branches, layers
    return Start(learned=0.0)


def _fixup(branches: int, layers: int) -> Start:
    """Zhang, Dauphin & Ma, 2019, arXiv:1901.09321: L^(-1/(2m-2)) on F's kernels but the last.

    The last, and the head, start at 0; a multiplier is learned from 1. Fixup's scalar biases are
    spanned by the bias vectors that the linear maps have here.
    """
    inner = branches ** (-1 / (2 * layers - 2)) if layers > 1 else 1.0
    return Start(inner=inner, last=0.0, head=0.0, learned=1.0)


#: Name → function (branches in the network, layers in a branch) giving how they start.
BRANCHES: MappingProxyType[str, Callable[[int, int], Start]] = MappingProxyType(
    {
        "plain": _plain,
        "scaled": _scaled,
        "rezero": _zero_scalar,
        "skipinit": _zero_scalar,
        "fixup": _fixup,
    }
)


def branches(name: str, count: int, layers: int) -> Start:
    """How `count` branches of so many layers start.

    Raises:
      ValueError: there is no recipe of that name.
    """
    return lookup(BRANCHES, name, "branch")(count, layers)


class Added(nnx.Module):
    """The sum h + s·f of trunk and branch."""

    def __init__(self, start: Start, param_dtype: Any):
        learned = start.learned
        self.multiplier = None if learned is None else nnx.Param(jnp.asarray(learned, param_dtype))
        self.constant = start.constant

    def __call__(self, h: jax.Array, f: jax.Array) -> jax.Array:
        if self.multiplier is not None:
            f = f * self.multiplier[...].astype(f.dtype)
        return h + f if self.constant == 1 else h + f * self.constant
