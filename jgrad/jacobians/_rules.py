"""What each equation that moves or mixes positions does to the axes that are followed."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jgrad._jaxpr import Node

from ._spread import Axis, Part, Spread, UnknownError, divided, hull, shifted, unlinked


class Equation(NamedTuple):
    """What a rule reads of an equation: parameters, shapes of operands and of results, bodies."""

    params: dict[str, Any]
    ins: tuple[tuple[int, ...], ...]
    outs: tuple[tuple[int, ...], ...]
    node: Node


def _only(spreads: Sequence[Spread], place: int) -> tuple[Axis, ...]:
    """The spread at a place, where no other operand carries the tangent."""
    spread = spreads[place]
    if spread is None or sum(s is not None for s in spreads) > 1:
        raise UnknownError
    return spread


def _reshape(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    if eqn.params.get("dimensions") is not None:
        raise UnknownError
    parts = [part for axis in _only(spreads, 0) for part in axis]
    axes: list[Axis] = []
    for n in reversed(eqn.outs[0]):
        axis: list[Part] = []
        while (rest := n // math.prod(part.size for part in axis)) > 1:
            part = parts.pop()
            if part.size > rest:
                outer, part = divided(part, rest)
                parts.append(outer)
            if rest % part.size:
                raise UnknownError
            axis.insert(0, part)
        axes.insert(0, tuple(axis))
    return [tuple(axes)]


def _broadcast(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    axes, shape = _only(spreads, 0), eqn.outs[0]
    out = [unlinked(n) for n in shape]
    for axis, place, n in zip(axes, eqn.params["broadcast_dimensions"], eqn.ins[0], strict=True):
        if n == shape[place]:
            out[place] = axis
    return [tuple(out)]


def _squeeze(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    gone = eqn.params["dimensions"]
    return [tuple(axis for d, axis in enumerate(_only(spreads, 0)) if d not in gone)]


def _transpose(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    axes = _only(spreads, 0)
    return [tuple(axes[d] for d in eqn.params["permutation"])]


def _reduce(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    gone = eqn.params["axes"]
    return [tuple(axis for d, axis in enumerate(_only(spreads, 0)) if d not in gone)]


def _mixed_along(parameter: str) -> Callable[[Any, list[Spread]], list[Spread]]:
    """The rule of an equation that mixes positions along the axes that a parameter names."""

    def rule(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
        named = eqn.params[parameter]
        mixed = {named} if isinstance(named, int) else set(named)
        joined = hull(spreads)
        if joined is None:
            raise UnknownError
        out = tuple(
            unlinked(n) if d in mixed else axis
            for d, (axis, n) in enumerate(zip(joined, eqn.outs[0], strict=True))
        )
        return [out] * len(eqn.outs)

    return rule


def _slice(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    axes, old = _only(spreads, 0), eqn.ins[0]
    starts = eqn.params["start_indices"]
    strides = eqn.params["strides"] or (1,) * len(old)
    new = eqn.outs[0]
    return [
        tuple(
            axis if n == m else shifted(axis, m, start, start) if stride == 1 else unlinked(m)
            for axis, n, m, start, stride in zip(axes, old, new, starts, strides, strict=True)
        )
    ]


def _dynamic_slice(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    axes, old, new = _only(spreads, 0), eqn.ins[0], eqn.outs[0]
    return [tuple(a if n == m else unlinked(m) for a, n, m in zip(axes, old, new, strict=True))]


def _pad(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    axes, old, new = _only(spreads, 0), eqn.ins[0], eqn.outs[0]
    return [
        tuple(
            axis
            if (low, high, inside) == (0, 0, 0)
            else shifted(axis, m, -int(low), -int(low))
            if not inside and n > 1
            else unlinked(m)
            for axis, n, m, (low, high, inside) in zip(
                axes, old, new, eqn.params["padding_config"], strict=True
            )
        )
    ]


def _concatenate(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    d, shape = eqn.params["dimension"], eqn.outs[0]
    moved: list[Spread] = []
    start = 0
    for operand, spread in zip(eqn.ins, spreads, strict=True):
        n = operand[d]
        if spread is not None:
            whole = spread[d] if n == shape[d] else shifted(spread[d], shape[d], -start, -start)
            # A piece of one position has lost its part, and with it its link.
            moved.append((*spread[:d], whole, *spread[d + 1 :]))
        start += n
    return [hull(moved)]


def _split_pieces(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    axes, d = _only(spreads, 0), eqn.params["axis"]
    starts = itertools.accumulate(eqn.params["sizes"], initial=0)
    return [
        (*axes[:d], shifted(axes[d], n, start, start), *axes[d + 1 :])
        for n, start in zip(eqn.params["sizes"], starts, strict=False)
    ]


def _dot_general(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    (contract, batch) = eqn.params["dimension_numbers"]
    place = 0 if spreads[0] is not None else 1
    axes = _only(spreads, place)
    free = [
        [d for d in range(len(shape)) if d not in (*contract[k], *batch[k])]
        for k, shape in enumerate(eqn.ins)
    ]
    other = [unlinked(eqn.ins[1 - place][d]) for d in free[1 - place]]
    own = [axes[d] for d in free[place]]
    return [(*(axes[d] for d in batch[place]), *(own + other if place == 0 else other + own))]


def _convolution(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    params, axes = eqn.params, _only(spreads, 0)
    if params["batch_group_count"] != 1:
        raise UnknownError
    numbers = params["dimension_numbers"]
    old, new = eqn.ins[0], eqn.outs[0]
    kernel = eqn.ins[1]
    out = [unlinked(n) for n in new]
    out[numbers.out_spec[0]] = axes[numbers.lhs_spec[0]]
    for k, (low, high) in enumerate(params["padding"]):
        source, target = numbers.lhs_spec[2 + k], numbers.out_spec[2 + k]
        width = (kernel[numbers.rhs_spec[2 + k]] - 1) * params["rhs_dilation"][k]
        plain = params["window_strides"][k] == params["lhs_dilation"][k] == 1
        if plain and (width, low, high) == (0, 0, 0):
            out[target] = axes[source]
        elif plain and old[source] > 1:
            out[target] = shifted(axes[source], new[target], -int(low), width - int(low))
    return [tuple(out)]


def _window(eqn: Equation, spreads: list[Spread]) -> list[Spread]:
    params, new = eqn.params, eqn.outs[0]
    axes, old = _only(spreads, 0), eqn.ins[0]
    ones = (1,) * len(old)
    out: list[Axis] = []
    for axis, n, m, size, stride, (low, high), base, apart in zip(
        axes,
        old,
        new,
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params.get("base_dilation") or ones,
        params.get("window_dilation") or ones,
        strict=True,
    ):
        width = (size - 1) * apart
        if (width, stride, low, high, base) == (0, 1, 0, 0, 1):
            out.append(axis)
        elif stride == base == 1 and n > 1:
            out.append(shifted(axis, m, -int(low), width - int(low)))
        else:
            out.append(unlinked(m))
    return [tuple(out)]


def _one_by_one(eqn: Equation, spreads: list[Spread]) -> list[Spread]:  # noqa: ARG001
    return spreads


#: By the primitive's name. An equation without a rule here may still be elementwise.
RULES: dict[str, Callable[[Any, list[Spread]], list[Spread]]] = {
    "reshape": _reshape,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "reduce_sum": _reduce,
    "cumsum": _mixed_along("axis"),
    "rev": _mixed_along("dimensions"),
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "split": _split_pieces,
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "reduce_window_sum": _window,
    "optimization_barrier": _one_by_one,
    "sharding_constraint": _one_by_one,
}
