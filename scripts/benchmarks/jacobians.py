"""Jacobians and singular values against vmap(jacrev), vmap(jacfwd) and torch.func."""

import argparse
import os
import statistics
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from _interleave import interleave, ratio
from jax import lax

from jgrad import jacobians

KEY = jax.random.key(0)


def weights(*sizes: int) -> list[jax.Array]:
    keys = jax.random.split(KEY, len(sizes))
    pairs = zip(keys, sizes, sizes[1:], strict=False)
    return [jax.random.normal(k, (n, m)) * (1.5 / n) ** 0.5 for k, n, m in pairs]


def mlp(layers: list[jax.Array]) -> Callable[[jax.Array], jax.Array]:
    def f(x: jax.Array) -> jax.Array:
        for w in layers:
            x = jnp.tanh(x @ w)
        return x

    return f


def ready(function: Callable[..., object], *args: object) -> Callable[[], object]:
    """A call of the compiled function."""
    compiled = jax.jit(function).lower(*args).compile()
    return lambda: compiled(*args)


def repeated(function: Callable[[jax.Array], jax.Array], turns: int) -> Callable[..., jax.Array]:
    """`function` in a loop inside one program, each turn fed from the one before."""

    def loop(x: jax.Array) -> jax.Array:
        return lax.fori_loop(0, turns, lambda _, z: z + 1e-3 * function(z), x)

    return loop


def bytes_of(function: Callable[..., object], *args: object) -> tuple[int, int]:
    """Temporaries and result of the compiled function, by XLA's own account."""
    stats = jax.jit(function).lower(*args).compile().memory_analysis()
    if stats is None:
        msg = "this backend gives no account of its memory"
        raise RuntimeError(msg)
    return stats.temp_size_in_bytes, stats.output_size_in_bytes


def report(title: str, ways: Mapping[str, Callable[[], object]], base: str, rounds: int) -> None:
    seconds = interleave(ways, rounds=rounds)
    print(f"\n{title}")
    for name, times in seconds.items():
        spread = 1e3 * np.quantile(times, [0.25, 0.75])
        print(
            f"  {name:34s} {1e3 * statistics.median(times):10.3f} ms"
            f"  [{spread[0]:.3f} ... {spread[1]:.3f}]"
            f"   {ratio(seconds, name, base):8.3f} x {base}"
        )


def elementwise(rounds: int) -> None:
    """What a pass takes hangs on how XLA splits its some 15 µs over the cores.

    On two cores of an EPYC derivative takes 0.92 of the time of 1 - tanh², on two of a Xeon 1.8, on
    one of them 1.10 (XLA_FLAGS=--xla_cpu_multi_thread_eigen=false taskset -c 0); everywhere as long
    as the closed form with the operations of JAX's own rule.
    """
    x = jax.random.normal(KEY, (64, 1024))
    derivative = jacobians.derivative(jnp.tanh)

    def by_hand(x: jax.Array) -> jax.Array:
        return 1 - jnp.tanh(x) ** 2

    def by_hand_as_jax(x: jax.Array) -> jax.Array:
        """With the operations of JAX's own rule for tanh, one more."""
        return (1 + jnp.tanh(x)) * (1 - jnp.tanh(x))

    ways = {
        "derivative": ready(derivative, x),
        "vmap(jacrev)": ready(jax.vmap(jax.jacrev(jnp.tanh)), x),
        "jacobian": ready(jacobians.jacobian(jnp.tanh), x),
    }
    report("elementwise, batch 64, width 1024", ways, "derivative", rounds)
    ways = {
        "derivative": ready(repeated(lambda z: jnp.tanh(z) + derivative(z), 500), x),
        "closed form": ready(repeated(lambda z: jnp.tanh(z) + by_hand(z), 500), x),
        "closed form, as JAX's rule": ready(
            repeated(lambda z: jnp.tanh(z) + by_hand_as_jax(z), 500), x
        ),
    }
    report("500 passes of φ and φ' in one program", ways, "closed form", rounds)
    for width in (512, 1024, 2048):
        temporaries, result = bytes_of(derivative, jnp.zeros((64, width)))
        print(f"  width {width}: {temporaries} bytes beside {result} of result")


def deep(rounds: int) -> None:
    layers = weights(*[256] * 21)
    f, x = mlp(layers), jax.random.normal(KEY, (64, 256))

    def products(slopes: jax.Array) -> jax.Array:
        """What cannot be left out: 19 products of [64 · 256, 256] by [256, 256]."""
        j = layers[0] * slopes[0][:, None, :]
        for w, slope in zip(layers[1:], slopes[1:], strict=True):
            j = (j @ w) * slope[:, None, :]
        return j

    ways = {
        "jacobian": ready(jacobians.jacobian(f), x),
        "vmap(jacfwd)": ready(jax.vmap(jax.jacfwd(f)), x),
        "vmap(jacrev)": ready(jax.vmap(jax.jacrev(f)), x),
        "bare products": ready(products, jnp.ones((20, 64, 256))),
    }
    ways |= torchs(layers, x)
    report("MLP, width 256, depth 20, batch 64: full Jacobian", ways, "jacobian", rounds)


def torchs(layers: list[jax.Array], x: jax.Array) -> dict[str, Callable[[], object]]:
    """The Jacobian of `mlp(layers)` by torch.func, where PyTorch is installed."""
    try:
        import torch
    except ImportError:
        return {}
    tensors, at = [torch.tensor(np.asarray(w)) for w in layers], torch.tensor(np.asarray(x))

    def f(x):
        for w in tensors:
            x = torch.tanh(x @ w)
        return x

    func = torch.func
    return {
        "torch.func.vmap(jacrev)": lambda: func.vmap(func.jacrev(f))(at),
        "torch.func.vmap(jacfwd)": lambda: func.vmap(func.jacfwd(f))(at),
    }


