"""A call that can be made and can be written down.

A chain is printed as the optax expression that it stands for. That the text and the transformation
agree is no promise to keep by hand: both come from the same `Call`.
"""

import dataclasses
import functools
import importlib
from collections.abc import Mapping
from typing import Any


class Code(str):
    """Text that is printed as it stands: a dotted name, or a number that is not known yet."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclasses.dataclass(frozen=True)
class Call:
    """A function's name and its arguments, which may be calls themselves, or lists of them.

    Attributes:
      function: its dotted name, from the package on.
      args: positional arguments.
      keywords: keyword arguments.
      method: a method of the result, without arguments, that gives what is wanted; "" for none.

    Example:
      >>> call = Call("optax.chain", (Call("optax.clip", (0.5,)), Call("optax.sgd", (0.1,))))
      >>> print(call)
      optax.chain(optax.clip(0.5), optax.sgd(0.1))
      >>> type(call.made()).__name__
      'GradientTransformationExtraArgs'
    """

    function: str
    args: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    method: str = ""

    def made(self) -> Any:
        """What the call returns."""
        result = named(self.function)(
            *map(_made, self.args), **{name: _made(value) for name, value in self.keywords.items()}
        )
        return getattr(result, self.method)() if self.method else result

    def __str__(self) -> str:
        given = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.keywords.items())]
        method = f".{self.method}()" if self.method else ""
        return f"{self.function}({', '.join(given)}){method}"

    __repr__ = __str__


def in_layers(call: Call, stacked: str) -> Call:
    """The call for every layer of the stacks whose paths match; itself where no pattern is given.

    Example:
      >>> print(in_layers(Call("optax.adaptive_grad_clip", (0.01,)), "layers/*"))
      jgrad.optim.per_layer(optax.adaptive_grad_clip(0.01), 'layers/*')
    """
    return Call("jgrad.optim.per_layer", (call, stacked)) if stacked else call


def named(function: str) -> Any:
    """What a dotted name such as "optax.contrib.schedule_free_sgd" stands for."""
    package, *path = function.split(".")
    return functools.reduce(getattr, path, importlib.import_module(package))


def _made(argument: Any) -> Any:
    if isinstance(argument, list):
        return [_made(entry) for entry in argument]
    if isinstance(argument, Code):
        return named(argument)
    return argument.made() if isinstance(argument, Call) else argument
