"""Histories as labelled datasets: built, saved whole or not at all, found again by a later run."""

import dataclasses
import datetime
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from jgrad import __version__

#: Version of the layout below; a file of another one is refused with its number.
SCHEMA = 1

_POINT = ("config", "rate", "seed")
_PROFILE = (*_POINT, "record", "depth")

#: Variable → (dims, units, long name). What is not here is in no dataset.
VARIABLES: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "activation": (("config",), "", "activation"),
    "init": (("config",), "", "initialiser of the kernels"),
    "norm": (("config",), "", "normalisation of the pre-activations"),
    "skip": (("config",), "", "layers add their input to their output"),
    "optimizer": (("config",), "", "optimiser"),
    "clip": (("config",), "", "gradient clipping"),
    "layers": (("config",), "1", "hidden layers"),
    "width": (("config",), "1", "units of a hidden layer"),
    "program": (("config",), "", "the compiled program that trained it"),
    "label": (("config",), "", "the configuration in a few words"),
    "remedy": (("config",), "", "what was tried on the baseline, empty in the base grid"),
    "baseline": (("config",), "", "label of the configuration it remedies, or empty"),
    "seed": (("seed",), "", "seed of the parameters and batches"),
    "step": (("step",), "step", "steps trained"),
    "record": (("record",), "step", "steps trained when the flow was recorded"),
    "site": (("depth",), "", "activation site, input side first"),
    "learning_rate": (("config", "rate"), "1", "learning rate"),
    "train_loss": ((*_POINT, "step"), "nat", "mean training cross-entropy since the step before"),
    "test_accuracy": ((*_POINT, "step"), "1", "share of the test examples classed rightly"),
    "diverged": (_POINT, "", "some training loss was not finite"),
    "log_gain": (_PROFILE, "nat", "ln ‖δz‖/‖δa‖: what the activation did to the gradient"),
    "linear_log_gain": (
        _PROFILE,
        "nat",
        "ln ‖δa of the site before‖/‖δz‖: what the linear map did to the gradient",
    ),
    "log_da": (_PROFILE, "nat", "ln ‖δa‖, of the loss's gradient in the activation's output"),
    "log_dz": (_PROFILE, "nat", "ln ‖δz‖, of the loss's gradient in the pre-activation"),
    "slope_mean": (_PROFILE, "1", "mean φ'(z)"),
    "slope_second": (_PROFILE, "1", "mean φ'(z)²"),
    "z_second": (_PROFILE, "1", "mean z²"),
    "a_second": (_PROFILE, "1", "mean a²"),
    "zero_slope_share": (_PROFILE, "1", "share of elements with φ'(z) exactly 0"),
    "dead_share": (_PROFILE, "1", "share of units whose φ' is 0 on the whole batch"),
    "forecast_log_gain": (("config", "depth"), "nat", "log_gain that theory predicts at step 0"),
    "forecast_linear_log_gain": (
        ("config", "depth"),
        "nat",
        "linear_log_gain that theory predicts at step 0",
    ),
}

_INDEX = ("seed", "step", "record")
_LABELS = (
    *("activation", "init", "norm", "skip", "optimizer", "clip", "layers", "width"),
    *("program", "label", "remedy", "baseline", "site"),
)


def build(values: Mapping[str, Any], attrs: Mapping[str, Any]) -> xr.Dataset:
    """The dataset of named arrays, each with the dims, units and long name of `VARIABLES`.

    Raises:
      ValueError: a name is not in the table, or sizes disagree (xarray says which).

    Example:
      >>> dataset = build({"seed": [0, 1, 2], "learning_rate": [[0.1, 0.2]]}, {})
      >>> dataset.learning_rate.dims, sorted(dataset.sizes.items())
      (('config', 'rate'), [('config', 1), ('rate', 2), ('seed', 3)])
    """
    unknown = sorted(set(values) - set(VARIABLES))
    if unknown:
        msg = f"not variables of a result: {', '.join(unknown)}"
        raise ValueError(msg)
    arrays = {
        name: xr.Variable(dims, np.asarray(values[name]), _described(units, long_name))
        for name, (dims, units, long_name) in VARIABLES.items()
        if name in values
    }
    coords = {name: arrays.pop(name) for name in (*_INDEX, *_LABELS) if name in arrays}
    return xr.Dataset(arrays, coords, {"schema": SCHEMA, **attrs})


def _described(units: str, long_name: str) -> dict[str, str]:
    return {"long_name": long_name} | ({"units": units} if units else {})


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
    with _Replacing(Path(path)) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf")


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
    schema = dataset.attrs.get("schema")
    if schema != SCHEMA:
        msg = f"{path}: schema {schema}; this version of jgrad reads schema {SCHEMA}"
        raise ValueError(msg)
    return dataset


class _Replacing:
    """A context that gives a temporary path and, if all went well, renames it to the real one."""

    def __init__(self, path: Path):
        self._path = path
        self._temporary = path.with_name(f".{path.name}.part")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary

    def __exit__(self, failed: object, *_: object) -> None:
        try:
            if failed is None:
                with self._temporary.open("rb+") as written:
                    os.fsync(written.fileno())
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)


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
        """Where the part of that name goes."""
        return self.path / "parts" / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.nc"


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
        if folder.is_dir() and any(folder.iterdir()):
            msg = f"{folder} is not empty and holds no run of jgrad's; choose another folder"
            raise ValueError(msg)
        with _Replacing(record) as temporary:
            temporary.write_text(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
        return Folder(folder)
    try:
        found = json.loads(record.read_text())
    except json.JSONDecodeError:
        found = {}
    if found != wanted:
        differing = [
            f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} here"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        msg = f"{folder} holds another run's results ({'; '.join(differing[:3])}); choose another"
        raise ValueError(msg)
    return Folder(folder)
