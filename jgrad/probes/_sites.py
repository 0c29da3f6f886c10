"""Sites: where a traced function applies a scalar function elementwise, and which one.

A site is found by structure (jgrad._jaxpr.chains) and named by value (activations.identify): no
list of layer classes, no list of primitives. A chain z = v₀ → v₁ → ... → v_k is read from its
start: the longest stretch that the catalogue knows is a site, affine stretches (a bias, a scale)
belong to the linear part, and what is left is custom. What is elementwise and no activation is
told by what becomes of it: see `_role`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jgrad._jaxpr import (
    Chain,
    Graph,
    chains,
    cone,
    is_broadcast,
    is_pointwise,
    sample,
    tap_name,
)
from jgrad._types import Elementwise
from jgrad.activations import IDENTIFY_GRID, Identity, identify_samples

#: What a site is for. Only activations are probed; the others are listed by `sites(..., all=True)`.
Role = Literal["activation", "normaliser", "softmax", "loss", "constant", "passed over"]

# Numbers that stand for a traced parameter while its family is looked for: no round ones, which
# would make one family of another.
_TRIALS = (0.3125, 0.6875)

# Loss functions that are activations too: where they lead to nothing but the loss, they are it.
_LOSSES = ("softplus", "log_sigmoid")


@dataclasses.dataclass(frozen=True)
class Site:
    """One place where a scalar function is applied elementwise: z → a = φ(z).

    Attributes:
      key: its unique name: the path, with "#2" for the second use of a path, and so on.
      path: the module path where the framework gives one, else the source.
      source: where it stands in the user's code: "file.py:12 function".
      activation: what it is: "gelu_tanh", "leaky_relu(negative_slope=0.2)", or "custom".
      shape: of z and a, for one step of the scans it stands in.
      dtype: of z.
      role: what it is for.
      steps: lengths of the scans that it stands in, the outermost first; a scan whose steps are
        summed is not among them.
      loops: which scans these are; sites of one scan share the number.
      reverse: for each of them, whether it runs from the last step to the first.
      parents: places (in the tuple of all sites) of the sites whose a reaches this z with no
        other site between; for a site in a scan, this may be itself.
      unit_axis: the axis of `shape` that counts units (features, channels), from the end.
      select: a vmap turned its cond into a select, so that both branches run.
    """

    key: str
    path: str
    source: str
    activation: str
    shape: tuple[int, ...]
    dtype: str
    role: Role = "activation"
    steps: tuple[int, ...] = ()
    loops: tuple[int, ...] = ()
    reverse: tuple[bool, ...] = ()
    parents: tuple[int, ...] = ()
    unit_axis: int = -1
    select: bool = False

    @property
    def size(self) -> int:
        """Elements of z in one step."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def units(self) -> int:
        """Units along the unit axis; one where z is a scalar."""
        return self.shape[self.unit_axis] if self.shape else 1


@dataclasses.dataclass(frozen=True)
class Found:
    """A site within a graph: what it is, and the nodes that it is made of.

    Attributes:
      start: value number of z.
      end: value number of a.
      nodes: indices of the nodes from z to a.
      params: value numbers of what else the nodes use.
      identity: what the catalogue calls it, if it knows it.
      role: what it is for.
    """

    start: int
    end: int
    nodes: tuple[int, ...]
    params: tuple[int, ...]
    identity: Identity | None
    role: Role

    @property
    def activation(self) -> str:
        """Its name, or "custom"."""
        if self.identity is None:
            return "custom"
        # A parameter that is traced has no number to print.
        return self.identity.name if self.params else str(self.identity)

    @property
    def phi(self) -> Elementwise | None:
        """The catalogue's function that it is; None for none, or where a parameter is traced."""
        return None if self.identity is None or self.params else self.identity.phi


def find(graph: Graph) -> tuple[Found, ...]:
    """The sites of a graph in program order, whatever their role; bodies are not looked into."""
    found = []
    for chain in chains(graph):
        found += _read(graph, chain)
    for k, node in enumerate(graph.nodes):
        if tap_name(node):
            (z,), (a,) = node.inputs, node.outputs
            found.append(Found(z, a, (k,), (), Identity("identity"), "activation"))
    normalised = _behind_normalisers(graph, found)
    return tuple(
        dataclasses.replace(one, role="normaliser") if one.end in normalised else one
        for one in found
    )


def _behind_normalisers(graph: Graph, found: Sequence[Found]) -> set[int]:
    """The values from which a normaliser follows elementwise: a variance kept from below by 0."""
    behind: set[int] = set()
    pending = [one.start for one in found if one.role == "normaliser" and one.identity is None]
    while pending:
        v = pending.pop()
        behind.add(v)
        if v in graph.maker:
            node = graph.nodes[graph.maker[v]]
            operands = {*node.inputs} - graph.literals
            same = all(_size(graph, u) == _size(graph, v) for u in operands)
            passes = node.kind == "plain" and (same or is_broadcast(graph, node))
            if len(operands) == 1 and passes:
                pending += operands
    return behind


