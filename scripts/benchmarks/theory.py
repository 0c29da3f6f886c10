"""Critical points of the whole catalogue at 7 σ_b, and a forecast of 1000 layers: seconds."""

import argparse
import time

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


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    names = list(activations.CATALOG)
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
