"""Live progress of a sweep: a bar in a terminal, plain lines elsewhere; always on stderr."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars

from jgrad.sweeps import Progress

#: Seconds between two plain lines about the same program.
QUIET = 10.0


@contextlib.contextmanager
def live(console: Console | None = None) -> Iterator[Callable[[Progress], None]]:
    """A function to hand to `sweeps.compare` as `progress`."""
    console = console or Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain(console)
        return
    columns = (
        TextColumn("{task.description}", justify="left"),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[told]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("loading", total=1.0, told="")

        def tell(progress: Progress) -> None:
            bars.update(
                task,
                description=doing(progress),
                total=progress.programs,
                completed=progress.index + progress.step / progress.steps,
                told=_times(progress),
            )

        yield tell


def doing(progress: Progress) -> str:
    """What is going on, in a few words."""
    program = f"{progress.program} ({progress.index + 1} of at most {progress.programs})"
    match progress.stage:
        case "compile":
            return f"compiling {program}"
        case "resume":
            return f"found {program}"
    return f"training {program}: {progress.points} at once, step {progress.step}/{progress.steps}"


def _plain(console: Console) -> Callable[[Progress], None]:
    told = {"at": -QUIET, "what": ("", "")}

    def tell(progress: Progress) -> None:
        what, now = (progress.program, progress.stage), time.monotonic()
        if what != told["what"] or now - told["at"] >= QUIET:
            told.update(at=now, what=what)
            console.print(f"{doing(progress)}, {_times(progress)}", soft_wrap=True)

    return tell


def _times(progress: Progress) -> str:
    passed = f"{progress.elapsed:.0f} s"
    return (
        passed if progress.remaining is None else f"{passed}, about {progress.remaining:.0f} s left"
    )
