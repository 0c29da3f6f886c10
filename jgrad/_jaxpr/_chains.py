"""The elementwise parts of a graph, as chains of scalar functions.

A region is a maximal elementwise part of a graph that depends on one value of its full shape, the
root; what broadcasts against it (a bias, a scale) comes along as parameters, as long as it does
not itself depend on the root. Within a region, the values that everything on the way from the
root to the outside passes through are its links. Root and links form a chain

    z = v₀ → v₁ → ... → v_k

in which every step is a scalar function of the one before: `0.5 x (1 + tanh(c(x + 0.044715 x³)))`
is one step, `sigmoid(2 gelu(x))` two or three. Where several links are used outside, the chain
ends at the first of them and another one starts there.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from ._elementwise import is_broadcast, is_elementwise, is_float
from ._graph import Graph
from ._tap import tap_name

#: Which nodes use a value; the graph's own results are used by node -1.
Consumers = dict[int, tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Chain:
    """A sequence of scalar functions.

    Attributes:
      links: value numbers, the root first; every later one is a function of the one before.
      nodes: indices of the nodes between the first link and the last, in program order.
    """

    links: tuple[int, ...]
    nodes: tuple[int, ...]


def chains(graph: Graph) -> tuple[Chain, ...]:
    """All chains of a graph, in program order; its bodies are not looked into."""
    consumers = _consumers(graph)
    found = []
    for root, members in _regions(graph).items():
        found += _split(graph, root, members, consumers)
    return tuple(sorted(found, key=lambda chain: chain.nodes[-1]))


def _consumers(graph: Graph) -> Consumers:
    consumers = dict(graph.users)
    for v in graph.outputs:
        consumers[v] = (*consumers.get(v, ()), -1)
    return consumers


def _regions(graph: Graph) -> dict[int, list[int]]:
    """Root → indices of the nodes whose results are elementwise functions of it."""
    root: dict[int, int] = {}
    spread: set[int] = set(graph.literals)  # values that only repeat smaller ones
    regions: dict[int, list[int]] = {}
    for k, node in enumerate(graph.nodes):
        if is_broadcast(graph, node):
            spread.update(node.outputs)
            continue
        if tap_name(node) or not is_elementwise(graph, node):
            continue
        (result,) = node.outputs
        shape = graph.avals[result].shape
        full = [v for v in node.inputs if graph.avals[v].shape == shape and v not in spread]
        if not full:
            spread.add(result)
            continue
        roots = {root.get(v, v) for v in full}
        z = roots.pop()
        if roots or not is_float(graph, z):
            continue
        if any(depends(graph, v, z) for v in node.inputs if v not in full):
            continue
        root[result] = z
        regions.setdefault(z, []).append(k)
    return regions


def depends(graph: Graph, v: int, on: int, without: Iterable[int] = ()) -> bool:
    """Whether the value `v` is computed from the value `on`, other than through those `without`."""
    pending, seen = [v], set(without)
    while pending:
        v = pending.pop()
        if v == on:
            return True
        # Values are numbered as they are made: an earlier one cannot depend on a later.
        if v in seen or v < on or v not in graph.maker:
            continue
        seen.add(v)
        pending += graph.nodes[graph.maker[v]].inputs
    return False


def cone(graph: Graph, start: int, end: int, among: Iterable[int]) -> tuple[int, ...]:
    """The nodes among those given that lie between the values `start` and `end`."""
    among = set(among)
    pending, inside = [end], set()
    while pending:
        v = pending.pop()
        k = graph.maker.get(v)
        if v == start or k is None or k not in among or k in inside:
            continue
        inside.add(k)
        pending += graph.nodes[k].inputs
    return tuple(sorted(inside))


def _split(graph: Graph, root: int, members: Sequence[int], consumers: Consumers) -> list[Chain]:
    """The chains of one region; none for its parts that nothing outside uses."""
    members = _alive(graph, members, consumers)
    parts = []
    for part in _components(graph, members):
        links, rest = _links(graph, root, part, consumers)
        if len(links) > 1:
            parts.append(Chain(tuple(links), cone(graph, root, links[-1], part)))
            if rest:
                parts += _split(graph, links[-1], rest, consumers)
        else:  # several results and no value that all pass through: one chain each
            inside = set(part)
            for k in part:
                (v,) = graph.nodes[k].outputs
                if any(user not in inside for user in consumers.get(v, ())):
                    parts.append(Chain((root, v), cone(graph, root, v, part)))
    return parts


def _alive(graph: Graph, members: Sequence[int], consumers: Consumers) -> list[int]:
    """Those members on which something outside depends."""
    inside, alive = set(members), set()
    for k in reversed(members):
        users = [u for v in graph.nodes[k].outputs for u in consumers.get(v, ())]
        if any(u not in inside or u in alive for u in users):
            alive.add(k)
    return [k for k in members if k in alive]


def _components(graph: Graph, members: Sequence[int]) -> list[list[int]]:
    """The members, those apart that share no value but the root."""
    group: dict[int, list[int]] = {}  # value made inside → its component
    components: list[list[int]] = []
    for k in members:
        node = graph.nodes[k]
        merged = [k]
        for other in {id(group[v]): group[v] for v in node.inputs if v in group}.values():
            merged = other + merged
            components.remove(other)
        components.append(merged)
        for member in merged:
            for v in graph.nodes[member].outputs:
                group[v] = merged
    return [sorted(component) for component in components]


def _links(
    graph: Graph, root: int, members: Sequence[int], consumers: Consumers
) -> tuple[list[int], list[int]]:
    """The root and the links after it, up to the first that is used outside; what comes after.

    Where two parts that share nothing follow on the last link, both come after.
    """
    inside = set(members)
    last_use: dict[int, float] = {}
    for k in members:
        (v,) = graph.nodes[k].outputs
        users = consumers.get(v, ())
        outside = any(user not in inside for user in users)
        last_use[v] = float("inf") if outside else max(users)
    uses_root = [k for k in members if root in graph.nodes[k].inputs]
    last_use[root] = max(uses_root, default=-1)
    links, live, rest = [root], {root}, list(members)
    for position, k in enumerate(members):
        (v,) = graph.nodes[k].outputs
        live = {u for u in live if last_use[u] > k} | {v}
        if live == {v}:
            links.append(v)
            rest = list(members[position + 1 :])
            if last_use[v] == float("inf"):
                break
    return links, rest
