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


def has_modules(args: Sequence[Any]) -> bool:
    """Whether arguments are or hold Flax NNX modules, or other objects with variables."""
    return any(map(_is_module, jax.tree.leaves(args, is_leaf=_is_module)))


def _is_module(x: Any) -> bool:
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(x, nnx.Pytree)  # nnx.Rngs and metrics are no nnx.Module


class Split(NamedTuple):
    """A call with NNX modules, as a call of a pure function.

    Attributes:
      loss: `loss(states, *args) -> (value, (aux, states))`, where in place of a module
        stand its parameters (an `nnx.State`), and states are what it left in the modules that was
        not in them.
      args: the arguments in this form.
      states: what is in the modules besides.
      update: writes the states back into the modules, as `nnx.value_and_grad` does.
    """

    loss: Callable[..., Any]
    args: tuple[Any, ...]
    states: Any
    update: Callable[[Any], None]


def split(loss: Callable[..., Any], args: Sequence[Any], has_aux: bool) -> Split:
    """The call `loss(*args)`, some of whose arguments are NNX modules, as a pure one."""
    from flax import nnx

    leaves, structure = jax.tree.flatten(tuple(args), is_leaf=_is_module)
    places = [k for k, leaf in enumerate(leaves) if _is_module(leaf)]
    modules = [leaves[k] for k in places]
    # Together, since they may share variables: these are the first one's.
    graphdef, params, states = nnx.split(modules, nnx.Param, ...)
    for i, k in enumerate(places):
        leaves[k] = params.get(i, nnx.State({}))

    def pure(states, *args):
        full = structure.flatten_up_to(args)
        params = nnx.State({i: full[k] for i, k in enumerate(places)})
        given = {id(x) for x in jax.tree.leaves((params, states))}
        merged = nnx.merge(graphdef, params, states)
        for k, module in zip(places, merged, strict=True):
            full[k] = module
        with _named(merged):
            out = loss(*jax.tree.unflatten(structure, full))
        value, aux = out if has_aux else (out, None)

        def is_new(_: Any, variable: Any) -> bool:
            return not {id(x) for x in jax.tree.leaves(variable)} <= given

        return value, (aux, nnx.state(merged, is_new))

    pure_args = jax.tree.unflatten(structure, leaves)
    return Split(pure, pure_args, states, lambda states: nnx.update(modules, states))


def pure_call(
    fn: Callable[..., Any], args: Sequence[Any]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The call `fn(*args)` as one of a pure function, and its arguments.

    An NNX module's argument is then its parameters, an `nnx.State`; what it holds besides is as it
    is now, and stays so.
    """
    _checks.function(fn, "what is called")
    if not has_modules(args):
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
