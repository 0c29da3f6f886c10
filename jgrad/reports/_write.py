"""Files: the page and the plots, written whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import xarray as xr

from ._page import page
from ._summary import summarise


def write(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write the report of a sweep as one HTML file that needs nothing else; its path comes back.

    Raises:
      ValueError: the dataset is not a sweep's; nothing is written.
    """
    text = page(summarise(dataset))
    return replacing(path, lambda part: part.write_text(text, encoding="utf-8"))


def replacing(path: str | Path, make: Callable[[Path], object]) -> Path:
    """The file at `path`, made beside it under another name and renamed when it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part-{path.name}")
    try:
        make(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
