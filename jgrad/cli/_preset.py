"""A comparison out of the options that were given; what was not keeps its default."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jgrad import sweeps

#: Options that say what all trainings have in common.
_OF_BASE = ("model", "depth", "width", "optimizer", "batch", "data")


def comparison(options: Mapping[str, Any]) -> sweeps.Comparison:
    """The comparison that these options describe.

    Raises:
      ValueError: a learning rate is no number; and what `Comparison` itself refuses.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "seeds" in given:
        given["seeds"] = tuple(range(given["seeds"]))
    if given.get("remedies") == ("none",):
        given["remedies"] = ()
    default = sweeps.Comparison()
    of_base = {name: given.pop(name) for name in _OF_BASE if name in given}
    if of_base:
        given["base"] = sweeps.vary(default.base, **of_base)
    if "learning_rates" in given:
        optimizer = of_base.get("optimizer", default.base.chain.optimizer)
        given["learning_rates"] = dict(_rates(r, optimizer) for r in given["learning_rates"])
    if "steps" in given and given["steps"] % given.get("chunk", default.chunk):
        given["chunk"] = _chunk(given["steps"], default.chunk)
    return dataclasses.replace(default, **given)


def _rates(words: tuple[str, ...], optimizer: str) -> tuple[str, tuple[float, ...]]:
    """("adam=0.1", "0.2") as ("adam", (0.1, 0.2)); without a name they are the base grid's."""
    name, equals, first = words[0].partition("=")
    numbers = (first, *words[1:]) if equals else words
    try:
        return (name if equals else optimizer), tuple(float(number) for number in numbers)
    except ValueError as error:
        msg = f"learning rates must be numbers, got {','.join(words)!r}"
        raise ValueError(msg) from error


def _chunk(steps: int, largest: int) -> int:
    """The largest number of steps between records, up to `largest`, that divides `steps`.

    Example:
      >>> _chunk(150, 20), _chunk(7, 20), _chunk(-1, 20)
      (15, 7, 20)
    """
    if steps < 1:
        return largest
    return max(n for n in range(1, largest + 1) if steps % n == 0)
