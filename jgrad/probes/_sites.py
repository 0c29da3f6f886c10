"""Sites: where a traced function applies a scalar function elementwise, and which one.

A site is found by structure (jgrad._jaxpr.chains) and named by value (activations.identify): no
list of layer classes, no list of primitives. A chain z = v₀ → v₁ → ... → v_k is read from its
start: the longest stretch that the catalogue knows is a site, affine stretches (a bias, a scale)
belong to the linear part, and what is left is custom. What is elementwise and no activation is
told by what becomes of it: see `_role`.
"""

import dataclasses
import functools
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
    is_float,
    is_reduction,
    tap_name,
)
from jgrad._types import Elementwise
from jgrad.activations import IDENTIFY_GRID, Identity, identify_samples

from ._sampled import (
    Sampled,
    adds_linearly,
    as_written,
    bends_one_way,
    is_exponential,
    is_straight,
    proportional,
    same,
    samples,
)
from ._uses import (
    Origin,
    Uses,
    comes_back_to,
    has_sums_off,
    is_margin,
    meetings,
    meets_sums_of,
    size,
)

#: What a site is for. Only activations are probed; the others are listed by `sites(..., all=True)`.
Role = Literal["activation", "normaliser", "softmax", "loss", "constant", "passed over"]

# Loss functions that are activations too: where they lead to nothing but the loss, they are it.
_LOSSES = ("softplus", "log_sigmoid", "sparse_plus")
# What compares a score with a number, or keeps it between two: a hinge's max(0, 1 - y f(x)).
_COMPARISONS = ("relu", "hard_tanh")


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
      traced: φ has parameters that are values of the program, as PReLU's slope is.
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
    traced: bool = False

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


def _normalises(graph: Graph, start: int, end: int) -> bool:
    """Whether it is a function of sums over arrays that comes back to these or to larger ones."""
    origin = Origin(graph, start)
    return origin.pure and (Uses(graph, end).repeated or comes_back_to(graph, end, origin.summed))


def _behind_normalisers(graph: Graph, found: Sequence[Found]) -> set[int]:
    """The values that become one over a deviation: a variance, kept from below by 0 perhaps."""
    behind: set[int] = set()
    unnamed = [one for one in found if one.role == "normaliser" and one.identity is None]
    pending = [one.start for one in unnamed if _normalises(graph, one.start, one.end)]
    while pending:
        v = pending.pop()
        behind.add(v)
        if v in graph.maker:
            node = graph.nodes[graph.maker[v]]
            operands = {*node.inputs} - graph.literals
            alike = all(size(graph, u) == size(graph, v) for u in operands)
            passes = node.kind == "plain" and alike and not is_reduction(graph, node)
            if len(operands) == 1 and (passes or is_broadcast(graph, node)):
                pending += operands
    return behind


def _read(graph: Graph, chain: Chain) -> Iterator[Found]:
    """The sites along a chain."""
    i, last, in_loss = 0, len(chain.links) - 1, False
    while i < last:
        stretches = [_Stretch(graph, chain, i, j) for j in range(last, i, -1)]
        known = [s for s in stretches if s.identity is not None]
        exact = [s for s in known if s.identity and not s.identity.params]
        if not exact and stretches[-1].affine:
            i += 1
            continue
        stretch = next(iter((*exact, *known, stretches[-1])))
        if stretch.name == "relu":
            # A ReLU kept below 1 is one clip.
            stretch = next((s for s in known if s.name == "hard_tanh"), stretch)
        if stretch.identity and stretch.only_reduced:
            # A mean of squared ReLUs is a ReLU and a loss; a conversion before a sum is the sum's.
            powers = (s for s in exact if s.name != stretch.name and _between(s, stretch).is_power)
            stretch = next(powers, [s for s in known if s.identity == stretch.identity][-1])
        for site in stretch.sites():
            # What a loss is put through is in the loss: max(0, |error| - ε).
            bare = site.identity is None or site.identity.name in _COMPARISONS
            if in_loss and bare:
                site = dataclasses.replace(site, role="loss")
            elif site.role == "activation" and stretch.name == "softplus" and i > 0:
                # The ln(1 + exp(-|a - b|)) of a sum of exponentials in logarithms.
                before = _Stretch(graph, chain, 0, i)
                if all(np.all(values <= 0) for values, _ in before.samples or [(1.0, 1.0)]):
                    site = dataclasses.replace(site, role="softmax")
            yield site
            in_loss = in_loss or site.role == "loss"
        i = chain.links.index(stretch.end)


