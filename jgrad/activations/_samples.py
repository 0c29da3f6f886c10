"""The grid on which functions are identified, and functions sampled on it."""

import dataclasses

import numpy as np


def _grid() -> np.ndarray:
    # At most eight significant bits a point, so that the grid is exact in bfloat16 and float16.
    # Off the origin no point mirrors another but for those the closed forms below need: a mean or
    # a norm over the grid, which makes a function other than elementwise, then shows.
    dense_right = np.arange(1, 22) * 0.375
    dense_left = -np.arange(1, 19) * 0.4375
    beside_kinks = np.concatenate(
        [(0.498046875, 0.50390625, 0.9921875, 1.0078125, 2.984375, 3.015625, 5.96875, 6.03125)]
    )
    solved_at = np.array([2.0**-6, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 16384.0])
    right = np.array([0.0078125, 0.0625, 10.0, 13.0, 20.0, 27.0, 31.0, 128.0, 1024.0, 8192.0])
    left = -np.array([0.00390625, 0.03125, 9.0, 11.0, 18.0, 24.0, 30.0, 112.0, 1280.0, 10240.0])
    points = (dense_right, dense_left, beside_kinks, -beside_kinks, solved_at, -solved_at)
    return np.unique(np.concatenate([*points, right, left, [0.0]])).astype(np.float32)


#: Where functions are sampled: float32, increasing, exact in bfloat16 and float16.
IDENTIFY_GRID: np.ndarray = _grid()
IDENTIFY_GRID.setflags(write=False)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Values and slopes on the grid, float64: of one function [n], or of many [entry, n].

    Slopes that are not known are nan.
    """

    values: np.ndarray
    slopes: np.ndarray

    def row(self, i: int) -> "Samples":
        return Samples(self.values[i], self.slopes[i])

    def at(self, x: float) -> float:
        return float(self.values[_INDEX[x]])

    def slope_at(self, x: float) -> float:
        return float(self.slopes[_INDEX[x]])


_INDEX = {float(x): i for i, x in enumerate(IDENTIFY_GRID)}
