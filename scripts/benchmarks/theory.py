"""Critical points of the catalogue at 7 σ_b, forecasts of 1000 layers, single calls: seconds."""

import argparse
import contextlib
import time
from statistics import median

from jgrad import activations, theory

SIGMA_B = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


def critical_points(names: list[str]) -> tuple[int, int]:
    """How many (activation, σ_b) have a critical point, and how many have none."""
    found = none = 0
    for name in names:
        for sigma_b in SIGMA_B:
            try:
                theory.critical(name, sigma_b)
            except ValueError:
                none += 1
            else:
                found += 1
    return found, none


#: One call of each kind; what has no answer for an activation says so, which takes as long.
CALLS = {
    "moments": lambda name: theory.moments(name),
    "fixed_point": lambda name: theory.fixed_point(name, 1.7, 0.3),
    "critical": lambda name: theory.critical(name, 0.3),
    "dual": lambda name: theory.dual(name)(1.5, 0.7, 0.6),
}


def slowest(names: list[str]) -> None:
    """Prints the slowest activation for each kind of call; the first kind compiles."""
    for kind, call in CALLS.items():
        took = {}
        for name in names:
            start = time.perf_counter()
            with contextlib.suppress(ValueError):
                call(name)
            took[name] = time.perf_counter() - start
        worst = max(took, key=lambda name: took[name])
        print(f"{kind}: slowest {took[worst]:.2f} s, {worst}; median {median(took.values()):.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", action="store_true", help="the slowest single call of each kind")
    names = list(activations.CATALOG)
    if parser.parse_args().calls:
        slowest(names)
        return
    start = time.perf_counter()
    found, none = critical_points(names)
    seconds = time.perf_counter() - start
    print(f"critical: {len(names)} × 7 in {seconds:.1f} s; {found} found, {none} none")
    for name in ("relu", "tanh", "elu"):
        for sigma_w in (0.7, 1.0, 1.5):
            start = time.perf_counter()
            theory.forecast(theory.Plain(phi=name, depth=1000, sigma_w=sigma_w))
            seconds = time.perf_counter() - start
            print(f"forecast: {name}, σ_w = {sigma_w}, 1000 layers {seconds:.2f} s")


if __name__ == "__main__":
    main()
