"""What all commands share: tables for people, JSON for machines."""

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from typing import Any

import click
import numpy as np
from rich.console import Console

#: The option that every command has.
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def show(*things: Any) -> None:
    """Print rich's tables and texts; as wide as they need where the output is no terminal."""
    console = Console(soft_wrap=False, highlight=False)
    if not console.is_terminal:
        console = Console(width=max(160, shutil.get_terminal_size().columns), highlight=False)
    for thing in things:
        console.print(thing)


def say(text: str = "") -> None:
    """Print a line as it is."""
    click.echo(text)


def dump(value: Any) -> None:
    """Print JSON; what is not a finite number becomes null."""
    click.echo(json.dumps(plain(value), indent=1, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Dataclasses, named tuples, arrays and scalars as what JSON has.

    Example:
      >>> plain({"a": np.float32(0.5), "b": (1, math.inf)})
      {'a': 0.5, 'b': [1, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}  # pyright: ignore
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
