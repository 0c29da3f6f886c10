"""Makes tests/data/prime_truth.npz: φ, φ', φ'' and φ''' of the prime activations by mpmath.

  python scripts/make_truth.py [--out FILE]

The grid has points in every binade of float32 (so in bfloat16's and float16's too),
more within ±110, and the floats around every kink, zero and far end. The derivatives come from
truncated Taylor series carried through the textbook definition at 150 digits: no derivative is
derived by hand, so nothing is shared with the forms under test. About a minute.
"""

import argparse
import pathlib

import mpmath as mp
import numpy as np

ORDERS = 4
#: Zeros of a derivative, kinks, and the places where a form under test hands over to another.
CRITICAL = (
    *(0.0, -0.7, -0.6, 0.6, 1.0, -1.0, 3.0, 16.0, 32.0, -16.0, -32.0),
    *(-1.2784645, 2.3993573, -2.3993573, -1.1924312, -2.2563764, 1.4905712, -0.75179152),
    *(1.4142136, -1.4142136, -0.75246142, 1.418504, -1.418504, 2.0, -2.0),
    *(44.36, -44.36, 87.336, -87.336, 91.8, -91.8, 13.3, -13.3, 10.2, -10.2, 9.35),
)


def grid() -> np.ndarray:
    """Float32 inputs, ascending, without duplicates; ±0 counts as one."""
    rng = np.random.default_rng(20261123)
    binades = np.arange(-126, 128)
    inner = (binades > -12) & (binades < 8)
    magnitudes = np.concatenate(
        [
            2.0**binades,
            *(rng.uniform(1, 2, 254) * 2.0**binades for _ in range(2)),
            *(rng.uniform(1, 2, inner.sum()) * 2.0 ** binades[inner] for _ in range(12)),
        ]
    )
    around = [np.float32(c) + np.arange(-3, 4) * np.spacing(np.float32(c)) for c in CRITICAL if c]
    points = np.concatenate(
        [
            magnitudes,
            -magnitudes,
            *around,
            [0.0],
            rng.uniform(-20, 20, 400),
            rng.uniform(-110, 110, 300),
            rng.uniform(-750, 750, 80),
        ]
    )
    return np.unique(points.astype(np.float32))


class Series:
    """A Taylor series Σ c_k t^k to order 3, with mpmath coefficients."""

    def __init__(self, *c):
        self.c = [*map(mp.mpf, c), *[mp.mpf(0)] * (ORDERS - len(c))]

    def __add__(self, other):
        return Series(*(a + b for a, b in zip(self.c, series(other).c, strict=True)))

    def __mul__(self, other):
        a, b = self.c, series(other).c
        return Series(*(sum(a[i] * b[k - i] for i in range(k + 1)) for k in range(ORDERS)))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1

    def __sub__(self, other):
        return self + series(other) * -1

    def __rsub__(self, other):
        return series(other) + self * -1

    def __truediv__(self, other):
        return self * inverse(series(other))

    def __rtruediv__(self, other):
        return series(other) * inverse(self)


def series(value) -> Series:
    return value if isinstance(value, Series) else Series(value)


def integral(start, slope: Series) -> Series:
    return Series(start, *(slope.c[k] / (k + 1) for k in range(ORDERS - 1)))


def derivative(s: Series) -> Series:
    return Series(*((k + 1) * s.c[k + 1] for k in range(ORDERS - 1)))


def solve(start, slope) -> Series:
    """The series y with y(0) = start and y' = slope(y), one more order a pass."""
    y = Series(start)
    for _ in range(ORDERS - 1):
        y = integral(start, slope(y))
    return y


def inverse(s: Series) -> Series:
    return solve(1 / s.c[0], lambda y: -(derivative(s) * y * y))


def exp(s: Series) -> Series:
    return solve(mp.exp(s.c[0]), lambda y: derivative(s) * y)


def log1p(s: Series) -> Series:
    return integral(mp.log1p(s.c[0]), derivative(s) / (1 + s))


def sqrt(s: Series) -> Series:
    return exp(0.5 * log1p(s - 1))


def tanh(s: Series) -> Series:
    if s.c[0] < 1:
        return (
            -tanh(-s)
            if s.c[0] < -1
            else solve(mp.tanh(s.c[0]), lambda y: derivative(s) * (1 - y * y))
        )
    # Far out 1 - y² would need a digit for each of its leading zeros.
    return (1 - exp(-2 * s)) / (1 + exp(-2 * s))


def erf(s: Series) -> Series:
    return integral(mp.erf(s.c[0]), derivative(s) * exp(-(s * s)) * (2 / mp.sqrt(mp.pi)))


def sigmoid(x: Series) -> Series:
    return 1 / (1 + exp(-x)) if x.c[0] > 0 else exp(x) / (1 + exp(x))


def softplus(x: Series) -> Series:
    return x + log1p(exp(-x)) if x.c[0] > 0 else log1p(exp(x))


def exponential_unit(x: Series, alpha, scale, rate) -> Series:
    # At 0 the derivatives from the left, as in jax.nn.
    return scale * x if x.c[0] > 0 else scale * alpha * (exp(rate * x) - 1)


def normal_cdf(x: Series) -> Series:
    return integral(mp.erfc(-x.c[0] / mp.sqrt(2)) / 2, exp(-0.5 * x * x) / mp.sqrt(2 * mp.pi))


def gelu_tanh(x: Series) -> Series:
    # (1 + tanh u) / 2 = σ(2u), which needs no digits for the tail.
    return x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x * x * x))


_SELU = mp.mpf("1.0507009873554804934193349852946"), mp.mpf("1.6732632423543772848170429916717")

FUNCTIONS = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softplus": softplus,
    "log_sigmoid": lambda x: -softplus(-x),
    "elu": lambda x: exponential_unit(x, 1, 1, 1),
    "selu": lambda x: exponential_unit(x, _SELU[1], _SELU[0], 1),
    "celu_half": lambda x: exponential_unit(x, mp.mpf(0.5), 1, 2),
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * normal_cdf(x),
    "gelu_tanh": gelu_tanh,
    "mish": lambda x: x * tanh(softplus(x)),
    "squareplus": lambda x: (x + sqrt(x * x + 4)) / 2,
    "soft_sign": lambda x: x / (1 + x) if x.c[0] >= 0 else x / (1 - x),
    "erf": erf,
}


def truth(name: str, x: float) -> list[float]:
    """φ, φ', φ'', φ''' at x, each rounded once."""
    far = abs(x) > 800 and name not in ("squareplus", "soft_sign")
    # Past ±800 nothing exponential is a float64: the value there is the value at ±800, or its line.
    at = mp.mpf(800) * mp.sign(x) if far else mp.mpf(x)
    result = FUNCTIONS[name](Series(at, 1)).c
    values = [result[k] * mp.factorial(k) for k in range(ORDERS)]
    if far and abs(values[1]) > 0.5:
        values[0] += (mp.mpf(x) - at) * values[1]
    return [float(v) for v in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default="tests/data/prime_truth.npz")
    out = parser.parse_args().out
    mp.mp.dps = 150
    x = grid()
    tables = {name: np.array([truth(name, float(v)) for v in x]).T for name in FUNCTIONS}
    np.savez_compressed(out, x=x, **tables)
    print(f"{out}: {len(x)} points, {len(tables)} functions, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
