"""Which inputs can an output's derivative depend on? Read from the function's linear program.

The tangent program of f (its JVP, as a jaxpr) is linear in the tangent, so the way the tangent's
axes run through it is the sparsity of the Jacobian: predicates, integers and stopped gradients
are no part of it. Axes are followed, not elements, so the cost is the program's length whatever
the arrays' sizes. An axis of an intermediate value may be *linked* to an input axis: position p
then depends only on the input positions p + low ... p + high. Elementwise functions link all
axes with low = high = 0, convolutions link with a wider band, position-wise layers link some axes
and not others. What no rule below knows is taken to depend on everything: too little structure may
be found, never too much.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from jgrad._jaxpr import Graph, Node, is_elementwise, scan_split


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


def dependence(
    program: Graph, argument: int, sizes: Sequence[int]
) -> tuple[tuple[int, ...], tuple[Spread, ...]]:
    """How the outputs of a linear program depend on one of its arguments.

    Args:
      program: a traced function, linear in the argument.
      argument: the argument's place among the program's inputs.
      sizes: the argument's shape.

    Returns:
      The argument's axes, split where the program's reshapes split them (axes of size 1 left
      out), and each output's spread over them.
    """
    if math.prod(sizes) == 0:
        return tuple(sizes), tuple(_dense(program.avals[v].shape) for v in program.outputs)
    # The parts of each axis: size, and whether it is still followed.
    axes = [[(n, True)] if n > 1 else [] for n in sizes]
    while True:
        labels = itertools.count()
        start = tuple(
            tuple(
                Part(n, Link(k, 0, 0) if (k := next(labels), followed)[1] else None)
                for n, followed in axis
            )
            for axis in axes
        )
        given: list[Spread] = [None] * len(program.inputs)
        given[argument] = start
        try:
            flat = tuple(n for axis in axes for n, _ in axis)
            return flat, tuple(_run(program, given))
        except Splits as split:
            _divide(axes, split)


def _divide(axes: list[list[tuple[int, bool]]], split: Splits) -> None:
    """Splits one part in place; a part that does not divide is not followed any more."""
    place = split.axis
    for axis in axes:
        if place < len(axis):
            size, _ = axis[place]
            outer, rest = divmod(size, split.inner)
            axis[place : place + 1] = (
                [(size, False)] if rest else [(outer, True), (split.inner, True)]
            )
            return
        place -= len(axis)


class _Equation(NamedTuple):
    """What a rule reads of an equation: parameters, shapes of operands and of results, bodies."""

    params: dict[str, Any]
    ins: tuple[tuple[int, ...], ...]
    outs: tuple[tuple[int, ...], ...]
    node: Node


def _run(graph: Graph, given: Sequence[Spread]) -> list[Spread]:
    known: dict[int, Spread] = dict(zip(graph.inputs, given, strict=True))
    for node in graph.nodes:
        spreads = [known.get(v) for v in node.inputs]
        if any(spread is not None for spread in spreads):
            known.update(zip(node.outputs, _through(graph, node, spreads), strict=True))
    return [known.get(v) for v in graph.outputs]


def _through(graph: Graph, node: Node, spreads: list[Spread]) -> list[Spread]:
    """The spreads of an equation's outputs; dense where no rule knows."""
    ins, outs = (
        tuple(tuple(graph.avals[v].shape) for v in values) for values in (node.inputs, node.outputs)
    )
    try:
        found = _by_rule(graph, node, _Equation(node.eqn.params, ins, outs, node), spreads)
    except _UnknownError:
        found = None
    if found is None:
        found = [_dense(shape) for shape in outs]
    # Integers and predicates carry no tangent.
    inexact = (jnp.issubdtype(graph.avals[v].dtype, jnp.inexact) for v in node.outputs)
    return [out if carries else None for out, carries in zip(found, inexact, strict=True)]


