"""A traced function as a graph: values are integers, calls are inlined, bodies are kept apart."""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np

from . import _layout
from ._source import user_frame

_TRANSFORMS = re.compile(r"(?:jvp|vmap|transpose|checkpoint|rematted_computation)\(([^()]*)\)")


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One equation, with its operands and results as value numbers of the graph.

    Attributes:
      eqn: JAX's own equation: primitive and parameters.
      inputs: operands.
      outputs: results.
      scope: the named scopes it was traced in, joined by "/".
      kind: what sort of equation it is: see `_layout.kind`.
      caller: the inlined call that it was in, or the equation whose body it is in, if any.
    """

    eqn: jex.JaxprEqn
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scope: str
    kind: _layout.Kind
    caller: "Node | None" = None

    @functools.cached_property
    def bodies(self) -> tuple["Graph", ...]:
        """The graphs of the jaxprs it holds."""
        return tuple(from_jaxpr(body, self.scope, self) for body in _layout.bodies(self.eqn))

    @property
    def name(self) -> str:
        """The primitive's name."""
        return self.eqn.primitive.name

    @functools.cached_property
    def is_transposed(self) -> bool:
        """Whether it is on a gradient's way back."""
        mine = "transpose(" in str(self.eqn.source_info.name_stack)
        return mine or (self.caller is not None and self.caller.is_transposed)

    @functools.cached_property
    def source(self) -> str:
        """Where the user's code made it: "file.py:12 function"."""
        traceback = self.eqn.source_info.traceback
        if self.caller is None:
            return user_frame(traceback)
        return user_frame(traceback, self.caller.eqn.params.get("name")) or self.caller.source


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A jaxpr with calls inlined. Values are numbered in the order in which they are made.

    Attributes:
      inputs: value numbers of the arguments.
      outputs: value numbers of the results.
      nodes: the equations, in the order of the program.
      avals: for every value number, its abstract value (shape and dtype).
      constants: value number → value, for literals and captured arrays.
      literals: those constants that stand in the program's text as numbers.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    nodes: tuple[Node, ...]
    avals: tuple[Any, ...]
    constants: Mapping[int, Any]
    literals: frozenset[int]

    @functools.cached_property
    def maker(self) -> dict[int, int]:
        """Value number → index of the node that makes it."""
        return {v: k for k, node in enumerate(self.nodes) for v in node.outputs}

    @functools.cached_property
    def users(self) -> dict[int, tuple[int, ...]]:
        """Value number → indices of the nodes that use it, each once."""
        users: dict[int, list[int]] = {}
        for k, node in enumerate(self.nodes):
            for v in dict.fromkeys(node.inputs):
                users.setdefault(v, []).append(k)
        return {v: tuple(ks) for v, ks in users.items()}

    @functools.cached_property
    def needed(self) -> frozenset[int]:
        """Indices of the nodes on which the outputs depend."""
        wanted, needed = set(self.outputs), set()
        for k in reversed(range(len(self.nodes))):
            if not wanted.isdisjoint(self.nodes[k].outputs):
                needed.add(k)
                wanted.update(self.nodes[k].inputs)
        return frozenset(needed)


def trace(fn: Callable[..., Any], *args: Any) -> tuple[Graph, Any]:
    """The graph of `fn` at the shapes and dtypes of `args`.

    Returns:
      The graph, whose inputs are the leaves of `args`, and the tree structure of the result.
    """
    leaves, treedef = jax.tree.flatten(args)

    def flat(*leaves):
        return fn(*jax.tree.unflatten(treedef, leaves))

    closed, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
    return from_jaxpr(closed), jax.tree.structure(shapes)


def from_jaxpr(closed: jex.ClosedJaxpr, scope: str = "", holder: Node | None = None) -> Graph:
    """The graph of a jaxpr; calls are inlined, other bodies stay in their nodes.

    Args:
      closed: the jaxpr.
      scope: the named scopes around it.
      holder: the node whose body it is, if any.
    """
    avals: list[Any] = []
    constants: dict[int, Any] = {}
    literals: set[int] = set()
    nodes: list[Node] = []

    def number(aval: Any) -> int:
        avals.append(aval)
        return len(avals) - 1

    def constant(value: Any, aval: Any) -> int:
        v = number(aval)
        constants[v] = value
        return v

    def walk(closed: Any, args: Sequence[int], scope: str, caller: Node | None) -> list[int]:
        jaxpr = closed.jaxpr
        env: dict[Any, int] = dict(zip(jaxpr.invars, args, strict=True))
        for var, value in zip(jaxpr.constvars, closed.consts, strict=True):
            env[var] = constant(value, var.aval)

        def read(atom: Any) -> int:
            if isinstance(atom, jex.Literal):
                v = constant(atom.val, atom.aval)
                literals.add(v)
                return v
            return env[atom]

        for eqn in jaxpr.eqns:
            inputs = tuple(read(atom) for atom in eqn.invars)
            inner = _join(scope, str(eqn.source_info.name_stack))
            kind = _layout.kind(eqn)
            if kind == "call":
                (body,) = _layout.bodies(eqn)
                outputs = walk(body, inputs, inner, Node(eqn, inputs, (), inner, kind, caller))
            elif eqn.primitive.name == "convert_element_type" and literals.issuperset(inputs):
                # A number that was handed to a jitted function is a number still.
                (var,) = eqn.outvars
                outputs = [constant(np.asarray(constants[inputs[0]], var.aval.dtype), var.aval)]
                literals.update(outputs)
            else:
                outputs = [number(var.aval) for var in eqn.outvars]
                nodes.append(Node(eqn, inputs, tuple(outputs), inner, kind, caller))
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    inputs = [number(var.aval) for var in closed.jaxpr.invars]
    outputs = walk(closed, inputs, scope, holder)
    return Graph(
        tuple(inputs),
        tuple(outputs),
        tuple(nodes),
        tuple(avals),
        constants,
        frozenset(literals),
    )


def _join(outer: str, inner: str) -> str:
    """Two scopes as one path, transformations' marks taken off."""
    while (bare := _TRANSFORMS.sub(r"\1", inner)) != inner:
        inner = bare
    return "/".join(part for part in (*outer.split("/"), *inner.split("/")) if part)


def bind(node: Node, operands: Sequence[Any]) -> Sequence[Any]:
    """The node's outputs, by its own primitive."""
    eqn = node.eqn
    out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
    return tuple(out) if eqn.primitive.multiple_results else (out,)


def evaluate(
    graph: Graph,
    args: Sequence[Any],
    run: Callable[[int, Sequence[Any], dict[int, Any]], Sequence[Any] | None] | None = None,
) -> list[Any]:
    """The graph's results at `args`.

    Args:
      graph: what to evaluate.
      args: its arguments, as many as `graph.inputs`.
      run: called for every node as `run(index, operands, values so far)`; what it returns are the
        node's outputs, and None asks for the node's own primitive. A node may be handed operands
        that are None: values which `run` chose not to compute by returning [None].
    """
    values: dict[int, Any] = dict(graph.constants)
    values.update(zip(graph.inputs, args, strict=True))
    for k, node in enumerate(graph.nodes):
        operands = [values[v] for v in node.inputs]
        outputs = run(k, operands, values) if run else None
        if outputs is None:
            outputs = bind(node, operands)
        values.update(zip(node.outputs, outputs, strict=True))
    return [values[v] for v in graph.outputs]
