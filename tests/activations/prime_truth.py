"""What the prime activations are measured against, and how: for tests and accuracy table."""

import pathlib

import jax.numpy as jnp
import numpy as np

DATA = pathlib.Path(__file__).parents[1] / "data"
TRUTH = dict(np.load(DATA / "prime_truth.npz"))
GRID = TRUTH.pop("x")
#: Simple zeros other than 0 of φ', φ'', φ''': beside them the error counts against sup |φ^(k)|.
ZEROS = {
    ("silu", 1): (-1.27846,),
    ("silu", 2): (-2.39936, 2.39936),
    ("mish", 1): (-1.19243,),
    ("mish", 2): (-2.25638, 1.49057),
    ("gelu", 1): (-0.75179,),
    ("gelu", 2): (-1.41421, 1.41421),
    ("gelu_tanh", 1): (-0.75246,),
    ("gelu_tanh", 2): (-1.41850, 1.41850),
    ("sigmoid", 3): (-1.31696, 1.31696),
    ("tanh", 3): (-0.65848, 0.65848),
    ("silu", 3): (-3.43571, 3.43571),
    ("mish", 3): (-3.28, -0.09, 2.11),
    ("gelu", 3): (-2.0, 2.0),
    ("gelu_tanh", 3): (-2.00, 2.00),
    ("erf", 3): (-0.70711, 0.70711),
}
#: Where a derivative of that order jumps, and the truth is the one from the left.
KINKED = {"elu", "selu", "celu_half", "soft_sign"}


def away(name, order, x):
    """Where x is neither beside a zero of that derivative nor on a kink."""
    keep = np.ones(x.shape, bool)
    for zero in ZEROS.get((name, order), ()):
        keep &= np.abs(x - zero) > 0.25
    return keep & ~((x == 0) & (name in KINKED))


def ulps(measured, true, dtype):
    """|error| in ulps of the true value; 0 where the truth is not a normal number of the dtype."""
    info = jnp.finfo(dtype)
    normal = (np.abs(true) >= float(info.tiny)) & (np.abs(true) <= float(info.max))
    _, exponent = np.frexp(np.where(normal, true, 1.0))
    ulp = np.ldexp(1.0, exponent - info.nmant - 1)
    error = np.abs(np.asarray(measured, np.float64) - true)
    return np.where(normal, np.where(np.isnan(error), np.inf, error) / ulp, 0.0)