def _read(graph: Graph, chain: Chain) -> Iterator[Found]:
    """The sites along a chain."""
    i, last = 0, len(chain.links) - 1
    while i < last:
        stretches = [_Stretch(graph, chain, i, j) for j in range(last, i, -1)]
        known = [s for s in stretches if s.identity is not None]
        exact = [s for s in known if s.identity and not s.identity.params]
        if not exact and stretches[-1].affine:
            i += 1
            continue
        stretch = next(iter((*exact, *known, stretches[-1])))
        if len(exact) > 1 and stretch.only_reduced:
            stretch = exact[1]  # a mean of squared ReLUs is a ReLU and a loss
        yield from stretch.sites()
        i = chain.links.index(stretch.end)


class _Stretch:
    """The part of a chain from link i to link j, as one scalar function."""

    def __init__(self, graph: Graph, chain: Chain, i: int, j: int):
        self.graph = graph
        self.start, self.end = chain.links[i], chain.links[j]
        self.nodes = cone(graph, self.start, self.end, chain.nodes)

    @functools.cached_property
    def params(self) -> tuple[int, ...]:
        """What the nodes use besides the start and each other, but for numbers in the text."""
        return _params(self.graph, self.start, self.nodes)

    @functools.cached_property
    def samples(self) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """Values and slopes on the grid, once for each trial of the parameters."""
        return _samples(self.graph, self.nodes, self.start, self.end, self.params)

    @functools.cached_property
    def identity(self) -> Identity | None:
        """What the catalogue calls it; under traced parameters, the family."""
        if self.samples is None or not _is_float(self.graph, self.end):
            return None
        eps = _eps(self.graph, self.nodes)
        named = [identify_samples(values, slopes, eps=eps) for values, slopes in self.samples]
        first = named[0]
        if first is None or first.name == "identity":
            return None
        return first if all(one and one.name == first.name for one in named) else None

    @functools.cached_property
    def affine(self) -> bool:
        """Whether it is a straight line, whatever the parameters."""
        if self.samples is None:
            return False
        eps = _eps(self.graph, self.nodes)
        return all(_is_straight(values, eps) for values, _ in self.samples)

    @functools.cached_property
    def only_reduced(self) -> bool:
        """Whether nothing but sums becomes of it, and it is no loss by itself."""
        named = self.identity is not None and self.identity.name in _LOSSES
        return not named and _Uses(self.graph, self.end).only_reduced

    def sites(self) -> Iterator[Found]:
        """The stretch as a site; or an activation inside it, where the rest is a skip around it."""
        if self.identity is None and self.samples is not None:
            for inner in self._inside():
                if inner.identity is not None and _adds_linearly(self, inner):
                    yield from inner.sites()
                    return
        if not _is_float(self.graph, self.end):
            return
        role = _role(self.graph, self.end, self.identity)
        yield Found(self.start, self.end, self.nodes, self.params, self.identity, role)

    def _inside(self) -> Iterator["_Stretch"]:
        for k in reversed(self.nodes[:-1]):
            (v,) = self.graph.nodes[k].outputs
            yield _Stretch(self.graph, Chain((self.start, v), self.nodes), 0, 1)


def _params(graph: Graph, start: int, nodes: Sequence[int]) -> tuple[int, ...]:
    made = {v for k in nodes for v in graph.nodes[k].outputs}
    used = dict.fromkeys(v for k in nodes for v in graph.nodes[k].inputs)
    return tuple(v for v in used if v not in made and v != start and v not in graph.literals)


def _samples(
    graph: Graph, nodes: tuple[int, ...], start: int, end: int, params: tuple[int, ...]
) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Memoised by the text of the nodes: a deep network's layers are sampled once."""
    text = _text(graph, nodes, start, end)
    if text not in _SAMPLES:
        trials = [{v: _trial(graph, v, k) for v in params} for k in (0, 1)] if params else [{}]
        try:
            _SAMPLES[text] = [
                sample(graph, nodes, start, end, trial, IDENTIFY_GRID) for trial in trials
            ]
        except Exception:  # A primitive that does not run on its own: no name, but still a site.
            _SAMPLES[text] = None
    return _SAMPLES[text]


_SAMPLES: dict[Any, list[tuple[np.ndarray, np.ndarray]] | None] = {}


def _text(graph: Graph, nodes: tuple[int, ...], start: int, end: int) -> Any:
    """The nodes as a hashable text, the same for equal functions wherever they stand."""
    names: dict[int, Any] = {start: "z"}
    lines = []
    for k in nodes:
        node = graph.nodes[k]
        operands = []
        for v in node.inputs:
            if v in graph.literals:
                operands.append(("number", str(graph.constants[v])))
            else:
                dtype = str(graph.avals[v].dtype)
                operands.append((names.setdefault(v, len(names)), dtype))
        names[node.outputs[0]] = len(names)
        lines.append((node.name, repr(sorted(node.eqn.params.items(), key=str)), tuple(operands)))
    return (*lines, names[end])


def _trial(graph: Graph, v: int, k: int) -> Any:
    """A number for the value v: on the first trial one, on the second another."""
    if jnp.issubdtype(graph.avals[v].dtype, jnp.floating):
        return _TRIALS[k] + v % 7 / 64  # different parameters get different numbers
    return k == 0