def _by_rule(
    graph: Graph, node: Node, eqn: _Equation, spreads: list[Spread]
) -> list[Spread] | None:
    if rule := _RULES.get(node.name) or _RULES_BY_KIND.get(node.kind):
        return rule(eqn, spreads)
    if is_elementwise(graph, node):
        (shape,) = eqn.outs
        return [_hull([_stretched(s, n, shape) for s, n in zip(spreads, eqn.ins, strict=True)])]
    return None


def _stretched(spread: Spread, old: tuple[int, ...], new: tuple[int, ...]) -> Spread:
    """An operand's spread, broadcast as elementwise equations do it: along axes of size 1."""
    if spread is None:
        return None
    if len(old) < len(new):
        return _dense(new)
    return tuple(a if n == m else _unlinked(m) for a, n, m in zip(spread, old, new, strict=True))


class _UnknownError(Exception):
    """A rule meets a setting it does not know; the outputs count as dense."""


def _dense(shape: Sequence[int]) -> tuple[Axis, ...]:
    return tuple((Part(n),) if n > 1 else () for n in shape)


# --- Joining ------------------------------------------------------------------------------------


def _hull(spreads: Sequence[Spread]) -> Spread:
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
            outer, p = _split(p, q.size)
            left.append(outer)
        elif q.size > p.size:
            outer, q = _split(q, p.size)
            right.append(outer)
        done_a.insert(0, p)
        done_b.insert(0, q)
    return tuple(done_a), tuple(done_b)


