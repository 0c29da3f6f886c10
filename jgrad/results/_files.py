"""Datasets on the disk: saved whole or not at all, found again by a later run."""

import contextlib
import dataclasses
import datetime
import errno
import io
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import xarray as xr

from jgrad import __version__

from ._schema import upgraded


def provenance() -> dict[str, str]:
    """What the numbers may depend on beside the configuration: versions, device, command, time."""
    device = jax.devices()[0]
    return {
        **software(),
        "python": platform.python_version(),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
        "machine": platform.machine(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def software() -> dict[str, str]:
    """The versions of what computes."""
    others = {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
    return {"jgrad": __version__, **others}


def save(dataset: xr.Dataset, path: str | Path) -> None:
    """Write `dataset` as NetCDF 4, whole or not at all.

    It is written beside `path` under another name, flushed to the disk and renamed.

    Raises:
      OSError: the disk is full or not writable; what was at `path` is still there.
    """
    # Through memory: a process in which HDF5 met a full disk does not end well.
    whole = io.BytesIO()
    dataset.to_netcdf(whole, engine="h5netcdf")
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(whole.getvalue())


def load(path: str | Path) -> xr.Dataset:
    """The dataset at `path`, read whole (the file is closed again).

    Raises:
      ValueError: no such file, no NetCDF file, or one of another schema.
    """
    try:
        with xr.open_dataset(path, engine="h5netcdf") as file:
            # Kept encodings would cut longer strings to this file's length when saved again.
            dataset = file.load().drop_encoding()
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise ValueError(msg) from None
    except (OSError, KeyError) as error:
        msg = f"{path}: not a NetCDF file of jgrad's ({error})"
        raise ValueError(msg) from error
    try:
        return upgraded(dataset)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A context that gives a temporary path and, if all went well, renames it to the real one.

    Raises:
      OSError: the disk is full or not writable, with the real path as its file name; what was there
        is there still.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # as in a folder that cannot be written to
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Where what goes to `path` is written first."""
    return path.with_name(f".{path.name}.part")


#: Letters of a part's file name; a file system takes 255 bytes, ending and all.
_LONGEST = 100


@dataclasses.dataclass(frozen=True)
class Folder:
    """The output folder of one run: its identity, its finished parts, its results.

    `run.json` says which run the folder belongs to, `parts/NAME.nc` are finished programs, and
    `results.nc` is the whole.
    """

    path: Path

    @property
    def results(self) -> Path:
        """Where the whole dataset goes."""
        return self.path / "results.nc"

    def part(self, name: str) -> Path:
        """Where the part of that name goes; names that differ in signs alone share a place."""
        plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
        return self.path / "parts" / f"{plain[:_LONGEST]}.nc"


def claim(path: str | Path, identity: Mapping[str, Any]) -> Folder:
    """The folder at `path` for the run with this identity (anything JSON can hold).

    A new or empty folder becomes the run's; the same run finds what it left there.

    Raises:
      ValueError: the folder is another run's (quotes what differs), holds other files, or is none;
        nothing in it is touched.
    """
    folder, wanted = Path(path), json.loads(json.dumps(identity))
    record = folder / "run.json"
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is no folder"
        raise ValueError(msg)
    if not record.exists():
        # A run that was killed as it began has left the beginning of its record.
        if folder.is_dir() and set(folder.iterdir()) - {_temporary(record)}:
            msg = f"{folder} is not empty and holds no run of jgrad's; choose another folder"
            raise ValueError(msg)
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
        return Folder(folder)
    try:
        found = json.loads(record.read_text())
    except json.JSONDecodeError:
        found = {}
    if found != wanted:
        there, here = _flat(found), _flat(wanted)
        differing = [
            f"{name}: {there.get(name)!r} there, {here.get(name)!r} here"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        msg = f"{folder} holds another run's results ({'; '.join(differing[:3])}); choose another"
        raise ValueError(msg)
    return Folder(folder)


def _flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """What is in nested mappings, by its path.

    Example:
      >>> _flat({"a": {"b": 1}, "c": [2]})
      {'a.b': 1, 'c': [2]}
    """
    flat = {}
    for name, value in tree.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{path}{name}.") if inner else {f"{path}{name}": value}
    return flat
