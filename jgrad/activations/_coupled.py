"""Activations that are not elementwise: normalisers, gated units, maxout, crelu.

They have a table and traits of their own. The gated units name their halves: in `glu` the second
half of a layer's output is the gate, in the papers of SwiGLU and its like the first, and a silent
order has spoilt many a port. `split` cuts an array as the caller says.
"""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp

from jgrad._numerics import at_least_float32
from jgrad._types import FloatArray

from ._gaussian import gelu
from ._rectified import relu
from ._self_gated import silu
from ._sigmoidal import sigmoid, tanh

Coupled = Callable[..., jax.Array]
F = TypeVar("F", bound=Coupled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CoupledTraits:
    """Facts about an activation that couples several inputs; a test proves each of them.

    Attributes:
      takes: one "array", or a pair "value, gate".
      size: length of the output along the axis over that of the input (1 for pairs); for maxout,
        which divides it by its argument `pieces`, at pieces = 2.
      lower: the least value.
      upper: the largest value.
      sums_to: what the output sums to along the axis, where that is always the same.
      shift_invariant: adding a constant to all inputs changes nothing.
      degree: k where φ(c x) = cᵏ φ(x) for all c > 0, of all inputs together.
      source: where the definition is from.
    """

    takes: Literal["array", "value, gate"]
    size: Fraction = Fraction(1)
    lower: float = -math.inf
    upper: float = math.inf
    sums_to: float | None = None
    shift_invariant: bool = False
    degree: int | None = None
    source: str


#: Name → activation that is not elementwise.
COUPLED: dict[str, Coupled] = {}

_TRAITS: dict[Coupled, CoupledTraits] = {}


def _states(facts: CoupledTraits) -> Callable[[F], F]:
    def enter(phi: F) -> F:
        COUPLED[phi.__name__] = phi
        _TRAITS[phi] = facts
        return phi

    return enter


def coupled_traits(phi: Coupled) -> CoupledTraits:
    """The facts stated about an activation of COUPLED."""
    return _TRAITS[phi]


@_states(
    CoupledTraits(
        takes="array",
        lower=0.0,
        upper=1.0,
        sums_to=1.0,
        shift_invariant=True,
        source="Bridle, 1990, Probabilistic interpretation of feedforward classification "
        "network outputs",
    )
)
def softmax(x: FloatArray, *, axis: int = -1) -> FloatArray:
    """e^xᵢ / Σⱼ e^xⱼ along `axis`.

    Example:
      >>> softmax(jnp.log(jnp.array([1.0, 3.0]))).round(4)
      Array([0.25, 0.75], dtype=float32)
    """
    return jax.nn.softmax(at_least_float32(x), axis=axis).astype(x.dtype)


@_states(
    CoupledTraits(
        takes="array",
        upper=0.0,
        shift_invariant=True,
        source="ln softmax(x)",
    )
)
def log_softmax(x: FloatArray, *, axis: int = -1) -> FloatArray:
    """Ln softmax(x) along `axis`, right for the largest entry too, where x - logsumexp(x) is 0.

    Example:
      >>> log_softmax(jnp.array([0.0, -20.0]))
      Array([-2.0611537e-09, -2.0000000e+01], dtype=float32)
    """
    wide = at_least_float32(x)
    top = jnp.argmax(wide, axis=axis, keepdims=True)
    below = wide - jax.lax.stop_gradient(jnp.max(wide, axis=axis, keepdims=True))
    along = axis % x.ndim
    is_top = jax.lax.broadcasted_iota(top.dtype, x.shape, along) == top
    largest = jnp.sum(jnp.where(is_top, below, 0), axis=axis, keepdims=True)
    # ln Σ e^xⱼ = x_top + ln(1 + the others' share), whose logarithm does not cancel.
    others = jnp.sum(jnp.where(is_top, 0, jnp.exp(below - largest)), axis=axis, keepdims=True)
    return (below - largest - jnp.log1p(others)).astype(x.dtype)


@_states(
    CoupledTraits(
        takes="array",
        lower=0.0,
        upper=1.0,
        sums_to=1.0,
        shift_invariant=True,
        source="torch.nn.Softmin",
    )
)
def softmin(x: FloatArray, *, axis: int = -1) -> FloatArray:
    """softmax(-x) along `axis`.

    Example:
      >>> softmin(jnp.log(jnp.array([1.0, 3.0]))).round(4)
      Array([0.75, 0.25], dtype=float32)
    """
    return softmax(-x, axis=axis)


@_states(
    CoupledTraits(
        takes="array",
        lower=0.0,
        upper=1.0,
        sums_to=1.0,
        shift_invariant=True,
        source="Martins & Astudillo, 2016, arXiv:1602.02068, proposition 1",
    )
)
def sparsemax(x: FloatArray, *, axis: int = -1) -> FloatArray:
    """The point of the probability simplex nearest to x, along `axis`: max(x - τ(x), 0).

    Example:
      >>> sparsemax(jnp.array([1.0, 0.5, -1.0]))
      Array([0.75, 0.25, 0.  ], dtype=float32)
    """
    z = jnp.moveaxis(at_least_float32(x), axis, -1)
    z = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    ordered = -jnp.sort(-z, axis=-1)
    k = jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype).reshape((1,) * (z.ndim - 1) + (-1,))
    sums = jnp.cumsum(ordered, axis=-1)
    support = jnp.sum(1 + k * ordered > sums, axis=-1, keepdims=True)
    total = jnp.take_along_axis(sums, support - 1, axis=-1)
    tau = (total - 1) / support.astype(z.dtype)
    return jnp.moveaxis(jnp.maximum(z - tau, 0), -1, axis).astype(x.dtype)


