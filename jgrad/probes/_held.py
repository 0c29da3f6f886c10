"""What a trace cannot take, in a call's arguments and results, held aside while it is traced."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax


class Held(NamedTuple):
    """A call as one of arrays and floats.

    Attributes:
      fn: the function of these; what else it returns is None.
      args: the arguments, None where they hold anything else: a flag, a count, a name, a function.
      restore: puts what fn returned besides, when it was last run, back into its result.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    restore: Callable[[Any], Any]


def hold(fn: Callable[..., Any], args: Sequence[Any]) -> Held:
    """The call `fn(*args)`, what is no array and no float held as it is.

    So a flag may be asked for, a count may be that of a loop, and results may have names, as in
    functions that `jax.grad` takes.
    """
    given, returned = tuple(args), None

    def of_arrays(*arrays: Any) -> Any:
        nonlocal returned
        out = fn(*_filled(arrays, given))
        returned = _only(lambda leaf: not (_is_array(leaf) or isinstance(leaf, int)), out)
        return jax.tree.map(lambda leaf, other: leaf if other is None else None, out, returned)

    return Held(of_arrays, _only(_is_array, given), lambda out: _filled(out, returned))


def _is_array(leaf: Any) -> bool:
    return (
        hasattr(leaf, "dtype")
        or hasattr(leaf, "__jax_array__")
        or isinstance(leaf, float | complex)
    )


def _only(chosen: Callable[[Any], bool], tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf if chosen(leaf) else None, tree)


def _filled(tree: Any, rest: Any) -> Any:
    return jax.tree.map(
        lambda leaf, other: other if leaf is None else leaf, tree, rest, is_leaf=lambda x: x is None
    )