def _split(part: Part, inner: int) -> tuple[Part, Part]:
    if part.size % inner:
        raise _UnknownError
    if part.link is None:
        return Part(part.size // inner), Part(inner)
    if part.link.low == part.link.high == 0:
        raise Splits(part.link.axis, inner)
    # A band does not survive being cut into rows.
    return Part(part.size // inner), Part(inner)


def _shifted(axis: Axis, size: int, low: int, high: int) -> Axis:
    """An axis of a new size, whose position p looks at p + low ... p + high of the given one."""
    if size == 1:
        return ()
    if len(axis) == 1 and (link := axis[0].link) is not None:
        return (Part(size, Link(link.axis, link.low + low, link.high + high)),)
    return (Part(size),)


def _unlinked(size: int) -> Axis:
    return (Part(size),) if size > 1 else ()


# --- Rules: what each equation that moves or mixes positions does to the axes -------------------


def _only(spreads: Sequence[Spread], place: int) -> tuple[Axis, ...]:
    """The spread at a place, where no other operand carries the tangent."""
    spread = spreads[place]
    if spread is None or sum(s is not None for s in spreads) > 1:
        raise _UnknownError
    return spread


def _reshape(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    if eqn.params.get("dimensions") is not None:
        raise _UnknownError
    parts = [part for axis in _only(spreads, 0) for part in axis]
    axes: list[Axis] = []
    for n in reversed(eqn.outs[0]):
        axis: list[Part] = []
        while (rest := n // math.prod(part.size for part in axis)) > 1:
            part = parts.pop()
            if part.size > rest:
                outer, part = _split(part, rest)
                parts.append(outer)
            if rest % part.size:
                raise _UnknownError
            axis.insert(0, part)
        axes.insert(0, tuple(axis))
    return [tuple(axes)]


def _broadcast(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    axes, shape = _only(spreads, 0), eqn.outs[0]
    out = [_unlinked(n) for n in shape]
    for axis, place, n in zip(axes, eqn.params["broadcast_dimensions"], eqn.ins[0], strict=True):
        if n == shape[place]:
            out[place] = axis
    return [tuple(out)]


def _squeeze(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    gone = eqn.params["dimensions"]
    return [tuple(axis for d, axis in enumerate(_only(spreads, 0)) if d not in gone)]


def _transpose(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    axes = _only(spreads, 0)
    return [tuple(axes[d] for d in eqn.params["permutation"])]


def _reduce(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    gone = eqn.params["axes"]
    return [tuple(axis for d, axis in enumerate(_only(spreads, 0)) if d not in gone)]


def _mixed_along(parameter: str) -> Callable[[Any, list[Spread]], list[Spread]]:
    """The rule of an equation that mixes positions along the axes that a parameter names."""

    def rule(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
        named = eqn.params[parameter]
        mixed = {named} if isinstance(named, int) else set(named)
        joined = _hull(spreads)
        if joined is None:
            raise _UnknownError
        out = tuple(
            _unlinked(n) if d in mixed else axis
            for d, (axis, n) in enumerate(zip(joined, eqn.outs[0], strict=True))
        )
        return [out] * len(eqn.outs)

    return rule


def _slice(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    axes, old = _only(spreads, 0), eqn.ins[0]
    starts = eqn.params["start_indices"]
    strides = eqn.params["strides"] or (1,) * len(old)
    new = eqn.outs[0]
    return [
        tuple(
            axis if n == m else _shifted(axis, m, start, start) if stride == 1 else _unlinked(m)
            for axis, n, m, start, stride in zip(axes, old, new, starts, strides, strict=True)
        )
    ]


def _dynamic_slice(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    axes, old, new = _only(spreads, 0), eqn.ins[0], eqn.outs[0]
    return [tuple(a if n == m else _unlinked(m) for a, n, m in zip(axes, old, new, strict=True))]


def _pad(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    axes, old, new = _only(spreads, 0), eqn.ins[0], eqn.outs[0]
    return [
        tuple(
            axis
            if (low, high, inside) == (0, 0, 0)
            else _shifted(axis, m, -int(low), -int(low))
            if not inside and n > 1
            else _unlinked(m)
            for axis, n, m, (low, high, inside) in zip(
                axes, old, new, eqn.params["padding_config"], strict=True
            )
        )
    ]


def _concatenate(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    d, shape = eqn.params["dimension"], eqn.outs[0]
    moved: list[Spread] = []
    start = 0
    for operand, spread in zip(eqn.ins, spreads, strict=True):
        n = operand[d]
        if spread is not None:
            whole = spread[d] if n == shape[d] else _shifted(spread[d], shape[d], -start, -start)
            # A piece of one position has lost its part, and with it its link.
            moved.append((*spread[:d], whole, *spread[d + 1 :]))
        start += n
    return [_hull(moved)]


def _split_pieces(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    axes, d = _only(spreads, 0), eqn.params["axis"]
    starts = itertools.accumulate(eqn.params["sizes"], initial=0)
    return [
        (*axes[:d], _shifted(axes[d], n, start, start), *axes[d + 1 :])
        for n, start in zip(eqn.params["sizes"], starts, strict=False)
    ]


def _dot_general(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    (contract, batch) = eqn.params["dimension_numbers"]
    place = 0 if spreads[0] is not None else 1
    axes = _only(spreads, place)
    free = [
        [d for d in range(len(shape)) if d not in (*contract[k], *batch[k])]
        for k, shape in enumerate(eqn.ins)
    ]
    other = [_unlinked(eqn.ins[1 - place][d]) for d in free[1 - place]]
    own = [axes[d] for d in free[place]]
    return [(*(axes[d] for d in batch[place]), *(own + other if place == 0 else other + own))]


def _convolution(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    params, axes = eqn.params, _only(spreads, 0)
    if params["batch_group_count"] != 1:
        raise _UnknownError
    numbers = params["dimension_numbers"]
    old, new = eqn.ins[0], eqn.outs[0]
    kernel = eqn.ins[1]
    out = [_unlinked(n) for n in new]
    out[numbers.out_spec[0]] = axes[numbers.lhs_spec[0]]
    for k, (low, high) in enumerate(params["padding"]):
        source, target = numbers.lhs_spec[2 + k], numbers.out_spec[2 + k]
        width = (kernel[numbers.rhs_spec[2 + k]] - 1) * params["rhs_dilation"][k]
        plain = params["window_strides"][k] == params["lhs_dilation"][k] == 1
        if plain and (width, low, high) == (0, 0, 0):
            out[target] = axes[source]
        elif plain and old[source] > 1:
            out[target] = _shifted(axes[source], new[target], -int(low), width - int(low))
    return [tuple(out)]


def _window(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    params, new = eqn.params, eqn.outs[0]
    axes, old = _only(spreads, 0), eqn.ins[0]
    ones = (1,) * len(old)
    out: list[Axis] = []
    for axis, n, m, size, stride, (low, high), base, apart in zip(
        axes,
        old,
        new,
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params.get("base_dilation") or ones,
        params.get("window_dilation") or ones,
        strict=True,
    ):
        width = (size - 1) * apart
        if (width, stride, low, high, base) == (0, 1, 0, 0, 1):
            out.append(axis)
        elif stride == base == 1 and n > 1:
            out.append(_shifted(axis, m, -int(low), width - int(low)))
        else:
            out.append(_unlinked(m))
    return [tuple(out)]


def _one_by_one(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:  # noqa: ARG001
    return spreads


def _cond(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    branches = [_run(branch, spreads[1:]) for branch in eqn.node.bodies]
    return [_hull(outs) for outs in zip(*branches, strict=True)]


#: Turns of a loop that are followed; what widens for longer counts as dense.
_PATIENCE = 16


def _settled(
    body: Callable[[list[Spread]], list[Spread]],
    carry: list[Spread],
    shapes: Sequence[tuple[int, ...]],
    turns: int | None = None,
) -> list[Spread]:
    """The carry of a loop that its body does not widen any more, or not in so many turns."""
    for _ in range(_PATIENCE):
        if turns == 0:
            return carry
        turns = None if turns is None else turns - 1
        wider = [_hull(pair) for pair in zip(carry, body(carry), strict=True)]
        if wider == carry:
            return carry
        carry = wider
    # A band that grows with every turn ends as wide as its axis.
    while True:
        after = [
            None if spread is None else _dense(shape)
            for spread, shape in zip(body(carry), shapes, strict=False)
        ]
        wider = [_hull(pair) for pair in zip(carry, after, strict=True)]
        if wider == carry:
            return carry
        carry = wider


def _scan(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    num_consts, num_carry = scan_split(eqn.node.eqn)
    (body,) = eqn.node.bodies
    consts, carry = spreads[:num_consts], spreads[num_consts : num_consts + num_carry]
    scanned = spreads[num_consts + num_carry :]
    steps = [None if spread is None else spread[1:] for spread in scanned]

    def run(carry: list[Spread]) -> list[Spread]:
        return _run(body, [*consts, *carry, *steps])

    turns = eqn.params["length"]
    carry = _settled(lambda c: run(c)[:num_carry], carry, eqn.ins[num_consts:], turns)
    outs = run(carry)[num_carry:]
    # Where nothing is carried on, each step sees its own slice alone: the steps' axis stays linked.
    leads = {spread[0] for spread in scanned if spread is not None}
    alone = len(leads) == 1 and all(spread is None for spread in (*consts, *carry))
    lead = leads.pop() if alone else _unlinked(eqn.params["length"])
    return [*carry, *(None if out is None else (lead, *out) for out in outs)]


def _while(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    _, body = eqn.node.bodies
    first = len(spreads) - len(eqn.outs)
    consts = spreads[first - (len(body.inputs) - len(eqn.outs)) : first]
    return _settled(lambda c: _run(body, [*consts, *c]), spreads[first:], eqn.outs)


def _call(eqn: _Equation, spreads: list[Spread]) -> list[Spread]:
    (body,) = eqn.node.bodies
    return _run(body, spreads)


_RULES: dict[str, Callable[[Any, list[Spread]], list[Spread]]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "reduce_sum": _reduce,
    "cumsum": _mixed_along("axis"),
    "rev": _mixed_along("dimensions"),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "split": _split_pieces,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "reduce_window_sum": _window,
    "optimization_barrier": _one_by_one,
    "sharding_constraint": _one_by_one,
}

_RULES_BY_KIND: dict[str, Callable[[_Equation, list[Spread]], list[Spread]]] = {
    "placed": _call,
    "remat": _call,
    "custom_jvp": _call,
    "cond": _cond,
    "scan": _scan,
    "while": _while,
}
