"""Looking things up by name, with an error that helps when the name is wrong."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

# More names than this make an error that nobody reads.
_MOST = 24


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """The message for a name that is not known: what was given, the nearest, what there is.

    Example:
      >>> unknown("activation", "sigmod", ["gelu", "sigmoid", "tanh"])
      "unknown activation 'sigmod'; did you mean 'sigmoid'? Known: gelu, sigmoid, tanh"
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = known if len(known) <= _MOST else [*known[:_MOST], f"and {len(known) - _MOST} more"]
    return f"unknown {what} {name!r}{hint} Known: {', '.join(listed)}"


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """`table[name]`.

    Raises:
      ValueError: the table has no such name; quotes it, the nearest names and what there is.
    """
    if name not in table:
        raise ValueError(unknown(what, name, table))
    return table[name]


class Described(NamedTuple):
    """A thing and its numbers, out of a text such as "adam:b2=0.95,eps=1e-6".

    Attributes:
      name: what stands before the colon.
      numbers: the values without a name, in order.
      options: the values with one.
    """

    name: str
    numbers: tuple[Any, ...]
    options: dict[str, Any]


def described(text: str, what: str) -> Described:
    """The name, the bare values and the named values of "name:1.0,key=value".

    A value is a number, True, False or None.

    Raises:
      ValueError: a value of another kind, one missing, or a name twice.

    Example:
      >>> described("percentile:10,window=50", "clipping")
      Described(name='percentile', numbers=(10,), options={'window': 50})
    """
    name, colon, rest = (part.strip() for part in text.partition(":"))
    numbers: list[Any] = []
    options: dict[str, Any] = {}
    for item in rest.split(",") if colon else ():
        key, equals, written = (part.strip() for part in item.rpartition("="))
        value = _value(written)
        if isinstance(value, str) or key in options:
            msg = (
                f"{what} {text!r}: {item.strip()!r} is not understood; write "
                f"'name:key=value,key=value' with numbers, True, False or None, each key once"
            )
            raise ValueError(msg)
        if equals:
            options[key] = value
        else:
            numbers.append(value)
    return Described(name, tuple(numbers), options)


def _value(written: str) -> Any:
    """The number (inf and nan are numbers), True, False or None that is written; else the text."""
    words = {"True": True, "False": False, "None": None}
    if written in words:
        return words[written]
    for kind in (int, float):
        try:
            return kind(written)
        except ValueError:
            pass
    return written


def known_options(options: Iterable[str], known: Iterable[str], of: str) -> None:
    """Nothing, once every one of `options` is among the `known`.

    Raises:
      ValueError: one is not; quotes it, the nearest ones and what there is.
    """
    known = list(known)
    for name in options:
        if name not in known:
            raise ValueError(unknown(f"option of {of}", name, known))
