"""Timing two or more ways of doing one thing, in turn, so that a noisy machine hits all alike."""

import random
import statistics
import time
from collections.abc import Callable, Mapping

import jax


def interleave(
    ways: Mapping[str, Callable[[], object]], *, rounds: int = 30, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds per call of each way, `rounds` times, the ways taking turns.

    The order is drawn anew each round, the same draws in every run: a program that follows itself
    finds its caches and its memory warm, and so must none more often than another.
    """
    names = list(ways)
    for _ in range(warm_up):
        for name in names:
            jax.block_until_ready(ways[name]())
    seconds: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(names, len(names)):
            start = time.perf_counter()
            jax.block_until_ready(ways[name]())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], way: str, against: str) -> float:
    """The median over rounds of way's time over against's time in the same round."""
    pairs = zip(seconds[way], seconds[against], strict=True)
    return statistics.median(a / b for a, b in pairs)
