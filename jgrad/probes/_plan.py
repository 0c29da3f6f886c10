"""What is done at each node of a traced function: which are sites, which bodies are entered."""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import jax.numpy as jnp

from jgrad._jaxpr import Graph, Node, depends, is_inexact, scan_split, selected, tap_name

from . import _checks
from ._sites import Found, Role, Site, find

#: What to do with an activation inside something that cannot be entered.
Opaque = Literal["raise", "allow"]

#: Bodies that `_jaxpr.rebuild` can run again with something else in them.
ENTERED = ("scan", "cond", "remat", "shard_map", "placed")


#: A scan's steps: each with sums of its own, or summed.
Steps = Literal["each", "sum"]

#: What the caller knows better of a site: `amend(site)` is the site as it shall be taken.
Amend = Callable[[Site], Site]

# With more steps than this, they are summed: a sink for each would outweigh the model.
_MOST_STEPS = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A graph with its sites, and the plans of the bodies that are entered.

    Attributes:
      graph: the graph.
      found: the sites in it that are probed, and their place in the tuple of all sites.
      entered: node index → plans of its bodies, for bodies with sites in them.
      stepped: the scans among these whose steps have sums of their own.
      unused: indices of nodes that the sites stand for and nothing else needs.
    """

    graph: Graph
    found: tuple[tuple[Found, int], ...]
    entered: Mapping[int, tuple["Plan", ...]]
    stepped: frozenset[int]
    unused: frozenset[int]

    def indices(self) -> Iterator[int]:
        """Places of all the sites in it and in its bodies."""
        for _, index in self.found:
            yield index
        for plans in self.entered.values():
            for plan in plans:
                yield from plan.indices()


def plan(
    graph: Graph,
    active: Sequence[bool],
    *,
    steps: Steps = "each",
    opaque: Opaque = "raise",
    amend: Amend | None = None,
) -> tuple[Plan, tuple[Site, ...], tuple[Site, ...]]:
    """The plan of a graph, the activations in it, and all its sites of whatever role.

    Args:
      graph: the traced function.
      active: for each of its inputs, whether gradients with respect to it are wanted.
      steps: "each" or "sum", for the steps of scans.
      opaque: "raise" or "allow", for activations where the walk cannot go.
      amend: gives each site, as it was found, the role and the unit axis that the caller wants.

    Raises:
      ValueError: an activation sits where the walk cannot go; names the primitive.
    """
    walk = _Walk(steps, opaque, amend or (lambda site: site))
    live = {v for v, is_active in zip(graph.inputs, active, strict=True) if is_active}
    whole, _ = walk.visit(graph, _Known(_flowing(graph, live), {}, frozenset()), _Place())
    return whole, tuple(walk.sites()), tuple(walk.seen)


def check_options(*, opaque: object, steps: object = "each", amend: object | None = None) -> None:
    """Nothing, if `plan` can take them."""
    _checks.one_of("steps", steps, get_args(Steps))
    _checks.one_of("opaque", opaque, get_args(Opaque))
    if amend is not None:
        _checks.function(amend, "amend")


@dataclasses.dataclass
class _Known:
    """What is known of a graph's values: of its inputs, then of all that the walk has passed.

    Attributes:
      live: those that depend on what is differentiated.
      nearest: for each, the places of the last sites before it.
      selected: those computed in a branch that a vmap turned into a select.
    """

    live: set[int]
    nearest: dict[int, frozenset[int]]
    selected: frozenset[int]

    def of(self, body: Graph, operands: Sequence[int]) -> "_Known":
        """What is known of the inputs of a body that is called with these values."""
        pairs = list(zip(body.inputs, operands, strict=True))
        return _Known(
            {inner for inner, v in pairs if v in self.live},
            {inner: self.nearest.get(v, _NOWHERE) for inner, v in pairs},
            frozenset(inner for inner, v in pairs if v in self.selected),
        )


@dataclasses.dataclass(frozen=True)
class _Place:
    """The scans that a graph stands in: see Site."""

    steps: tuple[int, ...] = ()
    loops: tuple[int, ...] = ()
    reverse: tuple[bool, ...] = ()


class _Walk:
    """The state of one walk: the sites met so far and the names given to them."""

    def __init__(self, steps: Steps, opaque: Opaque, amend: Amend):
        self.steps: Steps = steps
        self.opaque: Opaque = opaque
        self.amend = amend
        self.kept: list[Site] = []
        self.parents: list[set[int]] = []
        self.seen: list[Site] = []
        self.names: collections.Counter[str] = collections.Counter()
        self.lost: set[str] = set()  # names of activations in what was passed over
        self.loops = 0

    def sites(self) -> Iterator[Site]:
        """The activations, each with its parents."""
        for site, parents in zip(self.kept, self.parents, strict=True):
            yield dataclasses.replace(site, parents=tuple(sorted(parents)))

    def visit(
        self, graph: Graph, inputs: _Known, place: _Place
    ) -> tuple[Plan, dict[int, frozenset[int]]]:
        """The plan of a graph, and for every value the last sites before it."""
        live, nearest = set(inputs.live), dict(inputs.nearest)
        known = _Known(live, nearest, selected(graph, inputs.selected))
        taken: list[tuple[Found, int]] = []
        entered: dict[int, tuple[Plan, ...]] = {}
        stepped: set[int] = set()
        found = find(graph)
        ends = collections.defaultdict(list)
        for one in found:
            ends[one.nodes[-1]].append(one)
        inside = {k for one in found for k in one.nodes}
        for k, node in enumerate(graph.nodes):
            if any(v in live for v in node.inputs):
                live.update(_flowing(graph, node.outputs))
            before = frozenset().union(*(nearest.get(v, _NOWHERE) for v in node.inputs))
            nearest.update(dict.fromkeys(node.outputs, before))
            for one in ends.get(k, ()):
                index = self.meet(graph, one, place, known)
                if index is not None:
                    taken.append((one, index))
                    self.parents[index] |= nearest.get(one.start, _NOWHERE)
                    nearest[one.end] = frozenset((index,))
            if node.kind in ENTERED:
                plans, after, is_stepped = self.enter(node, known, place)
                nearest.update(zip(node.outputs, after, strict=True))
                if any(True for inner in plans for _ in inner.indices()):
                    entered[k] = plans
                    stepped |= {k} if is_stepped else set()
            elif node.kind != "plain" and k not in inside and k in graph.needed:
                self.pass_over(node, place, any(v in live for v in node.inputs))
        unused = _unused(graph, [one for one, _ in taken])
        return Plan(graph, tuple(taken), entered, frozenset(stepped), unused), nearest

    def meet(self, graph: Graph, found: Found, place: _Place, known: _Known) -> int | None:
        """Enters a site into the lists; its place among the activations, if it is one."""
        node = graph.nodes[found.nodes[-1]]
        path = tap_name(node) or node.scope or node.source or found.activation
        self.names[path] += 1
        uses = self.names[path]
        site = Site(
            key=path if uses == 1 else f"{path}#{uses}",
            path=path,
            source=node.source,
            activation=found.activation,
            shape=tuple(graph.avals[found.end].shape),
            dtype=str(jnp.dtype(graph.avals[found.start].dtype)),
            role=found.role,
            steps=place.steps,
            loops=place.loops,
            reverse=place.reverse,
            select=found.start in known.selected,
            traced=bool(found.params),
        )
        site = _amended(site, self.amend)
        if site.role == "activation" and found.start not in known.live:
            site = dataclasses.replace(site, role="constant")
        self.seen.append(site)
        if site.role != "activation":
            return None
        self.kept.append(site)
        self.parents.append(set())
        return len(self.kept) - 1

    def enter(
        self, node: Node, known: _Known, place: _Place
    ) -> tuple[tuple[Plan, ...], list[frozenset[int]], bool]:
        """The plans of a node's bodies, the last sites before each of its results, if stepped."""
        if node.kind == "scan":
            return self.enter_scan(node, known, place)
        operands = node.inputs[1:] if node.kind == "cond" else node.inputs
        plans, after = [], [_NOWHERE] * len(node.outputs)
        for body in node.bodies:
            inner, found = self.visit(body, known.of(body, operands), place)
            plans.append(inner)
            results = [found.get(v, _NOWHERE) for v in body.outputs]
            after = [a | b for a, b in zip(after, results, strict=True)]
        return tuple(plans), after, False

    def enter_scan(
        self, node: Node, known: _Known, place: _Place
    ) -> tuple[tuple[Plan, ...], list[frozenset[int]], bool]:
        (body,) = node.bodies
        consts, carries = scan_split(node.eqn)
        carried = body.inputs[consts : consts + carries]
        inputs = known.of(body, node.inputs)
        inputs.live = _scan_live(body, inputs.live, carried)
        length = node.eqn.params["length"]
        is_stepped = self.steps == "each" and math.prod((*place.steps, length)) <= _MOST_STEPS
        if is_stepped:
            self.loops += 1
            place = _Place(
                (*place.steps, length),
                (*place.loops, self.loops),
                (*place.reverse, node.eqn.params["reverse"]),
            )
        first = len(self.kept)
        inner, found = self.visit(body, inputs, place)
        # From the second step on, what is carried comes from the sites of the step before.
        around = [found.get(v, _NOWHERE) for v in body.outputs[:carries]]
        for index in range(first, len(self.kept)):
            for v, came in zip(carried, around, strict=True):
                if inputs.nearest[v] <= self.parents[index] and self._reached(inner, v, index):
                    self.parents[index] |= came
        after = [found.get(v, _NOWHERE) for v in body.outputs]
        return (inner,), after, is_stepped

    @staticmethod
    def _reached(inner: Plan, v: int, index: int) -> bool:
        """Whether the value v, an input, reaches the site with no other site between."""
        for found, place in inner.found:
            if place == index:
                ends = {other.end for other, _ in inner.found if other is not found}
                return depends(inner.graph, found.start, v, without=ends)
        return False

    def pass_over(self, node: Node, place: _Place, is_live: bool) -> None:
        """Lists what is inside a node that cannot be entered.

        A while loop has no backward pass, so nothing is lost by running it as it is. A custom
        derivative or an unknown primitive with a named activation inside, however deep, is refused
        if a gradient comes to it, unless the caller said that it may be passed over.
        """
        inside = _Walk(self.steps, "allow", self.amend)
        inside.names = self.names
        for body in node.bodies:
            inside.visit(body, _Known(set(body.inputs), {}, frozenset()), place)
        named = inside.lost | {site.activation for site in inside.kept} - {"custom"}
        self.lost |= named
        if named and is_live and node.kind != "while" and self.opaque == "raise":
            msg = (
                f"{node.name} ({node.source or 'at an unknown line'}) holds "
                f"{', '.join(sorted(named))} where the probe cannot go, since its derivative "
                "is its own; opaque='allow' runs it as it is and lists these as passed over"
            )
            raise ValueError(msg)
        self.seen += [dataclasses.replace(site, role="passed over") for site in inside.seen]