def _between(inner: "_Stretch", whole: "_Stretch") -> "_Stretch":
    """The whole as a function of what is within, where both begin."""
    return _Stretch(whole.graph, Chain((inner.end, whole.end), whole.nodes), 0, 1)


class _Stretch:
    """The part of a chain from link i to link j, as one scalar function."""

    def __init__(self, graph: Graph, chain: Chain, i: int, j: int):
        self.graph = graph
        self.start, self.end = chain.links[i], chain.links[j]
        nodes = cone(graph, self.start, self.end, chain.nodes)
        self.nodes = tuple(sorted({*nodes, *_repeated_numbers(graph, nodes)}))

    @functools.cached_property
    def params(self) -> tuple[int, ...]:
        """What the nodes use besides the start and each other, but for numbers in the text."""
        return _params(self.graph, self.start, self.nodes)

    @functools.cached_property
    def samples(self) -> list[Sampled] | None:
        """Values and slopes on the grid, once for each trial of the parameters."""
        return self._at(IDENTIFY_GRID)

    def _at(self, grid: np.ndarray) -> list[Sampled] | None:
        return samples(self.graph, self.nodes, self.start, self.end, self.params, grid)

    @functools.cached_property
    def identity(self) -> Identity | None:
        """What the catalogue calls it; under traced parameters, the family."""
        if self.samples is None or not is_float(self.graph, self.end):
            return None
        eps = _eps(self.graph, self.nodes)
        named = [identify_samples(values, slopes, eps=eps) for values, slopes in self.samples]
        first = named[0]
        if first is None and eps > _FINE:
            return as_written(self.samples, self.graph.avals[self.start].dtype)
        if first is None or first.name == "identity":
            return None
        if not all(one and one.name == first.name for one in named):
            return None
        dtype = _written_in(self.graph, self.nodes)
        params = tuple((key, _shortest(value, dtype)) for key, value in first.params)
        return dataclasses.replace(first, params=params)

    @property
    def name(self) -> str:
        """The catalogue's name for it; "" for none."""
        return self.identity.name if self.identity else ""

    @functools.cached_property
    def affine(self) -> bool:
        """Whether it is a straight line, whatever the parameters."""
        if self.samples is None:
            return False
        eps = _eps(self.graph, self.nodes)
        return all(is_straight(values, eps) for values, _ in self.samples)

    @functools.cached_property
    def uses(self) -> Uses:
        """What becomes of its end."""
        return Uses(self.graph, self.end)

    @functools.cached_property
    def only_reduced(self) -> bool:
        """Whether nothing but sums becomes of it, and it is no loss by itself."""
        return self.name not in _LOSSES and self.uses.only_reduced

    @property
    def compares(self) -> bool:
        """Whether it is a hinge on what a score lacks, or keeps a ratio or probability off 0."""
        if self.name not in _COMPARISONS:
            return False
        off_zero = all(np.all(values > 0) for values, _ in self.samples or ())
        return off_zero or (self.name == "relu" and is_margin(self.graph, self.start))

    @property
    def is_half_a_softplus(self) -> bool:
        """Whether it is the max(z, 0) of max(z, 0) + ln(1 + exp(-|z|)), what is between added too.

        So losses on logits are written.
        """
        if self.name != "relu":
            return False
        softplus = np.logaddexp(0, IDENTIFY_GRID)
        for v in {v for _, others in meetings(self.graph, self.end) for v in others}:
            nodes = cone(self.graph, self.start, v, range(len(self.graph.nodes)))
            if nodes and not _params(self.graph, self.start, nodes):
                rest = samples(self.graph, nodes, self.start, v, (), IDENTIFY_GRID) or []
                if any(same(np.maximum(IDENTIFY_GRID, 0) + values, softplus) for values, _ in rest):
                    return True
        return False

    @property
    def shares_out(self) -> bool:
        """Whether it is an exponential that is divided by its sum, or of what has one taken off."""
        if not all(map(is_exponential, self.samples or [])):
            return False
        return (
            (self.uses.reduced and self.uses.meets_its_reduction)
            or meets_sums_of(self.graph, self.end, self.start)
            or has_sums_off(self.graph, self.start)
        )

    @functools.cached_property
    def weighs(self) -> bool:
        """Whether it bends one way only, is even, or a power: as losses are, seldom activations.

        What cannot be sampled is taken for one.
        """
        return all(bends_one_way(values) for values, _ in self.samples or ()) or self.is_power

    @functools.cached_property
    def is_power(self) -> bool:
        """Whether it is an even function or a power."""
        at = [self._at(scale * IDENTIFY_GRID) for scale in (1, -1, 2)]
        plain, negated, doubled = ([values for values, _ in of or ()] for of in at)
        return all(map(same, plain, negated)) or all(map(proportional, plain, doubled))

    @property
    def role(self) -> Role:
        """What it is for.

        A named activation is one, except where nothing but sums come after it: then softplus and
        log-sigmoid are a loss, and with no weights behind these sums a ReLU of a margin, one that
        is half a softplus, and a clip to numbers above 0 are. Another ReLU there is taken for the
        last layer, though it may be a loss's: the program does not tell, and the caller's `amend`
        can. Of what has no name: what is repeated over a larger array (one over the standard
        deviation) is a normaliser's; an exponential beside sums of exponentials is a softmax's;
        what is reduced, and nothing else, to a value that comes back to the full shape (the square
        under a variance) is a normaliser's; and what is reduced for good is a loss's if it looks
        like a loss: the square of a difference, the logarithm of a probability.
        """
        if self.identity is not None:
            if not self.uses.only_reduced:
                return "activation"
            weighs = self.compares or self.is_half_a_softplus
            ends = self.name in _LOSSES or (not self.uses.leads_on and weighs)
            return "loss" if ends else "activation"
        if _normalises(self.graph, self.start, self.end):
            return "normaliser"
        if self.shares_out:
            return "softmax"
        if not self.uses.only_reduced:
            return "activation"
        if self.uses.comes_back:
            return "normaliser"
        return "loss" if not self.uses.leads_on and self.weighs else "activation"

    def sites(self) -> Iterator[Found]:
        """The stretch as a site; or an activation inside it, where the rest is a skip around it."""
        if self.identity is None and self.samples is not None:
            for inner in self._inside():
                if inner.identity is not None and adds_linearly(self.samples, inner.samples or ()):
                    yield from inner.sites()
                    return
        if not is_float(self.graph, self.end):
            return
        yield Found(self.start, self.end, self.nodes, self.params, self.identity, self.role)

    def _inside(self) -> Iterator["_Stretch"]:
        for k in reversed(self.nodes[:-1]):
            (v,) = self.graph.nodes[k].outputs
            yield _Stretch(self.graph, Chain((self.start, v), self.nodes), 0, 1)


