"""Looking things up by name, with an error that helps when the name is wrong."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

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
