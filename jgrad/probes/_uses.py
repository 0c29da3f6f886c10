"""What becomes of a value: sums, products with matrices, a return to its own shape."""

import jax.numpy as jnp
import numpy as np

from jgrad._jaxpr import Graph, Node, is_broadcast, is_pointwise, is_reduction


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
                out = node.outputs[0]
                pointwise = is_pointwise(graph, node) or is_broadcast(graph, node)
                if is_reduction(graph, node):
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
                goes_on = is_pointwise(graph, node) or is_reduction(graph, node)
                if not (goes_on or is_broadcast(graph, node) or _moves(graph, node, u)):
                    self.leads_on = self.leads_on or any(size(graph, v) > 1 for v in node.outputs)
                    continue
                for out in node.outputs:
                    if size(graph, out) >= full > 1:
                        self.comes_back = True
                    elif out not in seen:
                        seen.add(out)
                        pending.append(out)


def _moves(graph: Graph, node: Node, v: int) -> bool:
    """Whether the node only moves the elements of v: a transpose, a slice, a choice by index."""
    others = set(node.inputs) - {v} - graph.literals
    return node.kind == "plain" and not any(is_float(graph, u) for u in others)


def size(graph: Graph, v: int) -> int:
    """How many elements the value has."""
    return int(np.prod(getattr(graph.avals[v], "shape", ()), dtype=np.int64))


def is_float(graph: Graph, v: int) -> bool:
    """Whether the value holds floating-point numbers."""
    return jnp.issubdtype(graph.avals[v].dtype, jnp.floating)
