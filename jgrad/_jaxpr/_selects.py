"""Branches that a vmap has turned into a select, so that all of them run for every example.

A cond whose index differs between the examples of a vmap becomes: for each branch k a mask
`index == k`, every operand x of the branch replaced by `select(mask, stop_gradient(x), x)`, the
branch itself, and in the end one `select_n(index, outputs of the branches)`. The first of these is
like nothing that people write, and tells where a branch begins; the last tells where it ends.
"""

from collections.abc import Collection

from ._elementwise import is_broadcast
from ._graph import Graph, Node

#: The index of the outer branch, for a graph that is itself in one.
_OUTER = -1


def selected(graph: Graph, inputs: Collection[int] = ()) -> frozenset[int]:
    """The values computed in such branches.

    Args:
      graph: the graph; its bodies are not looked into.
      inputs: those of its inputs that are computed in such a branch themselves.
    """
    inside: dict[int, frozenset[int]] = dict.fromkeys(inputs, frozenset({_OUTER}))
    for node in graph.nodes:
        indices = frozenset().union(*(inside.get(v, frozenset()) for v in node.inputs))
        if len(node.inputs) > 2 and len(node.outputs) == 1:
            indices -= {_index(graph, node.inputs[0])}  # a select that joins branches
        index = _begins(graph, node)
        if index is not None:
            indices |= {index}
        if indices:
            inside.update(dict.fromkeys(node.outputs, indices))
    return frozenset(inside)


def _begins(graph: Graph, node: Node) -> int | None:
    """The index that chooses the branch, if the node is an operand masked for one."""
    if len(node.inputs) != 3 or len(node.outputs) != 1:
        return None
    which, stopped, x = node.inputs
    maker = graph.maker.get(stopped)
    if maker is None or graph.nodes[maker].inputs != (x,):
        return None
    if graph.avals[stopped] != graph.avals[x] or "stop_gradient" not in graph.nodes[maker].name:
        return None
    mask = graph.maker.get(_index(graph, which))
    if mask is None or len(graph.nodes[mask].inputs) != 2:
        return None
    return _index(graph, graph.nodes[mask].inputs[0])


def _index(graph: Graph, v: int) -> int:
    """The value that v repeats over more axes; v itself if it repeats none."""
    while v in graph.maker and is_broadcast(graph, graph.nodes[graph.maker[v]]):
        (v,) = graph.nodes[graph.maker[v]].inputs
    return v
