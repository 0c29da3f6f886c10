"""The narrowest place in a traced function that everything from input to output passes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jgrad._jaxpr import Graph, bind, trace
from jgrad._types import PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """f = after ∘ before, through as few numbers as can be.

    Attributes:
      graph: f, traced on one example.
      tree: the structure of f's output.
      place: how many of the graph's nodes belong to `before`.
      passing: the values that pass, have a derivative and depend on the input.
      others: whatever else `after` reads.
    """

    graph: Graph
    tree: Any
    place: int
    passing: tuple[int, ...]
    others: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers pass."""
        return _count(self.graph, self.passing)

    def before(self, x: PyTree) -> tuple[list[jax.Array], list[jax.Array]]:
        """(what passes, what else is needed) at one example x."""
        values = {**self.graph.constants}
        values.update(zip(self.graph.inputs, jax.tree.leaves(x), strict=True))
        self._replay(values, 0, self.place)
        return [values[v] for v in self.passing], [values[v] for v in self.others]

    def after(self, passed: list[jax.Array], others: list[jax.Array]) -> PyTree:
        """f(x), from the two results of `before(x)`."""
        values = {**self.graph.constants}
        values.update(zip((*self.passing, *self.others), (*passed, *others), strict=True))
        self._replay(values, self.place, len(self.graph.nodes))
        return jax.tree.unflatten(self.tree, [values[v] for v in self.graph.outputs])

    def _replay(self, values: dict[int, Any], start: int, stop: int) -> None:
        for node in self.graph.nodes[start:stop]:
            outputs = bind(node, [values[v] for v in node.inputs])
            values.update(zip(node.outputs, outputs, strict=True))


def narrowest_cut(f: Callable[[PyTree], PyTree], example: PyTree) -> Cut | None:
    """The cut of f with the fewest numbers, or None where there is no place to cut."""
    graph, tree = trace(f, example)
    active = _active(graph)
    living = _living(graph)
    places = [k for k in range(1, len(graph.nodes)) if not living[k].isdisjoint(active)]
    if not places:
        return None

    def passing(place: int) -> tuple[int, ...]:
        return tuple(sorted(v for v in living[place] & active if _has_derivative(graph, v)))

    place = min(places, key=lambda k: _count(graph, passing(k)))
    main = passing(place)
    return Cut(graph, tree, place, main, tuple(sorted(living[place] - set(main))))


def _active(graph: Graph) -> set[int]:
    """The values that depend on an input."""
    active = set(graph.inputs)
    for node in graph.nodes:
        if not active.isdisjoint(node.inputs):
            active.update(node.outputs)
    return active


def _living(graph: Graph) -> list[set[int]]:
    """For every place between two nodes, the values made before it and read at or after it."""
    living = [set(graph.outputs) - set(graph.constants)]
    for node in reversed(graph.nodes):
        living.append((living[-1] - set(node.outputs)) | (set(node.inputs) - set(graph.constants)))
    return living[::-1]


def _has_derivative(graph: Graph, value: int) -> bool:
    return jnp.issubdtype(graph.avals[value].dtype, jnp.floating)


def _count(graph: Graph, values: tuple[int, ...]) -> int:
    return sum(math.prod(graph.avals[v].shape) for v in values)
