"""The user's own examples, from a `.npz`, looked over before anything trains on them."""

import zipfile
from pathlib import Path

import numpy as np

from ._split import Split, split

_TRAIN, _TEST = ("x", "y"), ("x_test", "y_test")


def from_npz(path: str | Path, *, test_share: float = 0.2, seed: int = 0) -> Split:
    """The task in a `.npz` with arrays `x` [n, *shape] and `y` [n].

    `y` holds whole numbers from 0. Where `x_test` and `y_test` are there too they are the test
    examples; else some are parted off.

    Raises:
      ValueError: no such file, not a `.npz`, an array missing, of the wrong kind or length, a
        number that is not finite, fewer than two classes.
    """
    arrays = _read(Path(path))
    missing = [name for name in _TRAIN if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        msg = (
            f"{path}: expected arrays 'x' and 'y', and either both or none of 'x_test' and "
            f"'y_test'; found {', '.join(map(repr, sorted(arrays))) or 'none'}"
        )
        raise ValueError(msg)
    x, y = _examples(path, arrays, _TRAIN)
    if "x_test" not in arrays:
        parts = split(Path(path).name, x, y, test_share=test_share, seed=seed)
    else:
        parts = Split(Path(path).name, x, y, *_examples(path, arrays, _TEST))
        if parts.x_test.shape[1:] != parts.x_train.shape[1:]:
            msg = f"{path}: examples of 'x' are {x.shape[1:]}, of 'x_test' {parts.x_test.shape[1:]}"
            raise ValueError(msg)
    if parts.classes < 2:
        msg = f"{path}: 'y' holds one class; a task needs two"
        raise ValueError(msg)
    return parts


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz`, nothing unpickled."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        msg = f"{path}: no such file"
    except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        msg = f"{path}: not a .npz of plain arrays ({error})"
    raise ValueError(msg)


def _examples(
    path: str | Path, arrays: dict[str, np.ndarray], names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Examples in float32 and labels in int32, once they have been found to be such."""
    (x_name, y_name), (x, y) = names, (arrays[name] for name in names)
    faults = {
        f"{x_name!r} must be numbers [n, ...], got {x.dtype} {x.shape}": (
            x.ndim < 2 or x.dtype.kind not in "fiub"
        ),
        f"{y_name!r} must be whole numbers [n], got {y.dtype} {y.shape}": (
            y.ndim != 1 or y.dtype.kind not in "iu"
        ),
        f"{x_name!r} has {len(x) if x.ndim else 0} examples, {y_name!r} {y.size} labels": (
            x.ndim > 0 and len(x) != y.size
        ),
        f"{x_name!r} holds no example": x.size == 0,
    }
    for fault, found in faults.items():
        if found:
            msg = f"{path}: {fault}"
            raise ValueError(msg)
    bad = ~np.isfinite(x.astype(np.float32)).reshape(len(x), -1).all(1)
    if bad.any():
        msg = (
            f"{path}: {x_name!r} holds numbers that are not finite in float32, in {bad.sum()} "
            f"of {len(x)} examples, first in number {int(bad.argmax())}"
        )
        raise ValueError(msg)
    if y.min() < 0:
        msg = f"{path}: {y_name!r} holds a negative class, {y.min()}"
        raise ValueError(msg)
    return x.astype(np.float32), y.astype(np.int32)
