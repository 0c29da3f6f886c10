"""Jacobians from few products: columns that never meet in a row share one.

The method of Curtis, Powell & Reid, 1974, for bands: where the entries of row i lie in a band of
width w, the columns j ≡ c (mod w) do not overlap, so one product with the sum of their unit vectors
holds them all.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._cut import Cut
from ._structure import Pattern, Plan

#: Blocks of a Jacobian: by output leaf, then by input leaf.
Blocks = list[list[jax.Array]]


def one_jacobian(
    f: Callable[[PyTree], PyTree], plan: Plan, example: PyTree, out: PyTree
) -> Callable[[PyTree], PyTree]:
    """The Jacobian of f at one example, computed as the plan says.

    Args:
      f: a function of one example.
      plan: what was found of f's structure.
      example: shapes and dtypes of one example.
      out: shapes and dtypes of f's output for it.

    Returns:
      A function x -> pytree with out's structure and in each leaf x's, [*out, *in].
    """

    def of(x: PyTree) -> PyTree:
        if plan.cut is not None:
            blocks = _through(plan.cut, x, jax.tree.structure(out))
        elif plan.mode == "fwd":
            blocks = _by_columns(f, plan, x, jax.tree.leaves(out))
        else:
            blocks = _by_rows(f, plan, x, jax.tree.leaves(out))
        # Products have f's dtype forwards and x's in reverse; the plan is not to be told from it.
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(example)]
        blocks = [[b.astype(d) for b, d in zip(row, dtypes, strict=True)] for row in blocks]
        rows = [jax.tree.unflatten(jax.tree.structure(example), row) for row in blocks]
        return jax.tree.unflatten(jax.tree.structure(out), rows)

    return of


def _by_columns(
    f: Callable[[PyTree], PyTree], plan: Plan, x: PyTree, outs: Sequence[jax.ShapeDtypeStruct]
) -> Blocks:
    leaves, tree = jax.tree.flatten(x)

    def column(place: int) -> list[jax.Array]:
        leaf, colours = leaves[place], plan.colours[place]
        patterns = [row[place] for row in plan.patterns]
        sizes = next((p.columns for p in patterns if p is not None), None)
        if sizes is None or not leaf.size:
            return [jnp.zeros((*out.shape, *leaf.shape), out.dtype) for out in outs]

        def push(seed: jax.Array) -> list[jax.Array]:
            tangents = [seed if k == place else jnp.zeros_like(a) for k, a in enumerate(leaves)]
            return jax.tree.leaves(jax.jvp(f, (x,), (jax.tree.unflatten(tree, tangents),))[1])

        seeds = _seeds(sizes, colours, leaf.dtype).reshape(-1, *leaf.shape)
        products = jax.vmap(push, out_axes=-1)(seeds)
        return [
            _unpacked(packed, pattern, colours, by="column").reshape(*out.shape, *leaf.shape)
            if pattern is not None
            else jnp.zeros((*out.shape, *leaf.shape), out.dtype)
            for packed, pattern, out in zip(products, patterns, outs, strict=True)
        ]

    return [list(row) for row in zip(*map(column, range(len(leaves))), strict=True)]


def _by_rows(
    f: Callable[[PyTree], PyTree], plan: Plan, x: PyTree, outs: Sequence[jax.ShapeDtypeStruct]
) -> Blocks:
    leaves = jax.tree.leaves(x)
    value, pullback = jax.vjp(f, x)
    tree = jax.tree.structure(value)

    def row(place: int) -> list[jax.Array]:
        out, colours, patterns = outs[place], plan.colours[place], plan.patterns[place]
        if all(p is None for p in patterns) or not out.size:
            return [jnp.zeros((*out.shape, *leaf.shape), leaf.dtype) for leaf in leaves]

        def pull(seed: jax.Array) -> list[jax.Array]:
            zeros = [jnp.zeros(o.shape, o.dtype) for o in outs]
            cotangents = [*zeros[:place], seed, *zeros[place + 1 :]]
            return jax.tree.leaves(pullback(jax.tree.unflatten(tree, cotangents))[0])

        seeds = _seeds(plan.row_parts(place, out.shape), colours, out.dtype)
        products = jax.vmap(pull)(seeds.reshape(-1, *out.shape))
        return [
            _unpacked(packed, pattern, colours, by="row").reshape(*out.shape, *leaf.shape)
            if pattern is not None
            else jnp.zeros((*out.shape, *leaf.shape), leaf.dtype)
            for packed, pattern, leaf in zip(products, patterns, leaves, strict=True)
        ]

    return [row(place) for place in range(len(outs))]


def _seeds(sizes: Sequence[int], colours: Sequence[int], dtype: jnp.dtype) -> Float[Array, "..."]:
    """[*colours, *sizes]: one where each position's colour is that of the seed."""
    seeds = jnp.ones((), bool)
    count = len(sizes)
    for k, (size, colour) in enumerate(zip(sizes, colours, strict=True)):
        shape = [1] * (2 * count)
        shape[k], shape[count + k] = colour, size
        same = lax.broadcasted_iota(int, (colour, size), 1) % colour == lax.broadcasted_iota(
            int, (colour, size), 0
        )
        seeds = seeds & same.reshape(shape)
    return seeds.astype(dtype)


def _unpacked(
    packed: jax.Array, pattern: Pattern, colours: Sequence[int], *, by: Literal["column", "row"]
) -> jax.Array:
    """[*rows, *columns] from products that hold several columns (or rows) each.

    The products stand last for columns, [*out, product], and first for rows, [product, *in].
    """
    at = len(pattern.rows)
    if by == "column":
        packed = packed.reshape(*pattern.rows, *colours)
    elif len(colours) == at:
        packed = packed.reshape(*colours, *pattern.columns)
    else:
        return packed
    for band in pattern.bands:
        axis, size = (
            (at + band.column, pattern.columns[band.column])
            if by == "column"
            else (band.row, pattern.rows[band.row])
        )
        if packed.shape[axis] < size:
            packed = _spread(packed, axis, size)
            offset = lax.broadcasted_iota(int, packed.shape, at + band.column)
            offset -= lax.broadcasted_iota(int, packed.shape, band.row)
            packed = jnp.where((band.low <= offset) & (offset <= band.high), packed, 0)
    return packed


def _spread(packed: jax.Array, axis: int, size: int) -> jax.Array:
    """Position j along the axis is what stood at j mod its length."""
    repeats = [1] * packed.ndim
    repeats[axis] = -(-size // packed.shape[axis])
    return lax.slice_in_dim(jnp.tile(packed, repeats), 0, size, axis=axis)


def _through(cut: Cut, x: PyTree, out: Any) -> Blocks:
    """∂after/∂passing · ∂passing/∂x: rows before the cut, columns after it."""

    def before(x: PyTree) -> tuple[list[jax.Array], tuple[list[jax.Array], list[jax.Array]]]:
        passed, others = cut.before(x)
        return passed, (passed, others)

    first, (passed, others) = jax.jacrev(before, has_aux=True)(x)
    second = out.flatten_up_to(jax.jacfwd(cut.after)(passed, others))
    rows = [jax.tree.leaves(row) for row in first]
    return [
        [
            functools.reduce(
                jnp.add,
                [
                    jnp.tensordot(to_out, row[k].astype(to_out.dtype), axes=middle.ndim)
                    for to_out, row, middle in zip(outs, rows, passed, strict=True)
                ],
            )
            for k in range(len(jax.tree.leaves(x)))
        ]
        for outs in second
    ]
