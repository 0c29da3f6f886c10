"""What kind of Jacobian a function has, and the cheapest exact way to it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax

from jgrad._jaxpr import Graph, trace
from jgrad._types import PyTree

from ._cut import Cut, narrowest_cut
from ._dependence import dependence
from ._inputs import as_arrays, as_structs, batch_axis, count, one_example, output_of
from ._spread import Part

Kind = Literal["zero", "elementwise", "block-diagonal", "banded", "bottleneck", "dense"]


@dataclasses.dataclass(frozen=True)
class Structure:
    """What `jacobian(f, mode="auto")` found and will do.

    Attributes:
      kind: "zero" (no output depends on x), "elementwise" (out[p] depends on in[p] alone),
        "block-diagonal" (some axes of in and out go together, the others are mixed), "banded"
        (positions depend on their neighbourhood), "bottleneck" (all passes a narrow middle) or
        "dense".
      mode: "fwd" (Jacobian-vector products) or "rev" (vector-Jacobian products); for a bottleneck
        both, "rev" before and "fwd" after it.
      products: how many such products each example takes.
      plain: how many it takes without structure, min(inputs, outputs).
      cut: the numbers that pass the bottleneck, or None where it is not used.
    """

    kind: Kind
    mode: Literal["fwd", "rev"]
    products: int
    plain: int
    cut: int | None = None


class Band(NamedTuple):
    """Entries are zero but for low ≤ j - i ≤ high, i along a part of rows, j of columns."""

    row: int
    column: int
    low: int
    high: int


class Pattern(NamedTuple):
    """Where ∂out/∂in may be nonzero: the parts that out's and in's axes fall into, and bands."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    bands: tuple[Band, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to compute a Jacobian: the patterns by output and input leaf (None: all zero)."""

    mode: Literal["fwd", "rev"]
    patterns: tuple[tuple[Pattern | None, ...], ...]
    colours: tuple[tuple[int, ...], ...]
    cut: Cut | None = None

    @property
    def products(self) -> int:
        """Products with the Jacobian per example."""
        return sum(math.prod(c) for c in self.colours)

    def row_parts(self, place: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The parts that an output leaf's colours run over: its shape where inputs disagree."""
        rows = _common_rows(self.patterns[place])
        return shape if rows is None else rows


def structure(f: Callable[[PyTree], PyTree], x: PyTree, *, batched: bool = True) -> Structure:
    """The structure of ∂f/∂x that `jacobian(f)(x)` makes use of.

    Found in the traced program without running it, from the shapes in x alone.

    Args:
      f: a function of one example.
      x: a batch of examples, [batch, *in].
      batched: False where x is f's whole input.

    Raises:
      ValueError: x is no batch, or f fails on one example of it.
      TypeError: x or f's output is not of real floats.

    Example:
      >>> import jax.numpy as jnp
      >>> structure(jnp.tanh, jnp.zeros((8, 1000)))
      Structure(kind='elementwise', mode='fwd', products=1, plain=1000, cut=None)
      >>> structure(lambda x: jnp.convolve(x, jnp.ones(3)), jnp.zeros((8, 1000))).products
      3
    """
    x = as_arrays(x)
    if batched:
        batch_axis(x)
    example = one_example(x) if batched else as_structs(x)
    out = output_of(f, example, batched=batched)
    plan = plan_for(f, example, out)
    plain = min(count(example), count(out))
    if plan.cut is not None:
        return Structure("bottleneck", plan.mode, 2 * plan.cut.size, plain, plan.cut.size)
    return Structure(_kind(plan, example, out), plan.mode, plan.products, plain)


def dense_plan(mode: str, example: PyTree, out: PyTree) -> Plan:
    """The plan that makes no use of any structure."""
    ins, outs = jax.tree.leaves(example), jax.tree.leaves(out)
    patterns = tuple(tuple(Pattern(o.shape, i.shape, ()) for i in ins) for o in outs)
    if mode == "fwd":
        return Plan("fwd", patterns, tuple(leaf.shape for leaf in ins))
    return Plan("rev", patterns, tuple(leaf.shape for leaf in outs))


def plan_for(f: Callable[[PyTree], PyTree], example: PyTree, out: PyTree) -> Plan:
    """The plan with the fewest products that the traced program allows."""
    pushes, pulls = _traces(f, example, out)
    if pushes is not None:
        patterns = _patterns_forward(pushes, example, out)
    elif pulls is not None:
        patterns = _patterns_reverse(pulls, example, out)
    else:
        raise TypeError(_refusal(f, example))
    plans = []
    if pushes is not None:
        plans.append(Plan("fwd", patterns, _column_colours(patterns, example)))
    if pulls is not None:
        plans.append(Plan("rev", patterns, _row_colours(patterns, out)))
    best = min(plans, key=lambda plan: plan.products)
    if pushes is not None and pulls is not None and best.products > 2:
        cut = narrowest_cut(f, example)
        if cut is not None and 0 < 2 * cut.size <= best.products:
            return dataclasses.replace(best, cut=cut)
    return best


def elementwise_mode(
    f: Callable[[jax.Array], jax.Array], x: PyTree
) -> tuple[Literal["fwd", "rev"], bool]:
    """The mode that f can be differentiated in, and whether out[p] depends on in[p] alone.

    The second is what the traced program shows: False may also mean that it cannot be seen.
    """
    out = output_of(f, x, batched=False)
    plan = plan_for(f, x, out)
    return plan.mode, _kind(plan, x, out) in {"elementwise", "zero"}


def modes(
    f: Callable[[PyTree], PyTree], example: PyTree, out: PyTree, what: str = "f"
) -> tuple[bool, bool]:
    """Whether f can be differentiated forwards, and backwards; `what` is its name in a message.

    Raises:
      TypeError: neither; says why.
    """
    pushes, pulls = _traces(f, example, out)
    if pushes is None and pulls is None:
        raise TypeError(_refusal(f, example, what))
    return pushes is not None, pulls is not None


def both_modes(f: Callable[[PyTree], PyTree], example: PyTree, out: PyTree) -> None:
    """Nothing, where f can be differentiated forwards and backwards.

    Raises:
      TypeError: it cannot; says which mode is missing and why.
    """
    forwards, backwards = modes(f, example, out)
    if not forwards:
        msg = "f is not differentiable forwards: it holds a custom_vjp, which has reverse mode only"
        raise TypeError(msg)
    if not backwards:
        raise TypeError(no_reverse(f, example))


def no_reverse(f: Callable[[PyTree], PyTree], example: PyTree, what: str = "f") -> str:
    """Why f has no reverse mode, in JAX's own words."""

    def pull(x: PyTree) -> PyTree:
        value, back = jax.vjp(f, x)
        return back(value)

    try:
        jax.eval_shape(pull, example)
    except (TypeError, ValueError, NotImplementedError) as error:
        return f"{what} is not differentiable in reverse: {error}"
    return f"{what} is not differentiable in reverse"


# --- The linear programs ------------------------------------------------------------------------


def _traces(
    f: Callable[[PyTree], PyTree], example: PyTree, out: PyTree
) -> tuple[Graph | None, Graph | None]:
    """The programs of Jacobian-vector and vector-Jacobian products, None where JAX has none.

    A custom_vjp has no forward mode; a while loop has no reverse mode.
    """

    def push(x: PyTree, tangent: PyTree) -> PyTree:
        return jax.jvp(f, (x,), (tangent,))[1]

    def pull(x: PyTree, cotangent: PyTree) -> PyTree:
        return jax.vjp(f, x)[1](cotangent)[0]

    pushes, pulls = _traced(push, example, example), _traced(pull, example, out)
    return (None if pushes is None or _holds_custom_vjp(pushes) else pushes), pulls


def _traced(function: Callable[..., PyTree], *args: PyTree) -> Graph | None:
    try:
        return trace(function, *args)[0]
    except (TypeError, ValueError, NotImplementedError):
        return None


def _refusal(f: Callable[[PyTree], PyTree], example: PyTree, what: str = "f") -> str:
    """Why f is not differentiable, in JAX's own words."""
    try:
        jax.eval_shape(lambda x: jax.jvp(f, (x,), (x,)), example)
    except (TypeError, ValueError, NotImplementedError) as error:
        return f"{what} is not differentiable: {error}"
    return (
        f"{what} is not differentiable in either mode: it holds a custom_vjp without a reverse rule"
    )


def _holds_custom_vjp(pushes: Graph) -> bool:
    """Whether the JVP of a custom_vjp stands in the program: it traces, but cannot be run."""
    return any(
        node.name == "custom_lin" or any(map(_holds_custom_vjp, node.bodies))
        for node in pushes.nodes
    )


def _patterns_forward(
    program: Graph, example: PyTree, out: PyTree
) -> tuple[tuple[Pattern | None, ...], ...]:
    ins, outs = jax.tree.leaves(example), jax.tree.leaves(out)
    table: list[list[Pattern | None]] = [[] for _ in outs]
    for place, leaf in enumerate(ins):
        columns, spreads = dependence(program, len(ins) + place, leaf.shape)
        for row, spread in zip(table, spreads, strict=True):
            if spread is None:
                row.append(None)
                continue
            parts = [part for axis in spread for part in axis]
            bands = tuple(Band(k, b.column, b.low, b.high) for k, b in _bands(parts))
            row.append(Pattern(tuple(p.size for p in parts), columns, bands))
    return tuple(map(tuple, table))


def _patterns_reverse(
    program: Graph, example: PyTree, out: PyTree
) -> tuple[tuple[Pattern | None, ...], ...]:
    ins, outs = jax.tree.leaves(example), jax.tree.leaves(out)
    table: list[tuple[Pattern | None, ...]] = []
    for place, leaf in enumerate(outs):
        rows, spreads = dependence(program, len(ins) + place, leaf.shape)
        line: list[Pattern | None] = []
        for spread in spreads:
            if spread is None:
                line.append(None)
                continue
            parts = [part for axis in spread for part in axis]
            bands = tuple(Band(b.column, k, -b.high, -b.low) for k, b in _bands(parts))
            line.append(Pattern(rows, tuple(p.size for p in parts), bands))
        table.append(tuple(line))
    return tuple(table)


def _bands(parts: Sequence[Part]) -> list[tuple[int, Band]]:
    return [
        (k, Band(k, part.link.axis, part.link.low, part.link.high))
        for k, part in enumerate(parts)
        if part.link is not None
    ]


# --- Colours: entries of one colour never meet in a row (or column) -----------------------------


def _column_colours(
    patterns: Sequence[Sequence[Pattern | None]], example: PyTree
) -> tuple[tuple[int, ...], ...]:
    columns = [[row[k] for row in patterns] for k in range(len(jax.tree.leaves(example)))]
    return tuple(
        _colours([(p.columns, {b.column: b for b in p.bands}) for p in column if p is not None])
        for column in columns
    )


def _row_colours(
    patterns: Sequence[Sequence[Pattern | None]], out: PyTree
) -> tuple[tuple[int, ...], ...]:
    found = []
    for row, leaf in zip(patterns, jax.tree.leaves(out), strict=True):
        present = [p for p in row if p is not None]
        if _common_rows(row) is None:
            present = [Pattern(leaf.shape, p.columns, ()) for p in present]
        found.append(_colours([(p.rows, {b.row: b for b in p.bands}) for p in present]))
    return tuple(found)


def _colours(seen: Sequence[tuple[tuple[int, ...], dict[int, Band]]]) -> tuple[int, ...]:
    if not seen:
        return (0,)
    sizes = seen[0][0]

    def along(part: int) -> int:
        if any(part not in bands for _, bands in seen):
            return sizes[part]
        widths = [bands[part].high - bands[part].low + 1 for _, bands in seen]
        return min(sizes[part], max(widths))

    return tuple(along(part) for part in range(len(sizes)))


def _common_rows(row: Sequence[Pattern | None]) -> tuple[int, ...] | None:
    kinds = {p.rows for p in row if p is not None}
    return kinds.pop() if len(kinds) == 1 else None


def _kind(plan: Plan, example: PyTree, out: PyTree) -> Kind:
    present = [p for row in plan.patterns for p in row if p is not None]
    if not present:
        return "zero"
    same = jax.tree.map(lambda a: a.shape, example) == jax.tree.map(lambda a: a.shape, out)
    diagonal = all(
        p.rows == p.columns
        and [(b.row, b.column, b.low, b.high) for b in p.bands]
        == [(k, k, 0, 0) for k in range(len(p.rows))]
        for p in present
    )
    if (
        same
        and diagonal
        and all(
            p is None for r, row in enumerate(plan.patterns) for c, p in enumerate(row) if r != c
        )
    ):
        return "elementwise"
    if plan.products >= min(count(example), count(out)):
        return "dense"
    wide = any(b.high > b.low for p in present for b in p.bands)
    return "banded" if wide else "block-diagonal"
