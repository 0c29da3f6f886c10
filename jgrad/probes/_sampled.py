"""Parts of a graph as samples of a scalar function, and what shape these show."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad._jaxpr import Graph, sample, trace
from jgrad.activations import IDENTIFY_GRID, Identity

#: Values and slopes on a grid.
Sampled = tuple[np.ndarray, np.ndarray]

# Numbers that stand for a traced parameter while its family is looked for: no round ones, which
# would make one family of another.
_TRIALS = (0.3125, 0.6875)


def samples(
    graph: Graph,
    nodes: tuple[int, ...],
    start: int,
    end: int,
    params: tuple[int, ...],
    grid: np.ndarray,
) -> list[Sampled] | None:
    """The value `end` as a function of the value `start`, once for each trial of the parameters.

    None where the nodes do not run on their own. Memoised by the text of the nodes: a deep
    network's layers are sampled once.
    """
    text = (text_of(graph, nodes, start, end), grid.tobytes())
    if text not in _SAMPLES:
        trials = [{v: _trial(graph, v, k) for v in params} for k in (0, 1)] if params else [{}]
        try:
            _SAMPLES[text] = [sample(graph, nodes, start, end, trial, grid) for trial in trials]
        except Exception:  # A primitive that does not run on its own: no name, but still a site.
            _SAMPLES[text] = None
    return _SAMPLES[text]


_SAMPLES: dict[Any, list[Sampled] | None] = {}


def text_of(graph: Graph, nodes: tuple[int, ...], start: int, end: int) -> Any:
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


# What differs from another activation by less than the rounding of its own numbers in a narrow
# format, as JAX writes it.
_WRITTEN = {"gelu_tanh": jax.nn.gelu}


def as_written(given: Sequence[Sampled], dtype: Any) -> Identity | None:
    """The name of a function in which numbers are rounded to the dtype, and the same ones."""
    for name in _WRITTEN:
        values, _ = _written(name, str(jnp.dtype(dtype)))
        if all(same(values, others) for others, _ in given):
            return Identity(name)
    return None


@functools.cache
def _written(name: str, dtype: str) -> Sampled:
    graph, _ = trace(_WRITTEN[name], jax.ShapeDtypeStruct((2,), dtype))
    nodes = range(len(graph.nodes))
    return sample(graph, nodes, graph.inputs[0], graph.outputs[0], {}, IDENTIFY_GRID)


def is_straight(values: np.ndarray, eps: float) -> bool:
    """Whether the samples are a straight line, to within rounding."""
    if not np.isfinite(values).all():
        return False
    # Judged where an activation bends: far out, rounding drowns what is added to x.
    x = IDENTIFY_GRID.astype(np.float64)
    here = np.abs(x) < 100
    x, values = x[here], values[here].astype(np.float64)
    line = np.polynomial.Polynomial.fit(x, values, 1)
    scale = 1 + np.abs(values) + np.abs(line.deriv()(x)) * np.abs(x)
    return bool(np.all(np.abs(values - line(x)) <= 64 * eps * scale))


def bends_one_way(values: np.ndarray) -> bool:
    """Whether the samples are convex or concave, where they are finite."""
    x = IDENTIFY_GRID.astype(np.float64)
    there = np.isfinite(values) & (np.abs(x) <= 8)
    x, values = x[there], values[there].astype(np.float64)
    if x.size < 3:
        return True
    bends = np.diff(np.diff(values) / np.diff(x))
    # A straight piece bends by rounding, which the smallest steps of the grid magnify.
    least = 64 * np.finfo(np.float32).eps * np.max(1 + np.abs(values)) / np.min(np.diff(x))
    return bool(np.all(bends >= -least) or np.all(bends <= least))


def same(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether the samples are alike, to a few units in the last place."""
    return np.allclose(values, others, rtol=1e-5, atol=1e-6, equal_nan=True)


def proportional(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether f(2x) is a multiple of f(x), the samples of f at x and at 2x given: a power of x."""
    near = np.isfinite(values) & np.isfinite(others) & (np.abs(IDENTIFY_GRID) <= 8)
    values, others = values[near].astype(np.float64), others[near].astype(np.float64)
    norm = values @ values
    factor = values @ others / norm if norm else 0.0
    return bool(np.allclose(others, factor * values, rtol=1e-4, atol=1e-6))


def is_exponential(sampled: Sampled) -> bool:
    """Whether it is c·eᵏˣ: its slope is everywhere the same multiple of its value."""
    values, slopes = (part.astype(np.float64) for part in sampled)
    near = np.abs(IDENTIFY_GRID) <= 8
    values, slopes = values[near], slopes[near]
    if not np.all(np.isfinite(values) & (values != 0)):
        return False
    rates = slopes / values
    return bool(rates[0] != 0 and np.allclose(rates, rates[0], rtol=1e-4))


def adds_linearly(whole: Sequence[Sampled], inner: Sequence[Sampled]) -> bool:
    """Whether the whole is α z + β inner(z) + γ: an activation with a skip around it."""
    x = IDENTIFY_GRID.astype(np.float64)
    near = np.abs(x) <= 8
    # What has no parameters of its own is sampled once, whatever they are.
    for (values, _), (inside, _) in zip(whole, itertools.cycle(inner), strict=False):
        columns = np.stack([x, inside.astype(np.float64), np.ones_like(x)], axis=1)[near]
        target = values.astype(np.float64)[near]
        fit, *_ = np.linalg.lstsq(columns, target, rcond=None)
        if np.max(np.abs(columns @ fit - target)) > 1e-4 * (1 + np.max(np.abs(target))):
            return False
    return True
