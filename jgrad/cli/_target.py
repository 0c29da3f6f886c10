"""The user's own function, found by what was typed: `module:name` or `file.py:name`."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jgrad._names import unknown


def find(target: str) -> Callable[..., Any]:
    """The function that `module:name` or `path/file.py:name` names.

    Modules are looked for from the current folder on, as `python -m` does.

    Raises:
      ValueError: it is not of that form, there is no such module or file, or no such function in
        it. An error in the module itself is passed on as it is.
    """
    where, colon, name = target.rpartition(":")
    if not colon or not where or not name:
        msg = f"{target!r}: a function is wanted as module:function or file.py:function"
        raise ValueError(msg)
    module = _from_file(Path(where)) if where.endswith(".py") else _from_name(where)
    if not hasattr(module, name):
        functions = [n for n, f in vars(module).items() if callable(f) and not n.startswith("_")]
        msg = unknown(f"function in {where}", name, functions)
        raise ValueError(msg)
    found = getattr(module, name)
    if not callable(found):
        msg = f"{target}: a function is wanted, got {found!r:.60}"
        raise ValueError(msg)
    return found


def made(make: Callable[..., Any], target: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The loss and its arguments that a factory gives.

    Raises:
      ValueError: it wants arguments, or what it returns is not (loss, params, ...).
    """
    wanted = [
        name
        for name, p in inspect.signature(make).parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if wanted:
        msg = (
            f"{target} wants arguments ({', '.join(wanted)}): give them in a file, --data FILE.npz,"
            " or name a function without arguments that returns (loss, params, batch)"
        )
        raise ValueError(msg)
    result = make()
    if not isinstance(result, tuple) or len(result) < 2 or not callable(result[0]):
        got = type(result).__name__
        if isinstance(result, tuple):
            got += f" of ({', '.join(type(part).__name__ for part in result)})"
        msg = f"{target} must return a tuple (loss, params, batch), got {got}"
        raise ValueError(msg)
    loss, args = result[0], result[1:]
    try:
        inspect.signature(loss).bind(*args)
    except TypeError as error:
        msg = f"{target} returned a loss and {len(args)} arguments, which do not fit it: {error}"
        raise ValueError(msg) from error
    return loss, args


def arguments(loss: Callable[..., Any], file: Path) -> tuple[Any, ...]:
    """A loss's arguments out of a `.npz`, by name; "params/dense/kernel" is a leaf of `params`.

    Raises:
      ValueError: the file is not a `.npz` of plain arrays, or lacks an argument of the loss.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, TypeError, AttributeError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        msg = f"{file}: not a .npz of plain arrays"
        raise ValueError(msg) from error
    tree: dict[str, Any] = {}
    for path, array in arrays.items():
        *folders, leaf = path.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
            if not isinstance(at, dict):
                msg = f"{file}: {path!r} is within {folder!r}, which is an array itself"
                raise ValueError(msg)
        at[leaf] = jnp.asarray(array)
    wanted = inspect.signature(loss).parameters
    if not wanted:
        msg = (
            f"--data holds a loss's arguments, and {loss.__name__} takes none; a function that "
            "returns (loss, params, batch) is named without --data"
        )
        raise ValueError(msg)
    missing = [n for n, p in wanted.items() if n not in tree and p.default is p.empty]
    if missing:
        msg = (
            f"{file}: no array for the argument {missing[0]!r} of {loss.__name__}; it holds "
            f"{', '.join(sorted(tree)) or 'nothing'}"
        )
        raise ValueError(msg)
    return tuple(tree[name] for name in wanted if name in tree)


def _from_name(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only if it is the module asked for, or its parent, that is not there.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        msg = f"no module {name!r} can be imported from here"
        raise ValueError(msg) from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        msg = f"{path}: no such file"
        raise ValueError(msg)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module
