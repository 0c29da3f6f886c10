"""What becomes of a value: sums, products with matrices, a return to itself; and what made it."""

from collections.abc import Collection, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import _jaxpr
from jgrad._jaxpr import Graph, Node, bind, is_broadcast, is_float, is_pointwise


class Uses:
    """What becomes of a value.

    Attributes:
      reduced: a sum over some of its axes is taken, or it is the function's scalar result.
      repeated: it is repeated over a larger array.
      other: something else becomes of it, such as a product with a matrix.
      meets_its_reduction: what is left of a sum over it meets the value itself.
      comes_back: what is left of a sum over it comes back to the full shape.
      leads_on: what is left of a sum over it goes through weights.
    """

    def __init__(self, graph: Graph, v: int):
        self.reduced = self.other = self.repeated = False
        self.comes_back = self.meets_its_reduction = self.leads_on = False
        sums: list[int] = []
        full = size(graph, v)
        same: set[int] = {v}
        pending, seen = [v], {v}
        while pending:
            u = pending.pop()
            for k in graph.users.get(u, ()):
                node = graph.nodes[k]
                if not node.outputs:  # what is printed is put to no use
                    continue
                out = node.outputs[0]
                pointwise = is_pointwise(graph, node) or is_broadcast(graph, node)
                if _sums(graph, node):
                    self.reduced = True
                    sums.append(out)
                elif (pointwise or _moves(graph, node, u)) and size(graph, out) <= full:
                    if out not in seen:
                        seen.add(out)
                        pending.append(out)
                        same |= {out} if pointwise else set()
                elif pointwise:
                    self.repeated = True
                else:
                    self.other = True
            if u in graph.outputs:
                # A scalar that is the function's own result is a loss; anything larger is not.
                self.reduced = self.reduced or full == 1
                self.other = self.other or full > 1
        self._follow(graph, sums, same, full)

    @property
    def only_reduced(self) -> bool:
        """Whether sums are all that becomes of it."""
        return self.reduced and not self.other and not self.repeated

    def _follow(self, graph: Graph, sums: list[int], same: set[int], full: int) -> None:
        pending, seen = list(sums), set(sums)
        while pending:
            u = pending.pop()
            for k in graph.users.get(u, ()):
                node = graph.nodes[k]
                if same & set(node.inputs):
                    self.meets_its_reduction = True
                goes_on = is_pointwise(graph, node) or _sums(graph, node)
                if not (goes_on or is_broadcast(graph, node) or _moves(graph, node, u)):
                    self.leads_on = self.leads_on or any(size(graph, v) > 1 for v in node.outputs)
                    continue
                for out in node.outputs:
                    if size(graph, out) >= full > 1:
                        self.comes_back = True
                    elif out not in seen:
                        seen.add(out)
                        pending.append(out)


class Origin:
    """What a value was made of, as far back as products with weights.

    Attributes:
      summed: the arrays over whose axes sums were taken.
      pure: nothing else came in but numbers and the graph's own arguments, and of these, beside
        sums, only such as are smaller than what was summed. A variance is pure, and a number kept
        from training; a pre-activation is not, nor is one with its row's largest taken off.
    """

    def __init__(self, graph: Graph, v: int):
        summed: set[int] = set()
        largest, self.pure = 0, True
        pending, seen = [v], {v}
        while pending:
            u = pending.pop()
            k = graph.maker.get(u)
            if k is None:
                largest = max(largest, size(graph, u))
            elif _sums(graph, graph.nodes[k]) or _squares(graph.nodes[k]):
                summed |= _floats(graph, graph.nodes[k])
            else:
                self.pure = self.pure and _passes(graph, graph.nodes[k])
                before = _floats(graph, graph.nodes[k]) - seen
                seen |= before
                pending += before if self.pure else ()
        self.summed = frozenset(summed)
        if summed:
            self.pure = self.pure and largest < min(size(graph, u) for u in summed)


def comes_back_to(graph: Graph, v: int, summed: Collection[int]) -> bool:
    """Whether v, made of sums over arrays, meets these arrays again, in their full size."""
    full = min((size(graph, u) for u in summed), default=0)
    return any(
        others and size(graph, out) >= full and _related(graph, others, summed)
        for out, others in meetings(graph, v)
    )


def meets_sums_of(graph: Graph, v: int, of: int) -> bool:
    """Whether v meets sums over something that is made of `of`."""
    return any(_are_sums(graph, w, of) for _, others in meetings(graph, v) for w in others)


def has_sums_off(graph: Graph, v: int) -> bool:
    """Whether v is a value with sums over it taken off: the logarithm of a softmax.

    Or with the larger of it and another taken off, as where a softmax is taken step by step.
    """
    node = graph.nodes[graph.maker[v]] if v in graph.maker else None
    if node is None or _at(graph, node, 3, 1) != 2:
        return False
    u, w = (_unconverted(graph, v) for v in node.inputs)
    larger = graph.nodes[graph.maker[w]] if w in graph.maker else None
    if larger is not None and u in (_unconverted(graph, v) for v in larger.inputs):
        return _at(graph, larger, 3, 1) == 3 == _at(graph, larger, 1, 3)
    return _are_sums(graph, w, u)


