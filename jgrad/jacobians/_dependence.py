"""Which inputs can an output's derivative depend on? Read from the function's linear program.

The tangent program of f (its JVP, as a jaxpr) is linear in the tangent, so the way the tangent's
axes run through it is the sparsity of the Jacobian: predicates, integers and stopped gradients
are no part of it. Axes are followed, not elements, so the cost is the program's length whatever
the arrays' sizes. An axis of an intermediate value may be *linked* to an input axis: position p
then depends only on the input positions p + low ... p + high. Elementwise functions link all
axes with low = high = 0, convolutions link with a wider band, position-wise layers link some axes
and not others. What no rule below knows is taken to depend on everything: too little structure may
be found, never too much.

asdex (0.5) is the library for the general case, element by element and with graph colouring. It
also sees permutations, gathers and triangles, which count as dense here. It is not used because a
Jacobian with no structure is the usual case, and finding that out took it 34 s for 2,048 by 2,048,
and because it follows values and not tangents: x times a stopped sum counts as dense there.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp

from jgrad._jaxpr import Graph, Node, is_elementwise, scan_split

from ._rules import RULES, Equation
from ._spread import Link, Part, Splits, Spread, UnknownError, dense, hull, unlinked


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
        return tuple(sizes), tuple(dense(program.avals[v].shape) for v in program.outputs)
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
        found = _by_rule(graph, node, Equation(node.eqn.params, ins, outs, node), spreads)
    except UnknownError:
        found = None
    if found is None:
        found = [dense(shape) for shape in outs]
    # Integers and predicates carry no tangent.
    inexact = (jnp.issubdtype(graph.avals[v].dtype, jnp.inexact) for v in node.outputs)
    return [out if carries else None for out, carries in zip(found, inexact, strict=True)]


def _by_rule(graph: Graph, node: Node, eqn: Equation, spreads: list[Spread]) -> list[Spread] | None:
    if rule := RULES.get(node.name) or _BY_KIND.get(node.kind):
        return rule(eqn, spreads)
    if is_elementwise(graph, node):
        (shape,) = eqn.outs
        return [hull([_stretched(s, n, shape) for s, n in zip(spreads, eqn.ins, strict=True)])]
    return None


def _stretched(spread: Spread, old: tuple[int, ...], new: tuple[int, ...]) -> Spread:
    """An operand's spread, broadcast as elementwise equations do it: along axes of size 1."""
    if spread is None:
        return None
    if len(old) < len(new):
        return dense(new)
    return tuple(a if n == m else unlinked(m) for a, n, m in zip(spread, old, new, strict=True))


def _cond(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    branches = [_run(branch, spreads[1:]) for branch in eqn.node.bodies]
    return [hull(outs) for outs in zip(*branches, strict=True)]


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
        wider = [hull(pair) for pair in zip(carry, body(carry), strict=True)]
        if wider == carry:
            return carry
        carry = wider
    # A band that grows with every turn ends as wide as its axis.
    while True:
        after = [
            None if spread is None else dense(shape)
            for spread, shape in zip(body(carry), shapes, strict=False)
        ]
        wider = [hull(pair) for pair in zip(carry, after, strict=True)]
        if wider == carry:
            return carry
        carry = wider


def _scan(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
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
    lead = leads.pop() if alone else unlinked(eqn.params["length"])
    return [*carry, *(None if out is None else (lead, *out) for out in outs)]


def _while(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    _, body = eqn.node.bodies
    first = len(spreads) - len(eqn.outs)
    consts = spreads[first - (len(body.inputs) - len(eqn.outs)) : first]
    return _settled(lambda c: _run(body, [*consts, *c]), spreads[first:], eqn.outs)


def _call(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    (body,) = eqn.node.bodies
    return _run(body, spreads)


_BY_KIND: dict[str, Callable[[Equation, list[Spread]], list[Spread]]] = {
    "placed": _call,
    "remat": _call,
    "custom_jvp": _call,
    "cond": _cond,
    "scan": _scan,
    "while": _while,
}
