"""Which equations work elementwise, found by what they do and not by their names."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ._graph import Graph, Node


def is_broadcast(graph: Graph, node: Node) -> bool:
    """Whether the node repeats a smaller array, as a bias is repeated over a batch.

    Where the batch has one example nothing is repeated: then it is one that gives an argument or
    a constant of the graph another axis, as a bias is one, and the sum over an axis is not.
    """
    if len(node.inputs) != 1 or "broadcast_dimensions" not in node.eqn.params:
        return False
    (operand,), (result,) = node.inputs, node.outputs
    if graph.avals[operand].size < graph.avals[result].size:
        return True
    return operand not in graph.maker


def is_elementwise(graph: Graph, node: Node) -> bool:
    """Whether every element of the node's one result depends on the same element of its operands.

    At least one operand is of the result's shape; others may be smaller where they broadcast.
    """
    if len(node.outputs) != 1:  # none: a print
        return False
    shapes = [getattr(graph.avals[v], "shape", None) for v in (*node.outputs, *node.inputs)]
    return shapes[0] in shapes[1:] and is_pointwise(graph, node)


def is_pointwise(graph: Graph, node: Node) -> bool:
    """Like `is_elementwise`, where all operands may be smaller: a column times a row is pointwise.

    A primitive is pointwise if its parameters suit scalars as well: a cumulative sum's axis, a
    product's contracted dimension, a reshape's new shape do not.
    """
    if len(node.outputs) != 1:
        return False
    (result,) = node.outputs
    shape = getattr(graph.avals[result], "shape", None)
    if shape is None:
        return False
    operands = [graph.avals[v] for v in node.inputs]
    if not operands or not all(_broadcasts(getattr(a, "shape", None), shape) for a in operands):
        return False
    if node.kind in ("custom_jvp", "custom_vjp"):
        return _body_is_elementwise(node)
    return node.kind == "plain" and _suits_scalars(node, tuple(aval.dtype for aval in operands))


def is_float(graph: Graph, v: int) -> bool:
    """Whether the value holds floating-point numbers."""
    return _is_of(graph, v, jnp.floating)


def is_inexact(graph: Graph, v: int) -> bool:
    """Whether a gradient can come to the value: it holds real or complex numbers."""
    return _is_of(graph, v, jnp.inexact)


def _is_of(graph: Graph, v: int, kind: Any) -> bool:
    dtype = getattr(graph.avals[v], "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, kind)


def is_reduction(graph: Graph, node: Node) -> bool:
    """Whether the node reduces its one operand over axes: a sum or a maximum, and not a slice.

    A slice and a pooling leave fewer elements too, but keep the axes or take none in whole.
    """
    if node.kind != "plain" or len(node.inputs) != 1 or "axes" not in node.eqn.params:
        return False
    (operand,), (result,) = node.inputs, node.outputs
    return len(graph.avals[result].shape) < len(graph.avals[operand].shape)


def _broadcasts(small: Any, shape: tuple[int, ...]) -> bool:
    if small == () or small == shape:
        return True
    return (
        small is not None
        and len(small) == len(shape)
        and all(a in (1, b) for a, b in zip(small, shape, strict=True))
    )


def _body_is_elementwise(node: Node) -> bool:
    (body,) = node.bodies
    return all(is_elementwise(body, inner) or is_broadcast(body, inner) for inner in body.nodes)


def _suits_scalars(node: Node, dtypes: tuple[Any, ...]) -> bool:
    params = node.eqn.params
    key = tuple(sorted((name, repr(value)) for name, value in params.items()))
    return _suits(_Call(node, key), dtypes)


class _Call:
    """A primitive with its parameters, hashable by their text."""

    def __init__(self, node: Node, key: tuple[tuple[str, str], ...]):
        self.primitive = node.eqn.primitive
        self.params = node.eqn.params
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Call) and (self.primitive, self.key) == (
            other.primitive,
            other.key,
        )

    def __hash__(self) -> int:
        return hash((self.primitive, self.key))


@functools.lru_cache(maxsize=4096)
def _suits(call: _Call, dtypes: tuple[Any, ...]) -> bool:
    if call.primitive.multiple_results:  # such as a sort, which suits scalars too
        return False
    scalars = [jax.ShapeDtypeStruct((), dtype) for dtype in dtypes]
    bind = call.primitive.bind
    try:
        out = jax.eval_shape(lambda *args: bind(*args, **call.params), *scalars)
    except Exception:  # Each primitive has its own way to refuse a shape.
        return False
    return out.shape == ()
