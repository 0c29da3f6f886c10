"""Made-up sequences that a net solves only if its gradient reaches far back.

They come as their papers have them, not standardised: the published failures depend on the scale.
"""

import numpy as np

from ._split import Split, split

#: What the tokens of `temporal_order` stand for.
SYMBOLS = "abcdXYBE"


def adding(
    *, length: int = 100, examples: int = 5000, test_share: float = 0.2, seed: int = 0
) -> Split:
    """Sequences [length, 2] of a number in [0, 1) and a mark; the answer is the sum of the marked.

    One step of each half is marked by a 1, the others by a 0. Hochreiter & Schmidhuber, 1997,
    "Long short-term memory", in the form of Arjovsky, Shah & Bengio, 2016, arXiv:1511.06464.
    Guessing the mean costs the variance of a sum of two uniform numbers, 1/6.

    Raises:
      ValueError: a length below 2.
    """
    _at_least("adding", length, 2)
    generator = np.random.default_rng(seed)
    values = generator.random((examples, length))
    half = length // 2
    rows = np.arange(examples)
    first = generator.integers(0, half, examples)
    second = generator.integers(half, length, examples)
    marks = np.zeros_like(values)
    marks[rows, first] = marks[rows, second] = 1
    x = np.stack([values, marks], -1).astype(np.float32)
    y = (x[..., 0] * x[..., 1]).sum(1, keepdims=True)
    return split("adding", x, y, test_share=test_share, seed=seed)


def copy_memory(
    *, delay: int = 50, examples: int = 5000, test_share: float = 0.2, seed: int = 0
) -> Split:
    """Ten digits, to be repeated `delay` steps later: tokens [delay + 20], a class at each.

    Token 0 is blank, 1 to 8 are the digits, 9 asks for them: ten digits, delay - 1 blanks, a 9, ten
    blanks. The answer is blank (0) but for the last ten steps. Arjovsky, Shah & Bengio, 2016,
    arXiv:1511.06464. Without memory the best is blank, then any digit: 10 ln 8/(delay + 20).

    Raises:
      ValueError: a delay below 1.
    """
    _at_least("copy_memory", delay, 1)
    generator = np.random.default_rng(seed)
    memory = generator.integers(1, 9, (examples, 10), dtype=np.int32)
    x = np.zeros((examples, delay + 20), np.int32)
    y = x.copy()
    x[:, :10] = y[:, -10:] = memory
    x[:, delay + 9] = 9
    return split("copy_memory", x, y, test_share=test_share, seed=seed, labels=9, vocabulary=10)


def temporal_order(
    *, length: int = 100, examples: int = 5000, test_share: float = 0.2, seed: int = 0
) -> Split:
    """Which of X and Y came first, and which second: tokens [length] (see `SYMBOLS`), 4 classes.

    A sequence starts with B, ends with E and else holds a, b, c or d at random, but for an X or Y
    after 10 to 20 % of its length and another after 50 to 60 %. The classes are XX, XY, YX, YY.
    Hochreiter & Schmidhuber, 1997, "Long short-term memory", experiment 6a, where the length varies
    a little from one sequence to the next; here it does not.

    Raises:
      ValueError: a length below 10.
    """
    _at_least("temporal_order", length, 10)
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 4, (examples, length), dtype=np.int32)
    x[:, 0], x[:, -1] = SYMBOLS.index("B"), SYMBOLS.index("E")
    rows = np.arange(examples)
    y = np.zeros(examples, np.int32)
    for start in (0.1, 0.5):
        low, high = round(start * length), round((start + 0.1) * length)
        symbol = generator.integers(0, 2, examples, dtype=np.int32)
        x[rows, generator.integers(low, high, examples, endpoint=True)] = (
            SYMBOLS.index("X") + symbol
        )
        y = 2 * y + symbol
    return split(
        "temporal_order",
        x,
        y,
        test_share=test_share,
        seed=seed,
        labels=4,
        vocabulary=len(SYMBOLS),
    )


def _at_least(task: str, value: int, least: int) -> None:
    if value < least:
        msg = f"{task} needs at least {least} steps, got {value}"
        raise ValueError(msg)
