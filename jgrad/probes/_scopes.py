"""Naming scopes during a trace, for frameworks whose jaxprs carry no module paths."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax


@contextlib.contextmanager
def scoped(classes: Iterable[type], path_of: Callable[[Any], str | None]) -> Iterator[None]:
    """While it lasts, calls of instances of the classes run in `jax.named_scope(their path)`.

    Args:
      classes: whose `__call__` is wrapped; put back at the end.
      path_of: an instance's path, with the paths of those that hold it in front; None for none.
    """
    enclosing: list[str] = []
    with contextlib.ExitStack() as stack:
        for cls in classes:
            call = cls.__call__
            own = "__call__" in vars(cls)
            cls.__call__ = _wrapped(call, path_of, enclosing)
            stack.callback(_put_back, cls, call, own)
        yield


def _put_back(cls: type, call: Callable[..., Any], own: bool) -> None:
    if own:
        cls.__call__ = call
    else:
        del cls.__call__


def _wrapped(
    call: Callable[..., Any], path_of: Callable[[Any], str | None], enclosing: list[str]
) -> Callable[..., Any]:
    @functools.wraps(call)
    def in_scope(self, *args, **kwargs):
        path = path_of(self)
        if path is None:
            return call(self, *args, **kwargs)
        # Scopes nest of themselves: only what the enclosing one has not said is added.
        outer = enclosing[-1] if enclosing else ""
        inside = outer and path.startswith(f"{outer}/")
        enclosing.append(path)
        try:
            with jax.named_scope(path[len(outer) + 1 :] if inside else path):
                return call(self, *args, **kwargs)
        finally:
            enclosing.pop()

    return in_scope


@contextlib.contextmanager
def class_names(args: Any) -> Iterator[None]:
    """While it lasts, Equinox modules among the arguments are called in scopes of their classes."""
    equinox = sys.modules.get("equinox")
    if equinox is None:
        yield
        return
    classes: set[type] = set()
    pending = jax.tree.leaves(args, is_leaf=lambda x: isinstance(x, equinox.Module))
    while pending:
        part = pending.pop()
        if isinstance(part, equinox.Module):
            classes.add(type(part))
            pending += jax.tree.leaves(
                list(vars(part).values()), is_leaf=lambda x: isinstance(x, equinox.Module)
            )
    named = {cls for cls in classes if hasattr(cls, _CALL) and not _names_itself(cls)}
    with scoped(named, _class_name):
        yield


def _names_itself(cls: type) -> bool:
    """Whether it is one of Equinox's own layers, which run in scopes such as "eqx.nn.Linear"."""
    return cls.__module__.startswith("equinox.nn.") and hasattr(cls.__call__, "__wrapped__")


_CALL = "__call__"


def _class_name(part: Any) -> str:
    return type(part).__name__
