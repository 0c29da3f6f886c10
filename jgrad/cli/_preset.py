"""A sweep out of the options that were given; what was not keeps its default."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from jgrad import sweeps

#: Options that list the values of a field.
_LISTS = {"activations": "activation", "inits": "init"}

#: Options that say what all trainings have in common.
_OF_BASE = ("model", "depth", "width", "optimizer", "batch", "data")


def plan(options: Mapping[str, Any]) -> sweeps.Comparison | sweeps.Study:
    """The sweep that these options describe: a study of its axes, or without any a comparison.

    Raises:
      ValueError: a value is no number where one is wanted, options that do not go together, and
        what `vary`, `Comparison` and `Study` refuse.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    axes = [_named(text, many=True) for text in given.pop("axis", ())]
    fields = [_named(text) for text in given.pop("set", ())]
    fields += [(name, given.pop(name)) for name in _OF_BASE if name in given]
    of_lists = [field for name, field in _LISTS.items() if name in given]
    names = [*(name for name, _ in (*axes, *fields)), *of_lists]
    if twice := [name for name in names if names.count(name) > 1]:
        msg = f"{twice[0]} is given more than once"
        raise ValueError(msg)
    axes, fields = dict(axes), dict(fields)
    default = sweeps.Comparison()
    base = _varied(default.base, fields)
    if "seeds" in given:
        given["seeds"] = tuple(range(given["seeds"]))
    if "learning_rates" in given:
        rates = [_rates(words, base.chain.optimizer) for words in given["learning_rates"]]
        given["learning_rates"] = dict(rates)
    if "steps" in given and given["steps"] % default.chunk:
        given["chunk"] = _chunk(given["steps"], default.chunk)
    if axes:
        return _study(base, axes, given, default)
    if given.get("remedies") == ("none",):
        given["remedies"] = ()
    return dataclasses.replace(default, base=base, **given)


def _study(
    base: sweeps.Trial,
    axes: dict[str, tuple[Any, ...]],
    given: dict[str, Any],
    default: sweeps.Comparison,
) -> sweeps.Study:
    if "remedies" in given:
        msg = "--remedies are tried where a comparison fails; a study of --axis has none"
        raise ValueError(msg)
    for name, field in _LISTS.items():
        if name in given:
            axes = {field: given.pop(name), **axes}
    given = {"steps": default.steps, "chunk": default.chunk, "seeds": default.seeds, **given}
    return sweeps.Study(trials=sweeps.grid(base, **axes), **given)


def _varied(base: sweeps.Trial, fields: Mapping[str, Any]) -> sweeps.Trial:
    """The base with these fields; another architecture first, since it has fields of its own."""
    if "model" in fields:
        base = sweeps.vary(base, model=fields["model"])
    return sweeps.vary(base, **{k: v for k, v in fields.items() if k != "model"})


def _named(text: str, *, many: bool = False) -> tuple[str, Any]:
    """("depth=3") as ("depth", 3); with `many`, ("depth=3,6") as ("depth", (3, 6)).

    Example:
      >>> _named("skip=true"), _named("clip=none,norm:1.0", many=True)
      (('skip', True), ('clip', ('none', 'norm:1.0')))
    """
    name, equals, value = text.partition("=")
    if not (name and equals and all(part.strip() for part in value.split(","))):
        msg = f"a field is written NAME={'A,B,...' if many else 'VALUE'}, got {text!r}"
        raise ValueError(msg)
    return name, tuple(map(_value, value.split(","))) if many else _value(value)


def _value(text: str) -> Any:
    """A whole number, a number, a truth value or a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


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
