"""Which weights a site's input is a product with: what an initialiser scales.

A value that is made of parameters alone is a weight; where one meets data in a product (a matrix
product, a convolution, a look-up in an embedding table), what comes out is fed by that weight and
by nothing before it. Elementwise work, sums and reshapes pass on what they are given (a bias or a
gain is no weight here), and behind a site the count begins anew.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jgrad._jaxpr import Graph, Node, is_pointwise, scan_split

from . import _checks
from ._nnx import pure_call
from ._plan import ENTERED, Opaque, Plan, check_options, plan
from ._probe import trace_call


class Weight(NamedTuple):
    """A leaf of the parameters that feeds a site.

    Attributes:
      leaf: its place among `jax.tree.leaves(params)`.
      axes: for each of its leading axes that a scan takes apart, which of the site's steps it
        counts; None for a scan whose steps are summed.
    """

    leaf: int
    axes: tuple[int | None, ...] = ()


def weights(
    fn: Callable[..., Any], *, opaque: Opaque = "allow"
) -> Callable[..., dict[str, tuple[Weight, ...]]]:
    """A function of fn's arguments: for each site's key, the weights that its z is a product with.

    A site of a recurrent step has two, W and U of W h + U x; one behind an elementwise function
    that is no activation, or behind a product with something else than parameters, may have none.

    Args:
      fn: any JAX function; its first argument holds the parameters (a pytree, or a Flax NNX module,
        whose leaves are those of its `nnx.Param`s).
      opaque: as of `sites`.

    Example:
      >>> import jax.numpy as jnp
      >>> def f(params, x):
      ...     return jnp.tanh(jnp.tanh(x @ params["a"] + params["b"]) @ params["c"])
      >>> params = {"a": jnp.ones((3, 2)), "b": jnp.ones(2), "c": jnp.ones((2, 4))}
      >>> [[w.leaf for w in ws] for ws in weights(f)(params, jnp.ones((5, 3))).values()]
      [[0], [2]]
    """
    _checks.function(fn, "what weights are looked for in")
    check_options(opaque=opaque)

    def weights_of_fn(*args: Any) -> dict[str, tuple[Weight, ...]]:
        pure, pure_args = pure_call(fn, args)
        graph, _ = trace_call(pure, pure_args)
        whole, sites, _ = plan(graph, [True] * len(graph.inputs), opaque=opaque)
        made_of = {
            v: _Made(frozenset((Weight(k),)), whole=True)
            for k, v in enumerate(graph.inputs[: len(jax.tree.leaves(pure_args[0]))])
        }
        fed: dict[int, set[Weight]] = {index: set() for index in range(len(sites))}
        _visit(whole, made_of, {}, fed, ())
        return {site.key: tuple(sorted(fed[k], key=str)) for k, site in enumerate(sites)}

    return weights_of_fn


@dataclasses.dataclass(frozen=True)
class _Made:
    """Of which leaves a value is made that is made of parameters alone.

    Attributes:
      leaves: these leaves.
      whole: it is one leaf (or a scan's slice of one), so that its first axis is the leaf's next.
    """

    leaves: frozenset[Weight]
    whole: bool = False


_Fed = frozenset[Weight]
_NOTHING: _Fed = frozenset()


def _visit(
    plan: Plan,
    made: Mapping[int, _Made],
    feeds: Mapping[int, _Fed],
    fed: dict[int, set[Weight]],
    steps: tuple[int | None, ...],
) -> tuple[dict[int, _Made], dict[int, _Fed]]:
    """Walks a graph; enters the weights of its sites in `fed`. What its values are made of, fed by.

    Args:
      plan: of the graph.
      made: for those of its inputs that are made of parameters.
      feeds: for the others, the weights that feed them.
      fed: place of a site → its weights.
      steps: for each scan around, its axis among the steps of the sites inside.
    """
    graph = plan.graph
    made, feeds = dict(made), dict(feeds)
    ends = {found.nodes[-1]: (found, index) for found, index in plan.found}
    for k, node in enumerate(graph.nodes):
        data = [v for v in node.inputs if v not in made and v not in graph.constants]
        own = [made[v] for v in node.inputs if v in made]
        if own and not data:
            leaves = frozenset().union(*(m.leaves for m in own))
            same = all(m.whole for m in own) and len(own) == 1 and is_pointwise(graph, node)
            made.update(dict.fromkeys(node.outputs, _Made(leaves, whole=same)))
        elif node.kind in ENTERED:
            plans = plan.entered.get(k) or [_bare(body) for body in node.bodies]
            results = [_enter(node, inner, k in plan.stepped, made, feeds, fed, steps)
                       for inner in plans]  # fmt: skip
            for v, *parts in zip(node.outputs, *results, strict=True):
                feeds[v] = _NOTHING.union(*parts)
        else:
            # What multiplies and adds says along which dimensions; so does a look-up in a table.
            product = "dimension_numbers" in node.eqn.params or node.bodies
            if product and own and not is_pointwise(graph, node):
                after = _NOTHING.union(*(m.leaves for m in own))
            else:
                after = _NOTHING.union(*(feeds.get(v, _NOTHING) for v in data))
            feeds.update(dict.fromkeys(node.outputs, after))
        if k in ends:
            found, index = ends[k]
            fed[index] |= feeds.get(found.start, _NOTHING)
            feeds[found.end] = _NOTHING
    return made, feeds


def _bare(body: Graph) -> Plan:
    return Plan(body, (), {}, frozenset(), frozenset())


def _enter(
    node: Node,
    inner: Plan,
    stepped: bool,
    made: Mapping[int, _Made],
    feeds: Mapping[int, _Fed],
    fed: dict[int, set[Weight]],
    steps: tuple[int | None, ...],
) -> list[_Fed]:
    """What feeds a node's results, by way of one of its bodies."""
    operands = node.inputs[1:] if node.kind == "cond" else node.inputs
    pairs = list(zip(inner.graph.inputs, operands, strict=True))
    consts, carries = scan_split(node.eqn) if node.kind == "scan" else (len(pairs), 0)
    own = {i: made[v] for i, v in pairs[:consts] if v in made}
    given = {i: feeds.get(v, _NOTHING) for i, v in pairs}
    if node.kind == "scan":
        axis = len([step for step in steps if step is not None]) if stepped else None
        steps = (*steps, axis)
        for i, v in pairs[consts + carries :]:
            if v in made and made[v].whole:
                (weight,) = made[v].leaves
                taken = Weight(weight.leaf, (*weight.axes, axis))
                own[i] = _Made(frozenset((taken,)), whole=True)
    carried = inner.graph.inputs[consts : consts + carries]
    while True:
        found_made, found = _visit(inner, own, given, fed, steps)
        # A body may hand on a weight as it is: to what is outside it is data that feeds itself.
        results = [
            found_made[v].leaves if v in found_made else found.get(v, _NOTHING)
            for v in inner.graph.outputs
        ]
        grown = {i: given[i] | r for i, r in zip(carried, results, strict=False)}
        if _all_in(grown, given):
            return results
        given |= grown


def _all_in(some: Mapping[int, _Fed], others: Mapping[int, _Fed]) -> bool:
    return all(fed <= others[i] for i, fed in some.items())
