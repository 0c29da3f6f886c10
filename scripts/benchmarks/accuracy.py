"""Errors of the prime activations, beside jax.nn's and PyTorch's, per function, order and dtype.

  scripts/bench accuracy [--only silu,gelu] [--dtypes float32,bfloat16] [--record]

float32 and float64 against mpmath (tests/data/prime_truth.npz), bfloat16 and float16 on every
finite input against float64. Each cell: the largest error in ulps of the truth, away from
its zeros (LOST: all bits wrong); z: how many results are 0 where the truth is a normal number; n:
how many are NaN or infinite where the truth is finite. jax.nn and jgrad are jitted.
"""

import argparse
import functools
import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests" / "activations"))
from float64_reference import REFERENCE
from prime_truth import DATA, GRID, TRUTH, away, ulps

from jgrad import activations
from jgrad._numerics import at_least_float32

try:
    import torch
except ImportError:
    torch = None

PEERS = {
    "celu_half": functools.partial(jax.nn.celu, alpha=0.5),
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "tanh": jnp.tanh,
    "erf": jax.lax.erf,
}


def jax_slope(phi, order):
    """What autodiff makes of a function."""
    for _ in range(order):
        phi = jax.grad(phi)
    return jax.vmap(phi)


def torch_function(name):
    functional = torch.nn.functional
    return {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "erf": torch.erf,
        "log_sigmoid": functional.logsigmoid,
        "soft_sign": functional.softsign,
        "celu_half": functools.partial(functional.celu, alpha=0.5),
        "gelu_tanh": functools.partial(functional.gelu, approximate="tanh"),
        "squareplus": lambda x: (x + torch.sqrt(x * x + 4)) / 2,
    }.get(name) or getattr(functional, name)


def torch_values(name, order, x, dtype):
    at = torch.tensor(x, dtype=getattr(torch, dtype), requires_grad=True)
    y = torch_function(name)(at)
    for k in range(order):
        (y,) = torch.autograd.grad(y.sum(), at, create_graph=k + 1 < order)
    return y.detach().to(torch.float64).numpy()


def jax_values(f, x):
    y = jax.jit(f)(x)
    return np.asarray(at_least_float32(y), np.float64)


def points(name, order, dtype):
    """The inputs of that dtype, in float64, and the truth there."""
    if jnp.finfo(dtype).bits > 16:
        return GRID.astype(np.float64), TRUTH[name][order]
    x = jnp.arange(1 << 16, dtype=jnp.uint16).view(dtype)
    x = np.asarray(x[jnp.isfinite(x)].astype(jnp.float32), np.float64)
    with np.errstate(all="ignore"):
        return x, REFERENCE[name][order](x)


def verdict(y, x, true, name, order, dtype):
    info = jnp.finfo(dtype)
    # Subnormal inputs are read as 0 by XLA on CPU, and 0 itself is a kink of some.
    counts = away(name, order, x) & (np.abs(x) >= float(info.tiny))
    error = ulps(y, true, dtype)[counts].max()
    representable = np.abs(true) <= float(info.max)
    zeros = ((y == 0) & (np.abs(true) >= float(info.tiny)) & counts).sum()
    broken = (~np.isfinite(y) & representable).sum()
    text = "LOST" if error > 2.0 ** (info.nmant - 1) else f"{error:.3g}"
    return f"{text:>7s} z{zeros:<5d} n{broken:<5d}", float(error)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="names, comma separated")
    parser.add_argument("--dtypes", default="float32,bfloat16,float16,float64")
    parser.add_argument(
        "--record", action="store_true", help="write float32's figures to tests/data"
    )
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    names = options.only.split(",") if options.only else list(REFERENCE)
    versions = f"jax {jax.__version__}" + (f", torch {torch.__version__}" if torch else "")
    print(f"{jax.devices()[0].device_kind}, {versions}")
    print(f"{'':11s} order {'dtype':9s} {'jgrad':>21s} {'jax.nn':>21s} {'torch':>21s}")
    record = {name: [0.0, 0.0, 0.0] for name in names}
    for dtype in options.dtypes.split(","):
        for name in names:
            ours = activations.CATALOG.get(name) or functools.partial(activations.celu, alpha=0.5)
            theirs = PEERS.get(name) or getattr(jax.nn, name)
            for order in (0, 1, 2):
                x, true = points(name, order, dtype)
                measure = functools.partial(
                    verdict, x=x, true=true, name=name, order=order, dtype=dtype
                )
                given = jnp.asarray(x).astype(dtype)
                cell, error = measure(jax_values(activations.slope(ours, order), given))
                peer, _ = measure(jax_values(jax_slope(theirs, order), given))
                other = measure(torch_values(name, order, x, dtype))[0] if torch else ""
                print(f"{name:11s} {order:5d} {dtype:9s} {cell:>21s} {peer:>21s} {other:>21s}")
                if dtype == "float32":
                    record[name][order] = round(error, 4)
    if options.record:
        file = DATA / "prime_errors.json"
        lines = ",\n".join(f'  "{name}": {json.dumps(row)}' for name, row in record.items())
        file.write_text(f"{{\n{lines}\n}}\n")
        print(f"recorded in {file}")


if __name__ == "__main__":
    main()
