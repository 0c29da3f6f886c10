"""A part of a graph as a scalar function, evaluated on the host."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._graph import Graph, Node, bind


def sample(
    graph: Graph, nodes: Sequence[int], start: int, end: int, params: Mapping[int, float], at: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the value `end` as a function of the value `start`.

    The arithmetic is float32 whatever the program's, since a name is looked for, and not the
    rounding of a format. The slope is that of the values: a custom derivative does not count.

    Args:
      graph: the graph.
      nodes: indices of the nodes between the two values, which must be elementwise.
      start: value number of the argument.
      end: value number of the result.
      params: numbers for every other value that the nodes use and do not make.
      at: where to evaluate, shape [n].

    Returns:
      Values and slopes, each of shape [n], float32; not a number where undefined.
    """

    def scalar_function(x: jax.Array) -> jax.Array:
        values: dict[int, Any] = {v: _number(graph, v, number) for v, number in params.items()}
        values[start] = x
        for k in nodes:
            node = graph.nodes[k]
            for v in node.inputs:
                if v not in values:
                    values[v] = _number(graph, v, graph.constants[v])
            values.update(zip(node.outputs, _apply(node, values), strict=True))
        # What does not depend on x is one number.
        return jnp.broadcast_to(values[end].astype(jnp.float32), x.shape)

    # Of several processes each has its own host; another's cannot be computed on.
    host = jax.local_devices(backend="cpu")[0]
    with jax.ensure_compile_time_eval(), jax.default_device(host):
        x = jnp.asarray(at, jnp.float32)
        values, slopes = jax.jvp(scalar_function, (x,), (jnp.ones_like(x),))
        return np.asarray(values), np.asarray(slopes)


def _number(graph: Graph, v: int, number: Any) -> Any:
    dtype = graph.avals[v].dtype
    wide = jnp.float32 if jnp.issubdtype(dtype, jnp.floating) else dtype
    return jnp.asarray(number).astype(wide)


def _apply(node: Node, values: Mapping[int, Any]) -> Sequence[Any]:
    operands = [values[v] for v in node.inputs]
    params = node.eqn.params
    if node.kind in ("custom_jvp", "custom_vjp"):
        (body,) = node.bodies
        return _body(body, operands)
    if node.name == "convert_element_type" and jnp.issubdtype(params["new_dtype"], jnp.floating):
        return [operands[0].astype(jnp.float32)]
    if "broadcast_dimensions" in params:
        return operands
    shape = jnp.broadcast_shapes(*(jnp.shape(x) for x in operands))
    return bind(node, [jnp.broadcast_to(x, shape) for x in operands])


def _body(graph: Graph, operands: Sequence[Any]) -> list[Any]:
    values: dict[int, Any] = {
        v: _number(graph, v, constant) for v, constant in graph.constants.items()
    }
    values.update(zip(graph.inputs, operands, strict=True))
    for node in graph.nodes:
        values.update(zip(node.outputs, _apply(node, values), strict=True))
    return [values[v] for v in graph.outputs]
