"""Flax NNX modules among the arguments: split before tracing, named during it, updated after it.

The one file here that imports flax, and only when it is handed a module of it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from . import _checks
from ._scopes import scoped


def is_module(x: Any) -> bool:
    """Whether x is a Flax NNX module."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(x, nnx.Module)


class Split(NamedTuple):
    """A call with NNX modules, as a call of a pure function.

    Attributes:
      loss: `loss(states, *args) -> (value, (aux, states))`, where a module's argument is its
        parameters (an `nnx.State`), and states are all that is in the modules besides.
      args: the arguments in this form.
      states: the modules' other states.
      update: writes the states back into the modules, as `nnx.value_and_grad` does.
    """

    loss: Callable[..., Any]
    args: tuple[Any, ...]
    states: tuple[Any, ...]
    update: Callable[[tuple[Any, ...]], None]


def split(loss: Callable[..., Any], args: Sequence[Any], has_aux: bool) -> Split:
    """The call `loss(*args)`, some of whose arguments are NNX modules, as a pure one."""
    from flax import nnx

    places = [k for k, arg in enumerate(args) if is_module(arg)]
    graphdefs, states, pure_args = {}, [], list(args)
    for k in places:
        graphdefs[k], pure_args[k], rest = nnx.split(args[k], nnx.Param, ...)
        states.append(rest)

    def pure(states, *args):
        full = list(args)
        for k, rest in zip(places, states, strict=True):
            full[k] = nnx.merge(graphdefs[k], args[k], rest)
        with _named([full[k] for k in places]):
            out = loss(*full)
        value, aux = out if has_aux else (out, None)
        after = tuple(nnx.state(full[k], nnx.Not(nnx.Param)) for k in places)
        return value, (aux, after)

    def update(states):
        for k, state in zip(places, states, strict=True):
            nnx.update(args[k], state)

    return Split(pure, tuple(pure_args), tuple(states), update)


def pure_call(
    fn: Callable[..., Any], args: Sequence[Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The call `fn(*args)` as one of a pure function, and its arguments.

    An NNX module's argument is then its parameters, an `nnx.State`; what it holds besides is as it
    is now, and stays so.
    """
    _checks.function(fn, "what is called")
    if not any(map(is_module, args)):
        return fn, tuple(args)
    parts = split(fn, args, has_aux=False)

    def pure(*args):
        # Fresh variables on every call: the model writes to those it is merged from.
        return parts.loss(jax.tree.map(lambda x: x, parts.states), *args)[0]

    return pure, parts.args


@contextlib.contextmanager
def _named(modules: Sequence[Any]) -> Iterator[None]:
    """While it lasts, the modules' parts are called in scopes of their attribute paths.

    A part that was made on the way, as a scan over stacked layers makes each of them, has the name
    of its class.
    """
    from flax import nnx

    paths: dict[int, str] = {}
    classes: set[type] = set()
    for module in modules:
        for path, part in nnx.iter_modules(module):
            paths[id(part)] = "/".join(map(str, (type(module).__name__, *path)))
            classes.add(type(part))
    with scoped(classes, lambda part: paths.get(id(part), type(part).__name__)):
        yield
