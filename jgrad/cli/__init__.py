"""The command line: `jgrad activations | theory | probe | compare | diagnose | report`."""

import importlib.util
import linecache
import os
import sys
from collections.abc import Sequence
from pathlib import Path

#: What the command line and the lab below it import.
_LAB = ("click", "rich", "matplotlib", "xarray", "h5netcdf", "sklearn", "pandas")

_OURS = str(Path(__file__).parents[1]) + os.sep


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status.

    0: done. 2: what was asked for cannot be done, one line on stderr says why. 130: interrupted.
    Whatever nobody foresaw keeps its traceback.
    """
    try:
        _run(arguments)
    except KeyboardInterrupt:
        _leave(130, "interrupted")
    except BrokenPipeError:
        # Whoever read the output has seen enough; the flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        _leave(2, f"{error.filename}: {error.strerror}")
    except (ValueError, TypeError) as error:
        if not _raised_by_jgrad(error):
            raise
        _leave(2, str(error))


def _run(arguments: Sequence[str] | None) -> None:
    """The command itself; click's own ways of ending become exit statuses."""
    absent = [name for name in _LAB if importlib.util.find_spec(name) is None]
    if absent:
        _leave(2, f"the command line needs {', '.join(absent)}: pip install 'jgrad[lab]'")
    import click

    from ._commands import jgrad

    try:
        jgrad.main(arguments, prog_name="jgrad", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except click.ClickException as error:
        _leave(2, error.format_message())
    except click.Abort as end:
        raise KeyboardInterrupt from end


def _raised_by_jgrad(error: BaseException) -> bool:
    """The error is one that jgrad's own code states, rather than one that befell it."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    if at is None:
        return False
    name = at.tb_frame.f_code.co_filename
    return name.startswith(_OURS) and linecache.getline(name, at.tb_lineno).strip().startswith(
        "raise "
    )


def _leave(status: int, message: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"jgrad: {' '.join(message.split())}\n")
    sys.exit(status)
