"""The reference numbers of tests/data/theory.json, and the activations its names mean."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp

GROUPS = json.loads((Path(__file__).parents[1] / "data" / "theory.json").read_text())

#: Names in the file that are no catalogue names, or mean other parameters than the default.
ACTIVATIONS = {
    "linear": "identity",
    "swish": "silu",
    "softsign": "soft_sign",
    "leaky_relu_0.01": "leaky_relu",
    "leaky_relu_0.2": lambda x: jax.nn.leaky_relu(x, 0.2),
    "leaky_relu_02": lambda x: jax.nn.leaky_relu(x, 0.2),
    "abs": jnp.abs,
    "relu6": jax.nn.relu6,
    "hard_tanh": jax.nn.hard_tanh,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_silu": jax.nn.hard_silu,
    "erf_unit": lambda x: jax.scipy.special.erf(math.sqrt(math.pi) / 2 * x),
    "sin": jnp.sin,
    "cos": jnp.cos,
    "exp": jnp.exp,
    "atan": jnp.arctan,
    "gaussian": lambda x: jnp.exp(-x * x),
    "square": jnp.square,
    "sign": jnp.sign,
    "step": lambda x: jnp.where(x > 0, 1.0, 0.0) + 0.0 * x,
}


def activation(name):
    """What jgrad.theory is given for a name of the file."""
    return ACTIVATIONS.get(name, name)


def cases(group, **given):
    """The group's cases whose parameters have these values; a value of ... means "any"."""
    return [
        case
        for case in GROUPS[group]["cases"]
        if all(
            k in case["params"] and (v is ... or case["params"][k] == v) for k, v in given.items()
        )
    ]


def check(case, got):
    """`got` is the case's value within its tolerance."""
    error = abs(got - case["value"])
    if case["tol_kind"] == "rel":
        error = error / abs(case["value"])
    assert error <= case["tol"], (case["params"], got, case["value"])
