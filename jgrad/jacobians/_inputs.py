"""What is asked of the functions and arrays that come in, and the errors that say so."""

import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jgrad import _trees
from jgrad._types import PyTree


def as_arrays(x: PyTree, what: str = "x") -> PyTree:
    """`x` with every leaf an array of real floats.

    Raises:
      TypeError: a leaf is of another kind; quotes its path, dtype and shape.
      ValueError: there is no leaf.
    """
    if not jax.tree.leaves(x):
        msg = f"{what} holds no array: {x!r}; wanted an array or a pytree of arrays"
        raise ValueError(msg)
    for path, leaf in zip(_trees.paths(x), jax.tree.leaves(x), strict=True):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None:
            dtype = jnp.result_type(leaf) if isinstance(leaf, int | float | complex) else None
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            name = f"{what}[{path}]" if path else what
            given = type(leaf).__name__ if dtype is None else f"{dtype}{list(jnp.shape(leaf))}"
            counts = dtype is not None and jnp.issubdtype(dtype, jnp.integer)
            hint = ", as x.astype(float) gives" if counts else ""
            msg = f"{name} is {given}; a derivative wants real floats{hint}"
            raise TypeError(msg)
    return jax.tree.map(jnp.asarray, x)


def shapes(tree: PyTree) -> str:
    """The shapes of a pytree's leaves, for a message.

    Example:
      >>> shapes({"a": jnp.zeros((2, 3)), "b": jnp.zeros(4)})
      '(2, 3), (4,)'
    """
    return ", ".join(str(tuple(leaf.shape)) for leaf in jax.tree.leaves(tree))


def batch_axis(x: PyTree, what: str = "x") -> int:
    """The length of the leading axis, which all leaves share.

    Raises:
      ValueError: a leaf has no axis, or the leading axes differ; quotes the shapes.
    """
    leaves = jax.tree.leaves(x)
    if any(not leaf.shape for leaf in leaves) or len({leaf.shape[0] for leaf in leaves}) > 1:
        msg = (
            f"{what} has the shapes {shapes(x)}; wanted a batch: one leading axis, of one length "
            f"in all leaves (a single example goes in as {what}[None])"
        )
        raise ValueError(msg)
    return leaves[0].shape[0]


def one_example(x: PyTree) -> PyTree:
    """Shape and dtype of one example of the batch `x`, whose leaves are [batch, ...]."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x)


def as_structs(x: PyTree) -> PyTree:
    """Shape and dtype of every leaf."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), x)


def output_of(
    f: Callable[..., PyTree], *example: PyTree, batched: bool = True, what: str = "f"
) -> PyTree:
    """Shape and dtype of `f(*example)`, traced and not run; `what` is f's name in a message.

    Raises:
      ValueError: f fails on arrays of these shapes, or returns nothing; quotes the shapes.
      TypeError: f is no function, or returns something that has no derivative, such as integers.
    """
    if not callable(f):
        msg = f"{what} is {f!r}; wanted a function"
        raise TypeError(msg)
    try:
        out = jax.eval_shape(f, *example)
    except (TypeError, ValueError, IndexError, AssertionError) as error:
        if batched:
            msg = (
                f"{what} fails on one example of shape {shapes(example)}, which is what is left of "
                f"the input without its leading axis; wanted a batch [batch, *in] and a function "
                "of one example [*in] (a single example goes in as x[None]; where f takes the "
                f"whole batch and couples its examples, jacobian has batched=False). It said: "
                f"{error}"
            )
        else:
            msg = f"{what} fails on the input of shape {shapes(example)}. It said: {error}"
        raise ValueError(msg) from error
    leaves = jax.tree.leaves(out)
    if not leaves:
        msg = f"{what} returns no array but {out!r}: there is nothing to differentiate"
        raise ValueError(msg)
    for path, leaf in zip(_trees.paths(out), leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            name = f"{what}'s output [{path}]" if path else f"{what}'s output"
            msg = (
                f"{name} is {leaf.dtype}{list(leaf.shape)}: {what} is not differentiable there; "
                "wanted real floats"
            )
            raise TypeError(msg)
    return out


def whole(name: str, value: object) -> int:
    """`value`, where it is a whole number.

    Raises:
      TypeError: it is none; quotes it.
    """
    try:
        return operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError as error:
        msg = f"{name} is {value!r}; wanted a whole number"
        raise TypeError(msg) from error


def wide_dtype(tree: PyTree) -> jnp.dtype:
    """The dtype that spectra and sums over `tree`'s leaves are computed in: float32 or better."""
    wide = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(tree))
    return jnp.dtype(jnp.float64 if wide else jnp.float32)


def flattened(tree: PyTree) -> tuple[Float[Array, " n"], Callable[[jax.Array], PyTree]]:
    """All numbers as one vector, in `wide_dtype`, and the way back to each leaf's own dtype."""
    wide = wide_dtype(tree)
    flat, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf.astype(wide), tree))
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, tree)
    return flat, lambda flat: jax.tree.map(lambda a, dtype: a.astype(dtype), unravel(flat), dtypes)


def count(tree: PyTree) -> int:
    """How many numbers a pytree of arrays holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
