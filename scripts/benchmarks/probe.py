"""Probe: value, gradients and flow against the plain value and gradients; hooks in PyTorch."""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from _interleave import interleave, ratio
from _probe_models import MODELS, mlp
from jax.experimental.compilation_cache import compilation_cache

from jgrad import probes

EVERY = 100


def compiled(fn: Callable[..., Any], *args: Any) -> Any:
    """The program for these arguments."""
    return jax.jit(fn).lower(*args).compile()


def median_ms(times: Sequence[float]) -> float:
    return 1e3 * statistics.median(times)


def bytes_of(program: Any) -> int:
    """Arguments, results and temporaries together, by XLA's own account."""
    sizes = program.memory_analysis()
    return sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes


def step(models: Sequence[str], rounds: int) -> None:
    """A step with flow over one without, and the memory of both.

    "Again" is the plain program compiled once more: how far it is from 1 is what the run can tell.
    """
    print(f"{'every step':12} {'plain':>10} {'again':>8} {'default':>8} {'all':>8} {'memory':>8}")
    for name in models:
        loss, args = MODELS[name]()
        plain = compiled(jax.value_and_grad(loss), *args)
        default = compiled(probes.value_grad_and_flow(loss), *args)
        every_measure = compiled(probes.value_grad_and_flow(loss, measures="all"), *args)
        again = compiled(jax.value_and_grad(loss), *args)
        programs = {"plain": plain, "again": again, "default": default, "all": every_measure}
        seconds = interleave(
            {way: lambda p=p, args=args: p(*args) for way, p in programs.items()}, rounds=rounds
        )
        print(
            f"{name:12} {median_ms(seconds['plain']):7.1f} ms "
            f"{ratio(seconds, 'again', 'plain'):8.3f} {ratio(seconds, 'default', 'plain'):8.3f} "
            f"{ratio(seconds, 'all', 'plain'):8.3f} {bytes_of(default) / bytes_of(plain):8.3f}",
            flush=True,
        )


def every(models: Sequence[str], rounds: int) -> None:
    """A step of a training that logs its flow every 100 steps.

    Steps on and off the log are timed apart, in turn with plain ones; the mean is theirs, weighted.
    "Again" is as in `step`.
    """
    print(f"every={EVERY:<6} {'plain':>10} {'again':>8} {'off':>8} {'on':>8} {'mean':>8}")
    for name in models:
        loss, args = MODELS[name]()
        plain, again = (compiled(jax.value_and_grad(loss), *args) for _ in range(2))
        probed = compiled(probes.value_grad_and_flow(loss, every=EVERY), 0, *args)
        seconds = interleave(
            {
                "plain": lambda p=plain, args=args: p(*args),
                "again": lambda p=again, args=args: p(*args),
                "off": lambda p=probed, args=args: p(1, *args),
                "on": lambda p=probed, args=args: p(0, *args),
            },
            rounds=rounds,
        )
        control, off, on = (ratio(seconds, way, "plain") for way in ("again", "off", "on"))
        print(
            f"{name:12} {median_ms(seconds['plain']):7.1f} ms {control:8.3f} {off:8.3f} {on:8.3f} "
            f"{((EVERY - 1) * off + on) / EVERY:8.3f}",
            flush=True,
        )


def stages(fn: Callable[..., Any], args: Sequence[Any]) -> dict[str, float]:
    """Seconds to trace, to lower and to compile, with nothing kept from before."""
    jax.clear_caches()
    times = [time.perf_counter()]
    traced = jax.jit(fn).trace(*args)
    times.append(time.perf_counter())
    lowered = traced.lower()
    times.append(time.perf_counter())
    lowered.compile()
    times.append(time.perf_counter())
    names = ("trace", "lower", "compile")
    return {name: b - a for name, a, b in zip(names, times, times[1:], strict=False)}