_NOWHERE: frozenset[int] = frozenset()


def _amended(site: Site, amend: Amend) -> Site:
    """The site with the role and the unit axis that the caller gives it."""
    said = amend(site)
    if not isinstance(said, Site):
        msg = f"amend must return the Site it was given, or a copy with changes; got {said!r}"
        raise TypeError(msg)
    _checks.one_of("role", said.role, get_args(Role))
    axis, axes = said.unit_axis, max(len(site.shape), 1)
    if not -axes <= axis < axes:
        msg = f"unit_axis={axis} for the site {site.key!r} of shape {list(site.shape)}"
        raise ValueError(msg)
    return dataclasses.replace(site, role=said.role, unit_axis=axis if axis < 0 else axis - axes)


def _flowing(graph: Graph, values: Iterable[int]) -> set[int]:
    """Those of the values through which a gradient can come: no integers, no random keys."""
    return {v for v in values if is_inexact(graph, v)}


def _scan_live(body: Graph, live: set[int], carried: Sequence[int]) -> set[int]:
    """Which inputs of a scan's body depend on what is differentiated, once carried round."""
    while True:
        inside = set(live)
        for node in body.nodes:
            if any(v in inside for v in node.inputs):
                inside.update(_flowing(body, node.outputs))
        again = {v for v, out in zip(carried, body.outputs, strict=False) if out in inside}
        if again <= live:
            return live
        live = live | again


def _unused(graph: Graph, taken: Sequence[Found]) -> frozenset[int]:
    """Nodes inside the sites whose results nothing outside of their site uses."""
    unused: set[int] = set()
    outputs = set(graph.outputs)
    for found in taken:
        mine = set(found.nodes)
        for k in reversed(found.nodes):
            (v,) = graph.nodes[k].outputs
            users = graph.users.get(v, ())
            needed = v in outputs or any(u not in mine or u not in unused for u in users)
            if v == found.end or not needed:
                unused.add(k)
    return frozenset(unused)