def _unconverted(graph: Graph, v: int) -> int:
    """The value before conversions to other dtypes."""
    while v in graph.maker and "new_dtype" in graph.nodes[graph.maker[v]].eqn.params:
        (v,) = graph.nodes[graph.maker[v]].inputs
    return v


def is_margin(graph: Graph, v: int) -> bool:
    """Whether v is what a score lacks to a number of the text: 1 - y f(x), d₁ - d₂ + 0.2.

    No pre-activation is taken off a number; and where one is added, there is more than one unit.
    """
    node = graph.nodes[graph.maker[v]] if v in graph.maker else None
    if node is None or len({*node.inputs} & graph.literals) != 1:
        return False
    at_0, at_1 = _at(graph, node, 0, 0), _at(graph, node, 1, 1)
    if at_0 is None or at_1 is None or at_0 == 0 or not np.isclose(abs(at_1 - at_0), 1):
        return False
    one_a_row = graph.avals[v].shape[1:] in ((), (1,))
    return at_1 < at_0 or one_a_row


def _at(graph: Graph, node: Node, *numbers: int) -> float | None:
    """The node's result where its operands are these numbers, but for those in the text.

    None for one that is no function of two numbers.
    """
    if len(node.inputs) != 2 or not is_pointwise(graph, node):
        return None
    with jax.ensure_compile_time_eval():
        operands = [
            jnp.asarray(graph.constants[v] if v in graph.literals else number, graph.avals[v].dtype)
            for v, number in zip(node.inputs, numbers, strict=True)
        ]
        (out,) = bind(node, operands)
        return float(out)


def _are_sums(graph: Graph, v: int, of: int) -> bool:
    origin = Origin(graph, v)
    return origin.pure and bool(origin.summed) and _related(graph, origin.summed, {of})


def meetings(graph: Graph, v: int) -> Iterator[tuple[int, set[int]]]:
    """Where v, or what is elementwise made of it, meets other values: the result, and those."""
    pending, seen = [v], {v}
    while pending:
        u = pending.pop()
        for k in graph.users.get(u, ()):
            node = graph.nodes[k]
            if is_pointwise(graph, node) or _moves(graph, node, u):
                others = {w for w in _floats(graph, node) if w not in seen}
                for out in node.outputs:
                    yield out, others
                    if out not in seen:
                        seen.add(out)
                        pending.append(out)


def _related(graph: Graph, some: Collection[int], others: Collection[int]) -> bool:
    """Whether some value is made of what another is made of, with no product with weights between.

    Both are followed back in turn, since what is looked for is near.
    """
    seen, fronts = [set(some), set(others)], [set(some), set(others)]
    while any(fronts):
        if not seen[0].isdisjoint(seen[1]):
            return True
        fronts = [
            {w for v in front for w in _made_of(graph, v)} - mine
            for front, mine in zip(fronts, seen, strict=True)
        ]
        seen = [mine | front for front, mine in zip(fronts, seen, strict=True)]
    return False


def _made_of(graph: Graph, v: int) -> Collection[int]:
    k = graph.maker.get(v)
    if k is None or not (_passes(graph, graph.nodes[k]) or _sums(graph, graph.nodes[k])):
        return ()
    return _floats(graph, graph.nodes[k])


def _floats(graph: Graph, node: Node) -> set[int]:
    """The node's operands that are floats, and no numbers."""
    return {v for v in node.inputs if is_float(graph, v) and v not in graph.constants}


def _passes(graph: Graph, node: Node) -> bool:
    """Whether the node hands its operands on with no weights: elementwise, moved, laid together."""
    floats = [v for v in node.inputs if is_float(graph, v)]
    product = "dimension_numbers" in node.eqn.params and len(floats) > 1
    return is_pointwise(graph, node) or (node.kind == "plain" and not product)


def _sums(graph: Graph, node: Node) -> bool:
    """Whether the node takes sums or maxima, over axes or (a scatter) by index."""
    return _jaxpr.is_reduction(graph, node) or "update_jaxpr" in node.eqn.params


def _squares(node: Node) -> bool:
    """Whether the node is the product of a value with itself, summed."""
    product = node.kind == "plain" and "dimension_numbers" in node.eqn.params
    return product and len(node.inputs) == 2 and len(set(node.inputs)) == 1


def _moves(graph: Graph, node: Node, v: int) -> bool:
    """Whether the node only moves the elements of v: a transpose, a slice, a choice by index."""
    others = set(node.inputs) - {v} - graph.literals
    return node.kind == "plain" and not any(is_float(graph, u) for u in others)


def size(graph: Graph, v: int) -> int:
    """How many elements the value has."""
    return int(np.prod(getattr(graph.avals[v], "shape", ()), dtype=np.int64))