def narrow(rounds: int) -> None:
    layers = weights(256, 256, 8, 256, 256)
    f = mlp(layers)
    x = jax.random.normal(KEY, (64, 256))
    ways = {
        "jacobian": ready(jacobians.jacobian(f), x),
        "vmap(jacfwd)": ready(jax.vmap(jax.jacfwd(f)), x),
        "vmap(jacrev)": ready(jax.vmap(jax.jacrev(f)), x),
    }
    ways |= torchs(layers, x)
    report("autoencoder 256-256-8-256-256, batch 64", ways, "jacobian", rounds)


def spectrum(rounds: int) -> None:
    """The first two have their largest values in a row, the worst case; the last one apart.

    What bounds the ratio is the products. One and three random layers take 76 and 48 steps of one
    vector, each a product with J and one with Jᵀ for every layer, and the last spectrum takes 20.
    On two cores of a Xeon, in a loop of nothing else, b products at once through one layer of
    16 MiB take 0.35, 0.60, 0.64, 0.66, 0.92 and 1.28 ms for b = 1, 2, 3, 4, 8 and 16 (46 GB/s for
    one; XLA's narrow matrix products are bound by arithmetic from two on), and three times as much
    through three layers. Until the five values are right to 1e-5, blocks of b vectors take 71, 45,
    32, 26, 18 and 13 steps for one layer and 42, 28, 21, 20, 13 and 10 for three. So the products
    alone take 50, 54, 41, 34, 33 and 33 ms for one layer and 89, 102, 86, 85, 73 and 81 ms for
    three, where the Jacobian and its singular values alone take 780 to 1000: without any other work
    no block is more than 30 and 14 times faster.

    Blocks of four and eight with all that belongs to them (two-sided orthogonalisation, no LAPACK
    in the loop, whose threads wait busily and slow the products beside them) were prototyped: 50 to
    67 ms for one layer when told when to stop, beside 67 to 77 for one vector, and 78 to 106 when
    they look for themselves, beside 76 to 83; no faster for three layers or for the last spectrum.
    Looks at convergence that cost a third, or one orthogonalisation in place of two, made no
    difference that could be measured.
    """
    edge = weights(2048, 2048, 2048, 2048)
    apart = edge[0] / (1.0 + jnp.arange(2048.0)) ** 0.5
    x = jax.random.normal(KEY, (1, 2048))
    for title, layers in {
        "one random layer": edge[:1],
        "three random layers": edge,
        "one layer, columns as 1/√i": [apart],
    }.items():
        f = mlp(layers)
        found = jax.jit(jacobians.singular_values_and_errors(f, 5))
        ways = {
            "singular_values, k = 5": ready(jacobians.singular_values(f, 5), x),
            "Jacobian, singular values": ready(
                lambda x, f=f: jnp.linalg.svd(jax.vmap(jax.jacrev(f))(x), compute_uv=False)[:, :5],
                x,
            ),
            "Jacobian and its SVD": ready(
                lambda x, f=f: jnp.linalg.svd(jax.vmap(jax.jacrev(f))(x)), x
            ),
            "Jacobian alone": ready(jax.vmap(jax.jacrev(f)), x),
        }
        full = ways["Jacobian, singular values"]()
        few = found(x)
        report(f"top 5 of width 2048, {title}", ways, "singular_values, k = 5", min(rounds, 5))
        off = float(jnp.max(jnp.abs(few.value / full - 1)))
        bound = float(jnp.max(few.error / full))
        print(f"  they differ by {off:.1e} at most; the bound that comes with them is {bound:.1e}")


def memory(rounds: int) -> None:  # noqa: ARG001
    f = mlp(weights(*[256] * 6))
    print("\npeak memory beyond the result, MLP of width 256, depth 5, by XLA's own account")
    print(
        "  base, one 8-batch's need: the temporaries and the result of the program for 8 examples"
    )

    def stats(batch: int, batch_size: int | None) -> tuple[int, int]:
        return bytes_of(jacobians.jacobian(f, batch_size=batch_size), jnp.zeros((batch, 256)))

    # In the loop eight results are temporaries: beside the whole they have to be somewhere. So the
    # temporaries alone are no base: the autoencoder above has 0.14 MiB of them beside 2 of results.
    temporaries, result = stats(8, None)
    need = temporaries + result
    print(f"  8 at once: {temporaries / 2**20:.2f} MiB and a result of {result / 2**20:.2f} MiB")
    for batch in (8, 64, 512, 515):
        used, _ = stats(batch, 8)
        print(
            f"  batch {batch:4d} by 8: {used / 2**20:8.2f} MiB   {used / need:6.3f} x the base, "
            f"{used / temporaries:6.3f} x the temporaries alone"
        )


PARTS = {
    "elementwise": elementwise,
    "deep": deep,
    "narrow": narrow,
    "spectrum": spectrum,
    "memory": memory,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="default: all")
    parser.add_argument("--rounds", type=int, default=10)
    chosen = parser.parse_args()
    device, load = jax.devices()[0].device_kind, os.getloadavg()[0]
    print(f"jax {jax.__version__}, {device}, {os.cpu_count()} cores, load {load:.1f}")
    for part in chosen.parts or PARTS:
        PARTS[part](chosen.rounds)
