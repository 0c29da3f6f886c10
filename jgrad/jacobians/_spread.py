"""What a value depends on: how its axes follow the axes of the one input that is looked at.

An axis of an intermediate value may be *linked* to an input axis: position p then depends only on
the input positions p + low ... p + high.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple


class Link(NamedTuple):
    """Position p depends on the positions p + low ... p + high of the input's axis `axis`."""

    axis: int
    low: int
    high: int


class Part(NamedTuple):
    """A factor of an axis of a value: its size and, where it follows one, its link to an input."""

    size: int
    link: Link | None = None


#: One axis: the parts that it is the row-major product of. An axis of size 1 has none.
Axis = tuple[Part, ...]

#: What a value depends on: its axes, or None where the value does not depend on the input.
Spread = tuple[Axis, ...] | None


@dataclasses.dataclass(frozen=True)
class Splits(Exception):
    """A reshape splits the input's axis: the analysis starts over with (size // inner, inner)."""

    axis: int
    inner: int


class UnknownError(Exception):
    """A rule meets a setting it does not know; the outputs count as dense."""


def dense(shape: Sequence[int]) -> tuple[Axis, ...]:
    """What depends on everything."""
    return tuple((Part(n),) if n > 1 else () for n in shape)


def hull(spreads: Sequence[Spread]) -> Spread:
    """What depends on all of these, elementwise."""
    present = [spread for spread in spreads if spread is not None]
    return functools.reduce(_join, present) if present else None


def _join(a: tuple[Axis, ...], b: tuple[Axis, ...]) -> tuple[Axis, ...]:
    pairs = [_refine(p, q) for p, q in zip(a, b, strict=True)]
    axes_a, axes_b = tuple(p for p, _ in pairs), tuple(q for _, q in pairs)
    # An input axis stays linked only where both follow it at one and the same place.
    return tuple(
        tuple(Part(p.size, _span(p.link, q.link)) for p, q in zip(axis_a, axis_b, strict=True))
        for axis_a, axis_b in zip(axes_a, axes_b, strict=True)
    )


def _span(p: Link | None, q: Link | None) -> Link | None:
    if p is None or q is None or p.axis != q.axis:
        return None
    return Link(p.axis, min(p.low, q.low), max(p.high, q.high))


def _refine(a: Axis, b: Axis) -> tuple[Axis, Axis]:
    """Both with the same sizes of parts."""
    if [p.size for p in a] == [q.size for q in b]:
        return a, b
    left, right = list(a), list(b)
    done_a: list[Part] = []
    done_b: list[Part] = []
    while left and right:
        p, q = left.pop(), right.pop()
        if p.size > q.size:
            outer, p = divided(p, q.size)
            left.append(outer)
        elif q.size > p.size:
            outer, q = divided(q, p.size)
            right.append(outer)
        done_a.insert(0, p)
        done_b.insert(0, q)
    return tuple(done_a), tuple(done_b)


def divided(part: Part, inner: int) -> tuple[Part, Part]:
    """A part as two, the inner one of the given size.

    Raises:
      UnknownError: the size does not divide.
      Splits: the part is a whole input axis, which then wants splitting itself.
    """
    if part.size % inner:
        raise UnknownError
    if part.link is None:
        return Part(part.size // inner), Part(inner)
    if part.link.low == part.link.high == 0:
        raise Splits(part.link.axis, inner)
    # A band does not survive being cut into rows.
    return Part(part.size // inner), Part(inner)


def shifted(axis: Axis, size: int, low: int, high: int) -> Axis:
    """An axis of a new size, whose position p looks at p + low ... p + high of the given one."""
    if size == 1:
        return ()
    if len(axis) == 1 and (link := axis[0].link) is not None:
        return (Part(size, Link(link.axis, link.low + low, link.high + high)),)
    return (Part(size),)


def unlinked(size: int) -> Axis:
    """An axis that follows none."""
    return (Part(size),) if size > 1 else ()