def _repeated_numbers(graph: Graph, nodes: Sequence[int]) -> Iterator[int]:
    """The nodes that repeat a number of the text for these to use: a number, and no parameter."""
    for v in {v for k in nodes for v in graph.nodes[k].inputs}:
        k = graph.maker.get(v)
        if k is None or not graph.literals.issuperset(graph.nodes[k].inputs):
            continue
        if is_broadcast(graph, graph.nodes[k]):
            yield k


def _params(graph: Graph, start: int, nodes: Sequence[int]) -> tuple[int, ...]:
    made = {v for k in nodes for v in graph.nodes[k].outputs}
    used = dict.fromkeys(v for k in nodes for v in graph.nodes[k].inputs)
    return tuple(v for v in used if v not in made and v != start and v not in graph.literals)


_FINE = float(jnp.finfo(jnp.float32).eps)


def _eps(graph: Graph, nodes: Sequence[int]) -> float:
    """The rounding of the numbers in the nodes' text: 0.044715 is another one in bfloat16.

    Samples are taken in float32, so these numbers are all that is coarse, and off by half a unit at
    most, where `identify_samples` allows for eight of a whole evaluation.
    """
    return max(_FINE, float(jnp.finfo(_written_in(graph, nodes)).eps) / 8)


def _written_in(graph: Graph, nodes: Sequence[int]) -> Any:
    """The coarsest dtype of the numbers in the nodes' text; float32 where there are none."""
    numbers = [v for k in nodes for v in graph.nodes[k].inputs if v in graph.literals]
    floats = [graph.avals[v].dtype for v in numbers if is_float(graph, v)]
    return max(floats, key=lambda dtype: float(jnp.finfo(dtype).eps), default=jnp.float32)


def _shortest(number: float, dtype: Any) -> float:
    """The shortest decimal that is the same number of the dtype: 0.2 for 0.200195 in bfloat16."""
    decimals = (float(f"{number:.{digits}g}") for digits in range(1, 6))
    there = np.asarray(number, dtype)
    return next((d for d in decimals if np.asarray(d, dtype) == there), number)
