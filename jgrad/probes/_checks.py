"""What is wrong with what the caller gave, said before anything is traced.

Every check takes an object as it came; it quotes it, and says what is wanted.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ._measures import MEASURES, VIEWS, Measure, choose
from ._sums import Apart, Squares, Units


def function(given: object, what: str) -> None:
    """Nothing, if it can be called.

    Raises:
      TypeError: it cannot; a loss's value in place of the loss is the usual slip.
    """
    if not callable(given):
        msg = f"{what} must be a function, got {quoted(given)}"
        raise TypeError(msg)


def flag(given: object, name: str) -> None:
    """Nothing, if it is True or False."""
    if not isinstance(given, bool):
        msg = f"{name}={given!r}, wanted True or False"
        raise TypeError(msg)


def one_of(name: str, given: object, wanted: Sequence[str]) -> None:
    """Nothing, if it is one of the words wanted."""
    if given not in wanted:
        msg = f"{name}={given!r}, wanted {' or '.join(map(repr, wanted))}"
        raise ValueError(msg)


def every(given: object) -> None:
    """Nothing, if it is None or a number of steps.

    Raises:
      TypeError: it is no whole number.
      ValueError: it is below 1.
    """
    if given is None:
        return
    if not _is_integer(given):
        msg = f"every={given!r}, wanted a whole number of steps, or None"
        raise TypeError(msg)
    if given < 1:
        msg = f"every={given}, wanted a number of steps, at least 1"
        raise ValueError(msg)


def step(given: object) -> None:
    """Nothing, if it can be a training step's number: the argument that is forgotten."""
    try:
        dtype, shape = jnp.result_type(given), jnp.shape(given)  # pyright: ignore
    except TypeError:
        dtype, shape = None, None
    if dtype is None or shape != () or not jnp.issubdtype(dtype, jnp.integer):
        msg = (
            "with every=n the training step's number, an integer, comes before the loss's "
            f"arguments; got {quoted(given)}"
        )
        raise TypeError(msg)


def positions(argnums: object, count: int) -> tuple[int, ...]:
    """The arguments to differentiate, counted from the front.

    Raises:
      TypeError: argnums is no integer and no sequence of integers.
      ValueError: there is no such argument; one is named twice, or none is.
    """
    given = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    nums = tuple(k for k in given if _is_integer(k))
    if isinstance(argnums, str) or len(nums) < len(given):
        msg = f"argnums={argnums!r}, wanted an integer or a sequence of integers"
        raise TypeError(msg)
    for k in nums:
        if not -count <= k < count:
            msg = f"argnums={argnums} for a call with {count} arguments"
            raise ValueError(msg)
    counted = tuple(k % count for k in nums)
    if not counted or len(set(counted)) < len(counted):
        msg = f"argnums={argnums}, wanted one argument or several, each once"
        raise ValueError(msg)
    return counted


def arrays(args: Sequence[Any]) -> None:
    """Nothing, if all leaves of the arguments are arrays or numbers.

    Raises:
      TypeError: one is something else, such as an Equinox module's activation.
    """
    for k, arg in enumerate(args):
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg):
            if hasattr(leaf, "dtype") or isinstance(leaf, bool | int | float | complex):
                continue
            if hasattr(leaf, "__jax_array__"):
                continue
            at = jax.tree_util.keystr(path, simple=True, separator="/")
            msg = (
                f"arguments hold arrays and numbers; argument {k}{' at ' + at if at else ''} is "
                f"{quoted(leaf)}. What is none of these belongs into the function: "
                "functools.partial, or equinox.partition and combine for a module"
            )
            raise TypeError(msg)


def differentiable(args: Sequence[Any], nums: Sequence[int]) -> None:
    """Nothing, if the arguments at these positions hold real or complex numbers alone.

    Raises:
      TypeError: one holds integers.
    """
    for k in nums:
        for leaf in jax.tree.leaves(args[k]):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
                msg = (
                    f"gradients are with respect to real or complex numbers; argument {k} holds "
                    f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}. argnums says which to take"
                )
                raise TypeError(msg)


def concrete(name: str, args: Any) -> None:
    """Nothing, if all arguments are numbers, and not traced.

    Raises:
      ValueError: one is traced.
    """
    traced = [leaf for leaf in jax.tree.leaves(args) if isinstance(leaf, Tracer)]
    if traced:
        msg = f"{name} looks at numbers and got {traced[0]}; call it outside jit, vmap and grad"
        raise ValueError(msg)


def measures(given: object) -> tuple[Measure, ...]:
    """The measures asked for: rows of the table, and the caller's own.

    Raises:
      TypeError: it is neither a name nor a collection of names and measures, or a measure of the
        caller's own does not give an array of z's shape for each name.
      ValueError: such a measure looks at something that is neither forward nor backward; a name
        that is not in the table.
    """
    if isinstance(given, Measure) or not isinstance(given, Iterable):
        msg = (
            f'measures={given!r}, wanted "default", "all", or a collection of names and of '
            "probes.Measure"
        )
        raise TypeError(msg)
    rows = (given,) if isinstance(given, str) else tuple(given)
    for row in rows:
        if not isinstance(row, str | Measure):
            msg = f"measures holds {quoted(row)}, wanted names and probes.Measure"
            raise TypeError(msg)
        if isinstance(row, Measure) and row not in MEASURES.values():
            _measure(row)
    return choose(rows)


def _measure(row: Measure) -> None:
    if row.on not in VIEWS:
        msg = f"a measure on={row.on!r}, wanted 'forward' or 'backward'"
        raise ValueError(msg)
    z = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    out = jax.eval_shape(lambda x: row.terms(VIEWS[row.on](x)), z)
    if not isinstance(out, Mapping):
        msg = f"a measure's terms must be a mapping from names to arrays, got {quoted(out)}"
        raise TypeError(msg)
    for name, term in out.items():
        while isinstance(term, Apart | Squares | Units):
            term = term[0]
        if getattr(term, "shape", None) != z.shape:
            msg = (
                f"a measure's {name!r} must be an array of z's shape, which is summed afterwards; "
                f"for z of shape {list(z.shape)} got {quoted(term)}"
            )
            raise TypeError(msg)
    if not isinstance(row.order, int) and out.keys() - row.order.keys():
        msg = f"a measure's order={dict(row.order)} lacks some of its sums {list(out)}"
        raise ValueError(msg)


def _is_integer(x: object) -> TypeGuard[int]:
    return hasattr(x, "__index__") and not isinstance(x, bool)


def quoted(given: object) -> str:
    """It as an error message shows it: an array by its dtype and shape."""
    if hasattr(given, "dtype") and hasattr(given, "shape"):
        return f"{given.dtype}{list(given.shape)}"  # pyright: ignore
    text = repr(given)
    return text if len(text) <= 60 else f"of type {type(given).__name__}"
