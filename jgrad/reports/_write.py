"""The page as a file, written whole or not at all."""

from pathlib import Path

import xarray as xr

from jgrad import results

from ._page import page
from ._summary import summarise


def write(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write the report of a sweep as one HTML file that needs nothing else; its path comes back.

    Raises:
      ValueError: the dataset is not a sweep's; nothing is written.
    """
    text = page(summarise(dataset))
    path = Path(path)
    with results.replacing(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