def tracing(models: Sequence[str], rounds: int) -> None:
    """What a program costs before it runs: default measures, in turn with the plain program.

    The extra milliseconds are given for each site, and for each that differs from all others in
    its activation, shape, dtype or axis of units.
    """
    print(
        f"{'first call':12} {'stage':8} {'plain':>10} {'ratio':>8} {'ms/site':>8} {'distinct':>8}"
    )
    for name in models:
        loss, args = MODELS[name]()
        sites = probes.sites(loss)(*args)
        distinct = {(s.activation, s.shape, s.dtype, s.unit_axis) for s in sites}
        ways = {"plain": jax.value_and_grad(loss), "probed": probes.value_grad_and_flow(loss)}
        with uncached():
            stages(ways["probed"], args)
            # The order alternates.
            runs = [
                {way: stages(ways[way], args) for way in (ways if k % 2 else reversed(ways))}
                for k in range(rounds)
            ]
        for stage in ("trace", "lower", "compile"):
            plain = statistics.median(run["plain"][stage] for run in runs)
            over = statistics.median(run["probed"][stage] / run["plain"][stage] for run in runs)
            extra = 1e3 * statistics.median(
                run["probed"][stage] - run["plain"][stage] for run in runs
            )
            print(
                f"{name:12} {stage:8} {1e3 * plain:7.1f} ms {over:8.2f} "
                f"{extra / len(sites):8.2f} {extra / len(distinct):8.2f}",
                flush=True,
            )


@contextlib.contextmanager
def uncached():
    """Without the compilations that are kept on the disk."""
    kept = jax.config.values["jax_enable_compilation_cache"]
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # it has made up its mind, once for the process
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
        compilation_cache.reset_cache()


def depth(models: Sequence[str], rounds: int) -> None:  # noqa: ARG001
    """Tracing of deeper and deeper unrolled nets: as long as it is linear, ms a layer stay."""
    print(f"{'layers':12} {'plain':>10} {'probed':>10} {'ratio':>8} {'ms/layer':>8}")
    for layers in (50, 100, 200):
        loss, args = mlp(depth=layers, width=16, batch=8)
        ways = {"plain": jax.value_and_grad(loss), "probed": probes.value_grad_and_flow(loss)}
        runs = []
        for _ in range(min(rounds, 5)):
            run = {}
            for way, fn in ways.items():
                jax.clear_caches()
                start = time.perf_counter()
                jax.jit(fn).trace(*args)
                run[way] = time.perf_counter() - start
            runs.append(run)
        plain, probed = (statistics.median(run[way] for run in runs) for way in ways)
        over = statistics.median(run["probed"] / run["plain"] for run in runs)
        print(
            f"{layers:<12} {1e3 * plain:7.1f} ms {1e3 * probed:7.1f} ms {over:8.2f} "
            f"{1e3 * probed / layers:8.2f}",
            flush=True,
        )


def torch(models: Sequence[str], rounds: int) -> None:  # noqa: ARG001
    """The MLP beside PyTorch, eager: hooks with the same statistics, and Cockpit's economy set.

    Cockpit is timed where it is installed (cockpit-for-pytorch 1.0.2), for few rounds: its steps
    take a gradient for each example.
    """
    try:
        import _probe_torch
    except ImportError:
        print("PyTorch is not installed")
        return
    loss, (ws, x) = mlp()
    plain = compiled(jax.value_and_grad(loss), ws, x)
    probed = compiled(probes.value_grad_and_flow(loss), ws, x)
    ways: dict[str, Callable[[], Any]] = {
        "jgrad, plain": lambda: plain(ws, x),
        "jgrad, flow": lambda: probed(ws, x),
    }
    ways |= _probe_torch.with_hooks(ws, x)
    print(f"{'mlp':16} {'median':>10} {'over plain':>11}")
    against = {"jgrad, flow": "jgrad, plain", "torch, hooks": "torch", "torch, Cockpit": "torch"}
    report(interleave(ways, rounds=rounds), against)
    try:
        cockpit = _probe_torch.with_cockpit(ws, x)
    except ImportError:
        print("Cockpit is not installed")
        return
    few = {"torch": ways["torch"], **cockpit}
    report(interleave(few, rounds=min(rounds, 3), warm_up=1), against)


def report(seconds: Mapping[str, list[float]], against: Mapping[str, str]) -> None:
    """A line for each way, with its ratio to its own plain way."""
    for way, times in seconds.items():
        over = f"{ratio(seconds, way, against[way]):11.3f}" if way in against else ""
        print(f"{way:16} {median_ms(times):7.1f} ms {over}", flush=True)


PARTS = {"step": step, "every": every, "tracing": tracing, "depth": depth, "torch": torch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=30, help="interleaved pairs")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: they are {', '.join(PARTS)}")
    print(f"{jax.devices()[0].device_kind}, {options.rounds} interleaved rounds, medians")
    for part in options.parts or PARTS:
        print()
        PARTS[part](options.models, options.rounds)


if __name__ == "__main__":
    main()