def _eps(graph: Graph, nodes: Sequence[int]) -> float:
    """The rounding of the numbers in the nodes' text: 0.044715 is another one in bfloat16."""
    numbers = [v for k in nodes for v in graph.nodes[k].inputs if v in graph.literals]
    floats = [graph.avals[v].dtype for v in numbers if _is_float(graph, v)]
    return max((float(jnp.finfo(dtype).eps) for dtype in floats), default=0.0) or float(
        jnp.finfo(jnp.float32).eps
    )


def _is_float(graph: Graph, v: int) -> bool:
    return jnp.issubdtype(graph.avals[v].dtype, jnp.floating)


def _is_straight(values: np.ndarray, eps: float) -> bool:
    x = IDENTIFY_GRID.astype(np.float64)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        return False
    line = np.polynomial.Polynomial.fit(x, values, 1)
    # Judged where an activation bends: a straight line far out says nothing of the origin.
    near = np.abs(x) <= 8
    scale = 1 + np.abs(values) + np.abs(line.deriv()(x)) * np.abs(x)
    return bool(np.all((np.abs(values - line(x)) <= 64 * eps * scale)[near | (np.abs(x) < 100)]))


def _adds_linearly(whole: _Stretch, inner: _Stretch) -> bool:
    """Whether the whole is α z + β inner(z) + γ: an activation with a skip around it."""
    x = IDENTIFY_GRID.astype(np.float64)
    near = np.abs(x) <= 8
    # What has no parameters of its own is sampled once, whatever they are.
    for (values, _), (inside, _) in zip(
        whole.samples or (), itertools.cycle(inner.samples or ()), strict=False
    ):
        columns = np.stack([x, inside.astype(np.float64), np.ones_like(x)], axis=1)[near]
        target = values.astype(np.float64)[near]
        fit, *_ = np.linalg.lstsq(columns, target, rcond=None)
        if np.max(np.abs(columns @ fit - target)) > 1e-4 * (1 + np.max(np.abs(target))):
            return False
    return True


def _role(graph: Graph, end: int, identity: Identity | None) -> Role:
    """What a scalar function is for.

    A named activation is one, except that softplus or log-sigmoid with nothing but sums after it
    is a loss. Of what has no name: what is reduced, and nothing else, to a value that comes back
    to the full shape is a normaliser's (the square under a variance) or a softmax's (the
    exponential, which is used beside its sum); reduced for good, a loss's (the square of a
    difference, the logarithm of a probability). What is repeated over a larger array (one over
    the standard deviation) is a normaliser's.
    """
    used = _Uses(graph, end)
    if identity is not None:
        return "loss" if identity.name in _LOSSES and used.only_reduced else "activation"
    if used.repeated:
        return "normaliser"
    if used.reduced and used.meets_its_reduction:
        return "softmax"
    if used.only_reduced:
        return "normaliser" if used.comes_back else "loss"
    return "activation"


class _Uses:
    """What becomes of a value."""

    def __init__(self, graph: Graph, v: int):
        self.reduced = self.other = self.repeated = False
        self.comes_back = self.meets_its_reduction = False
        sums: list[int] = []
        size = _size(graph, v)
        same: set[int] = {v}
        pending, seen = [v], {v}
        while pending:
            u = pending.pop()
            for k in graph.users.get(u, ()):
                node = graph.nodes[k]
                out = node.outputs[0]
                if is_broadcast(graph, node) and _size(graph, out) > size:
                    self.repeated = True
                elif is_pointwise(graph, node) or is_broadcast(graph, node):
                    if _size(graph, out) > size:
                        self.repeated = True
                    elif out not in seen:
                        seen.add(out)
                        same.add(out)
                        pending.append(out)
                elif len(node.inputs) == 1 and node.kind == "plain" and _size(graph, out) <= size:
                    self.reduced = self.reduced or _size(graph, out) < size
                    if _size(graph, out) < size or size == 1:
                        sums.append(out)
                    elif out not in seen:
                        seen.add(out)
                        pending.append(out)
                else:
                    self.other = True
            if u in graph.outputs:
                # A scalar that is the function's own result is a loss; anything larger is not.
                self.reduced = self.reduced or size == 1
                self.other = self.other or size > 1
        self._follow(graph, sums, same, size)

    @property
    def only_reduced(self) -> bool:
        """Whether sums are all that becomes of it."""
        return self.reduced and not self.other

    def _follow(self, graph: Graph, sums: list[int], same: set[int], size: int) -> None:
        pending, seen = list(sums), set(sums)
        while pending:
            u = pending.pop()
            for k in graph.users.get(u, ()):
                node = graph.nodes[k]
                if same & set(node.inputs):
                    self.meets_its_reduction = True
                for out in node.outputs:
                    if _size(graph, out) >= size > 1:
                        self.comes_back = True
                    elif out not in seen:
                        seen.add(out)
                        pending.append(out)


def _size(graph: Graph, v: int) -> int:
    return int(np.prod(getattr(graph.avals[v], "shape", ()), dtype=np.int64))
