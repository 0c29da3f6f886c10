"""Sets of trials: every combination, side by side, or drawn at random."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._trial import Trial, vary

_PLAIN = Trial()


def grid(base: Trial = _PLAIN, **axes: Any) -> tuple[Trial, ...]:
    """Every combination of the axes' values, the last axis fastest.

    Args:
      base: what the trials have in common.
      axes: name of a field (of the trial, its model or its optimiser chain) → its values.

    Raises:
      ValueError: an axis is unknown (quotes the nearest name), empty, or holds a value twice; a
        combination contradicts itself.

    Example:
      >>> [(t.model.activation, t.init) for t in grid(activation=["tanh", "relu"], init=["he"])]
      [('tanh', 'he'), ('relu', 'he')]
    """
    values = [axis(name, given) for name, given in axes.items()]
    return tuple(
        vary(base, **dict(zip(axes, chosen, strict=True))) for chosen in itertools.product(*values)
    )


def paired(base: Trial = _PLAIN, **axes: Any) -> tuple[Trial, ...]:
    """One trial for each place in the axes, which are equally long: first with first, and so on.

    Args and errors as of `grid`, except that a value may come twice; and:

    Raises:
      ValueError: the axes differ in length.

    Example:
      >>> [(t.model.depth, t.model.width) for t in paired(depth=[4, 8], width=[16, 8])]
      [(4, 16), (8, 8)]
    """
    lengths = {name: len(axis(name, given, distinct=False)) for name, given in axes.items()}
    if len(set(lengths.values())) > 1:
        msg = f"paired axes must be equally long, got {lengths}"
        raise ValueError(msg)
    rows = zip(*axes.values(), strict=True)
    return tuple(vary(base, **dict(zip(axes, row, strict=True))) for row in rows)


def randomly(
    base: Trial = _PLAIN,
    *,
    count: int,
    seed: int = 0,
    **axes: Any,
) -> tuple[Trial, ...]:
    """`count` different combinations of the axes' values, each drawn with the same probability.

    A baseline for any choice of settings by hand: Bergstra & Bengio, 2012, JMLR 13.

    Args and errors as of `grid`; and:

    Raises:
      ValueError: there are fewer than `count` combinations, or count is below 1.

    Example:
      >>> len(set(randomly(count=3, activation=["tanh", "relu"], init=["he", "xavier"])))
      3
    """
    values = [axis(name, given) for name, given in axes.items()]
    sizes = [len(of_axis) for of_axis in values]
    total = int(np.prod(sizes, dtype=np.int64))
    if not 1 <= count <= total:
        msg = f"count must be from 1 to the {total} combinations there are, got {count}"
        raise ValueError(msg)
    places = np.random.default_rng(seed).choice(total, count, replace=False)
    rows = np.transpose(np.unravel_index(places, sizes)) if sizes else [[]] * count
    return tuple(
        vary(base, **{name: of[k] for name, of, k in zip(axes, values, row, strict=True)})
        for row in rows
    )


def seed_axis(values: Any) -> tuple[int, ...]:
    """`values` as seeds: different whole numbers of 32 bits.

    Raises:
      ValueError: none at all, one twice, or one that is no whole number from 0 to 2³² - 1.

    Example:
      >>> seed_axis(np.arange(3))
      (0, 1, 2)
    """
    seeds = axis("seeds", values)
    for seed in seeds:
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not whole or not 0 <= seed < 2**32:
            msg = f"seeds must be whole numbers of at least 0 and below 2³², got {seed!r}"
            raise ValueError(msg)
    return tuple(map(int, seeds))


def axis(name: str, values: Any, *, distinct: bool = True) -> tuple[Any, ...]:
    """`values` as a tuple, once they are known to be several, and different ones.

    Raises:
      ValueError: none at all, or one twice; a string for a sequence.
    """
    if isinstance(values, str | Mapping) or not hasattr(values, "__iter__"):
        kind = "string" if isinstance(values, str) else "value"
        msg = f"{name} must be a sequence of values, got the {kind} {values!r}"
        raise ValueError(msg)
    values = tuple(values)
    if not values:
        msg = f"{name} is empty: there is nothing to compare"
        raise ValueError(msg)
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if distinct and twice:
        msg = f"{name} holds {twice[0]!r} twice"
        raise ValueError(msg)
    return values
