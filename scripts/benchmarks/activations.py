"""Forward, and value with gradient, of the prime activations against jax.nn.

  scripts/bench activations [--elements 2000000] [--rounds 30] [--only silu,gelu] [--dtype float32]

Each row is one interleaved run. A ratio is the median over rounds of our time over jax.nn's in the
same round: below 1 is faster. `fast` is our own accuracy="fast", where there is one.
"""

import argparse
import functools
import inspect
import pathlib
import statistics
import sys

import jax
import jax.numpy as jnp

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from _interleave import interleave, ratio

from jgrad import activations

PEERS = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "log_sigmoid": jax.nn.log_sigmoid,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
    "mish": jax.nn.mish,
    "squareplus": jax.nn.squareplus,
    "soft_sign": jax.nn.soft_sign,
    "erf": jax.lax.erf,
}


def forms(name: str) -> dict[str, object]:
    """The activation as jax.nn has it, as jgrad has it, and jgrad's fast form if there is one."""
    ours = activations.CATALOG[name]
    ways = {"jax.nn": PEERS[name], "jgrad": ours}
    if "accuracy" in inspect.signature(ours).parameters:
        ways["fast"] = functools.partial(ours, accuracy="fast")
    return ways


def value_and_grad(phi):
    """φ(x) and the gradient of its sum against a given cotangent, both returned as arrays."""

    def both(x, cotangent):
        value, pull = jax.vjp(phi, x)
        return value, pull(cotangent)[0]

    return both


def measure(name: str, x: jax.Array, rounds: int) -> dict[str, dict[str, float]]:
    """For "forward" and "gradient": milliseconds of jax.nn, and the others' ratios to it."""
    table = {}
    for kind in ("forward", "gradient"):
        ways = {}
        for way, phi in forms(name).items():
            if kind == "forward":
                ways[way] = functools.partial(jax.jit(phi), x)
            else:
                ways[way] = functools.partial(jax.jit(value_and_grad(phi)), x, jnp.cos(x))
        seconds = interleave(ways, rounds=rounds)
        table[kind] = {way: ratio(seconds, way, "jax.nn") for way in ways}
        table[kind]["jax.nn"] = 1e3 * statistics.median(seconds["jax.nn"])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--elements", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", help="names, comma separated")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()

    x = 3 * jax.random.normal(jax.random.key(0), (options.elements,), options.dtype)
    names = options.only.split(",") if options.only else list(PEERS)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {x.size:,} {x.dtype}")
    print(f"{'':12s} {'forward':^27s}   {'value and gradient':^27s}")
    print(f"{'':12s} {'jax.nn ms':>11s} {'jgrad':>7s} {'fast':>7s}" * 1, end="   ")
    print(f"{'jax.nn ms':>11s} {'jgrad':>7s} {'fast':>7s}")
    tables = {name: measure(name, x, options.rounds) for name in names}
    for name, table in tables.items():
        cells = []
        for kind in ("forward", "gradient"):
            row = table[kind]
            fast = f"{row['fast']:7.2f}" if "fast" in row else f"{'':7s}"
            cells.append(f"{row['jax.nn']:11.2f} {row['jgrad']:7.2f} {fast}")
        print(f"{name:12s} {cells[0]}   {cells[1]}")
    for kind in ("forward", "gradient"):
        ratios = [table[kind]["jgrad"] for table in tables.values()]
        print(f"{kind}: median {statistics.median(ratios):.2f}, largest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