def split(
    x: FloatArray, *, gate: Literal["first", "second"], axis: int = -1
) -> dict[str, FloatArray]:
    """The two halves of x along `axis`, as the keywords of a gated unit.

    Args:
      x: an array of even length along `axis`.
      gate: which half is the gate: "second" in GLU (jax, PyTorch, Keras), "first" where a SwiGLU
        layer's weights are stored as the papers write it.
      axis: where to cut.

    Raises:
      ValueError: the length is odd.

    Example:
      >>> glu(**split(jnp.array([2.0, 0.0]), gate="second"))
      Array([1.], dtype=float32)
    """
    if x.shape[axis] % 2:
        msg = f"split wants an even length along axis {axis}, got shape {x.shape}"
        raise ValueError(msg)
    first, second = jnp.split(x, 2, axis=axis)
    return {"gate": first, "value": second} if gate == "first" else {"value": first, "gate": second}


@_states(CoupledTraits(takes="value, gate", source="Dauphin et al., 2016, arXiv:1612.08083"))
def glu(*, value: FloatArray, gate: FloatArray) -> FloatArray:
    """Gated linear unit, value · σ(gate)."""
    return value * sigmoid(gate)


@_states(
    CoupledTraits(
        takes="value, gate",
        lower=-1.0,
        upper=1.0,
        source="van den Oord et al., 2016, arXiv:1606.05328, eq. 2",
    )
)
def gtu(*, value: FloatArray, gate: FloatArray) -> FloatArray:
    """Gated tanh unit, tanh(value) · σ(gate)."""
    return tanh(value) * sigmoid(gate)


@_states(
    CoupledTraits(
        takes="value, gate", degree=2, source="Mnih & Hinton, 2007; Shazeer, 2020, arXiv:2002.05202"
    )
)
def bilinear(*, value: FloatArray, gate: FloatArray) -> FloatArray:
    """Value · gate."""
    return value * gate


@_states(CoupledTraits(takes="value, gate", degree=2, source="Shazeer, 2020, arXiv:2002.05202"))
def reglu(*, value: FloatArray, gate: FloatArray) -> FloatArray:
    """Value · relu(gate)."""
    return value * relu(gate)


@_states(CoupledTraits(takes="value, gate", source="Shazeer, 2020, arXiv:2002.05202"))
def geglu(*, value: FloatArray, gate: FloatArray) -> FloatArray:
    """Value · gelu(gate), gelu the exact one."""
    return value * gelu(gate)


@_states(CoupledTraits(takes="value, gate", source="Shazeer, 2020, arXiv:2002.05202"))
def swiglu(*, value: FloatArray, gate: FloatArray) -> FloatArray:
    """Value · silu(gate)."""
    return value * silu(gate)


@_states(
    CoupledTraits(
        takes="array",
        size=Fraction(1, 2),
        degree=1,
        source="Goodfellow et al., 2013, arXiv:1302.4389",
    )
)
def maxout(x: FloatArray, *, pieces: int, axis: int = -1) -> FloatArray:
    """The largest of each `pieces` neighbours along `axis`, whose length it divides by `pieces`.

    Raises:
      ValueError: the length is no multiple of `pieces`.

    Example:
      >>> maxout(jnp.array([1.0, 4.0, 3.0, 2.0]), pieces=2)
      Array([4., 3.], dtype=float32)
    """
    if x.shape[axis] % pieces:
        msg = f"maxout wants a multiple of {pieces} along axis {axis}, got shape {x.shape}"
        raise ValueError(msg)
    along = axis % x.ndim
    shape = (*x.shape[:along], -1, pieces, *x.shape[along + 1 :])
    return jnp.max(x.reshape(shape), axis=along + 1)


@_states(
    CoupledTraits(
        takes="array",
        size=Fraction(2),
        lower=0.0,
        degree=1,
        source="Shang et al., 2016, arXiv:1603.05201",
    )
)
def crelu(x: FloatArray, *, axis: int = -1) -> FloatArray:
    """relu(x) and relu(-x) side by side along `axis`, whose length it doubles.

    Example:
      >>> crelu(jnp.array([1.0, -2.0]))
      Array([1., 0., 0., 2.], dtype=float32)
    """
    return jnp.concatenate([relu(x), relu(-x)], axis=axis)
