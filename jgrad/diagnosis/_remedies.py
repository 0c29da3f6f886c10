"""What to change, given what did it. Each function gives sentences, the first to try first."""

import math

import jax.numpy as jnp

from jgrad import activations

from ._profile import Profile
from ._span import Span

#: E φ'² under this share of (sup φ')² is saturation: what z ~ N(0, 5.3²) does to tanh.
SATURATED = 0.1


def sup_slope(activation: str) -> float:
    """The supremum of |φ'| of a catalogue entry at its defaults; NaN for what is not in it.

    Example:
      >>> sup_slope("sigmoid"), sup_slope("custom")
      (0.25, nan)
    """
    name = activation.partition("(")[0]
    if name not in activations.CATALOG:
        return math.nan
    return activations.traits(name).lipschitz


def half_width(activation: str) -> float:
    """(sup φ - inf φ) / (2 sup φ') of a catalogue entry; inf if unbounded, NaN if not in it.

    Example:
      >>> half_width("tanh"), half_width("sigmoid"), half_width("relu")
      (1.0, 2.0, inf)
    """
    name = activation.partition("(")[0]
    if name not in activations.CATALOG:
        return math.nan
    facts = activations.traits(name)
    return (facts.upper - facts.lower) / (2 * facts.lipschitz)


def flat(activation: str) -> bool:
    """φ' is exactly 0 far out on some side (relu, hard_tanh), rather than merely tiny (elu, tanh).

    Example:
      >>> flat("relu"), flat("tanh"), flat("custom")
      (True, False, False)
    """
    name = activation.partition("(")[0]
    if name not in activations.CATALOG:
        return False
    far = jnp.array([-50.0, 50.0])
    return bool(jnp.isneginf(activations.log_slope(activations.get(name))(far)).any())


def of_vanishing(profile: Profile, span: Span) -> tuple[str, ...]:
    """For a fall: bring the gain of a layer back to 1, at the place that lowers it."""
    activation = profile.activations[span.last]
    slope_second = profile.path("slope_second")[:, span.first : span.last + 1].mean()
    sup = sup_slope(activation)
    found = []
    if span.activation < span.linear:
        if slope_second <= SATURATED * sup**2:
            found.append(
                f"take {activation} out of saturation (rms slope {math.sqrt(slope_second):.2g} of "
                f"at most {sup:.3g}): normalise its input, or use smaller weights"
            )
        elif sup < 1:
            found.append(
                f"another activation: the slope of {activation} is at most {sup:.3g}, so a layer "
                f"loses a factor {1 / sup:.3g} or more that the weights must give back"
            )
    if math.isfinite(span.rate) and slope_second > SATURATED * (0.0 if math.isnan(sup) else sup**2):
        found.append(f"weights about {math.exp(-span.rate):.2f} times as large at initialisation")
    return (
        *found,
        "skip connections, which carry the gradient past the layers",
        "layer or batch normalisation",
        "Adam or RMSprop, which divide the size of the gradient out of the step",
    )


def of_exploding(profile: Profile, span: Span) -> tuple[str, ...]:
    """For a rise: lower the gain of a layer to 1; clipping bounds the step, not the cause."""
    del profile
    found = []
    if math.isfinite(span.rate):
        found.append(f"weights about {math.exp(-span.rate):.2f} times as large at initialisation")
    return (
        *found,
        "orthogonal initialisation, whose gain does not spread from layer to layer",
        "skip connections with the branch scaled by 1/√depth",
        "clipping by the global norm, which bounds the step and leaves the cause",
    )


def of_dead(activation: str) -> tuple[str, ...]:
    """For units whose slope is 0: a slope on the other side, or smaller steps."""
    name = activation or "this activation"
    return (
        f"leaky_relu, elu or gelu in place of {name}: a slope on the side where it has none",
        "a smaller learning rate, or clipping: large steps push whole units off",
        "he initialisation, biases at or above 0",
        "layer or batch normalisation before the activation",
    )


def of_saturated(activation: str) -> tuple[str, ...]:
    """For activations driven to their flat ends: a smaller input."""
    return (
        f"layer or batch normalisation before {activation}",
        "smaller weights at initialisation (xavier), inputs standardised",
        "a smaller learning rate, where it came about in training",
    )


def of_nonfinite() -> tuple[str, ...]:
    """For NaN and inf: smaller steps first, then the place where it was born."""
    return (
        "a smaller learning rate, or clipping by the global norm",
        "look at the first site named: non-finite z was made going forward, δz going backward",
        "probes.first_nonfinite(loss)(*args), which names the operation and the line it is on",
    )
