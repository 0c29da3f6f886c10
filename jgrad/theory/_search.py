"""Looking for zeros over many decades of a variance q."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import scipy.optimize

from ._sampling import Host

#: Where fixed and critical points are looked for, and how densely, in q.
LOWEST, HIGHEST, _PER_DECADE = 1e-10, 1e4, 6

#: Below this, a relative difference of two averages is rounding.
ROUNDING = 1e-11


def tabled(f: Callable[[Host], Host], lowest: float, highest: float) -> tuple[Host, Host]:
    """A grid of ln q and f there; it ends where an average of φ overflows or diverges.

    Raises:
      ValueError: it does so from the start.
    """
    points = math.ceil(_PER_DECADE * math.log10(highest / lowest)) + 1
    x = np.linspace(math.log(lowest), math.log(highest), points)
    try:
        return x, f(x)
    except ValueError:
        good, bad = 0, points
    f(x[:1])
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            f(x[middle : middle + 1])
        except ValueError:
            bad = middle
        else:
            good = middle
    return x[:bad], f(x[:bad])


def roots(f: Callable[[Host], Host], x: Host, y: Host) -> list[float]:
    """Where f, y at the x and zero only to rounding elsewhere, changes sign."""
    clear = np.flatnonzero(np.isfinite(y) & (np.abs(y) > ROUNDING))
    turns = [(i, j) for i, j in itertools.pairwise(clear) if y[i] * y[j] < 0]
    return [root(lambda at: float(f(np.array([at]))[0]), x[i], x[j]) for i, j in turns]


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f, of opposite signs at low and high, is zero."""
    found = scipy.optimize.root_scalar(f, bracket=(low, high), xtol=1e-15, rtol=1e-14)
    return float(found.root)
