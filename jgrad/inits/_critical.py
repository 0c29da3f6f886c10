"""Initialisers from theory: critical for any activation; and PyTorch's gains."""

import math
from types import MappingProxyType

import jax
from jax.nn.initializers import Initializer

from jgrad import theory
from jgrad._names import lookup
from jgrad._types import Elementwise

from ._named import delta_orthogonal, orthogonal

#: What `torch.nn.init.calculate_gain` returns, PyTorch 2.13. See `torch_gain` for what is wrong.
TORCH_GAINS: MappingProxyType[str, float] = MappingProxyType(
    {
        "linear": 1.0,
        "conv": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
        "selu": 3 / 4,
    }
)


def critical(
    phi: Elementwise | str,
    sigma_b: float = 0.0,
    *,
    weights: str = "gaussian",
    kinks: tuple[float, ...] | None = None,
) -> Initializer:
    """The initialiser of weights at the edge of chaos of φ: gradient norms neither grow nor fall.

    With σ_w of `theory.critical(phi, sigma_b)`: of several points the first whose variance is
    stable, else the first. GELU, SiLU and Mish have only an unstable one at small σ_b: their nets
    drift off it with depth, as `theory.forecast` tells. Biases are to be drawn with standard
    deviation σ_b, by `jax.nn.initializers.normal(sigma_b)`.

    Args:
      phi: a name, a catalogue function, or any elementwise JAX function.
      sigma_b: standard deviation of the biases.
      weights: "gaussian" (variance σ_w²/fan_in), "orthogonal" (σ_w times a random rotation), or
        "delta_orthogonal" (a convolution whose centre alone is one).
      kinks: where φ or a derivative jumps; found by itself where not given.

    Raises:
      ValueError: φ has no critical point at this σ_b, or weights is of no such name.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> w = critical("tanh", 0.3)(jax.random.key(0), (400, 500), jnp.float32)
      >>> round(float((400 * w.var()) ** 0.5), 1)
      1.4
    """
    points = theory.critical(phi, sigma_b, kinks=kinks)

    def stable(point: tuple[float, float]) -> bool:
        sigma_w, q = point
        return theory.fixed_point(phi, sigma_w, sigma_b, q0=q, kinks=kinks).stable

    sigma_w, _ = next(filter(stable, points), points[0])
    forms = {
        "gaussian": jax.nn.initializers.variance_scaling(sigma_w**2, "fan_in", "normal"),
        "orthogonal": orthogonal(sigma_w),
        "delta_orthogonal": delta_orthogonal(sigma_w),
    }
    return lookup(forms, weights, "form of weights")


def torch_gain(name: str) -> float:
    """The gain that `torch.nn.init.calculate_gain` gives for an activation, σ_w in our words.

    Kept to reproduce PyTorch, and inconsistent as theory: relu's and leaky_relu's are critical;
    tanh's 5/3 is not (at σ_b = 0 that is 1; 5/3 lets squared gradients grow by 1.21 per layer);
    selu's 3/4 is chosen to train, while 1 keeps the variance; sigmoid's 1 shrinks squared gradients
    eighteenfold per layer, and its critical σ_w is 10.15; gelu, silu and mish have none.
    `torch.nn.Linear` itself uses none of them: it draws variance 1/(3 fan_in), which
    `get("torch_default")` does.

    Raises:
      ValueError: PyTorch has no gain of that name.

    Example:
      >>> round(torch_gain("tanh"), 4)
      1.6667
    """
    return lookup(TORCH_GAINS, name, "PyTorch gain")
