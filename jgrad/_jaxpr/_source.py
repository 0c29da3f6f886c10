"""Where in the user's own code an equation was made."""

import functools
import os
import sys
import sysconfig
from typing import Any

# Frames of these packages are machinery between the user's line and the equation.
_MACHINERY = (
    "jax",
    "jaxlib",
    "flax",
    "haiku",
    "equinox",
    "optax",
    "jaxtyping",
    "beartype",
    "jgrad",
)


@functools.cache
def _folder(package: str) -> str | None:
    module = sys.modules.get(package)
    where = getattr(module, "__path__", None)
    return os.path.join(next(iter(where)), "") if where else None


def _machinery() -> tuple[str, ...]:
    folders = [_folder(package) for package in _MACHINERY if package in sys.modules]
    return tuple(folder for folder in folders if folder)


_LIBRARY = os.path.join(sysconfig.get_paths()["stdlib"], "")


def user_frame(traceback: Any, within: str | None = None) -> str:
    """Where the innermost frame of the user's own is: "file.py:12 function"; "" if there is none.

    Args:
      traceback: an equation's, innermost frame first.
      within: a function's name; frames outside of it do not count. A jitted function is traced
        once, so that what lies outside of it belongs to its first caller only.
    """
    if traceback is None:
        return ""
    skipped = _machinery()
    for frame in traceback.frames:
        path = frame.file_name
        function = frame.function_name.rpartition(".")[2]
        mine = not path.startswith(skipped)
        if mine and (not path.startswith(_LIBRARY) or "site-packages" in path):
            return f"{os.path.basename(path)}:{frame.line_num} {function}"
        if function == within:
            return ""
    return ""
