"""The user's own examples, from a `.npz`, looked over before anything trains on them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ._split import Split, split

_TRAIN, _TEST = ("x", "y"), ("x_test", "y_test")
_NUMBERS = ("classes", "vocabulary")


def from_npz(path: str | Path, *, test_share: float = 0.2, seed: int = 0) -> Split:
    """The task in a `.npz` with arrays `x` and `y`.

    `x` [n, ...] holds numbers; or, where there is a whole number `vocabulary` too, tokens
    [n, length] from 0 to below it. `y` holds whole numbers [n] from 0 for classes; whole numbers
    [n, length] for a class at each position of `x`, -1 where none is scored; or floats [n] or
    [n, outputs] for a regression. Where `x_test` and `y_test` are there too they are the test
    examples; else some are parted off. A whole number `classes` says how many there are, if the
    largest label does not.

    Raises:
      ValueError: no such file, not a `.npz`, an array missing, of the wrong kind or length, a
        number that is not finite or a token or label out of range, fewer than two classes.
    """
    arrays = _read(Path(path))
    missing = [name for name in _TRAIN if name not in arrays]
    if missing or ("x_test" in arrays) != ("y_test" in arrays):
        msg = (
            f"{path}: expected arrays 'x' and 'y', and either both or none of 'x_test' and "
            f"'y_test'; found {', '.join(map(repr, sorted(arrays))) or 'none'}"
        )
        raise ValueError(msg)
    classes, vocabulary = (_whole(path, arrays, name) for name in _NUMBERS)
    numbers = {"labels": classes, "vocabulary": vocabulary}
    x, y = _examples(path, arrays, _TRAIN, vocabulary)
    name = Path(path).name
    if "x_test" not in arrays:
        parts = split(name, x, y, test_share=test_share, seed=seed, **numbers)
    else:
        parts = Split(name, x, y, *_examples(path, arrays, _TEST, vocabulary), **numbers)
        for one, other, test in ((x, parts.x_test, "x"), (y, parts.y_test, "y")):
            if one.shape[1:] != other.shape[1:] or one.dtype != other.dtype:
                msg = (
                    f"{path}: examples of {test!r} are {one.dtype} {one.shape[1:]}, of "
                    f"'{test}_test' {other.dtype} {other.shape[1:]}"
                )
                raise ValueError(msg)
    if parts.kind != "regression":
        _check_classes(path, parts)
    return parts


def _check_classes(path: str | Path, parts: Split) -> None:
    """Raise unless there are two classes, no more than `classes` says, and labels on both sides."""
    if min(parts.y_train.max(), parts.y_test.max()) < 0:
        msg = f"{path}: every label is -1 in the training or in the test part: nothing is scored"
        raise ValueError(msg)
    present = int(max(parts.y_train.max(), parts.y_test.max())) + 1
    if parts.labels is not None and present > parts.labels:
        msg = f"{path}: 'classes' is {parts.labels}, but 'y' holds the label {present - 1}"
        raise ValueError(msg)
    if parts.classes < 2:
        msg = f"{path}: 'y' holds one class; a task needs two"
        raise ValueError(msg)


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


def _whole(path: str | Path, arrays: Mapping[str, np.ndarray], name: str) -> int | None:
    """The whole number of that name, if the file has it."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.ndim or array.dtype.kind not in "iu" or array < 1:
        msg = f"{path}: {name!r} must be one whole number above 0, got {array.dtype} {array.shape}"
        raise ValueError(msg)
    return int(array)


def _examples(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    names: tuple[str, str],
    vocabulary: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Examples and answers in 32 bits, once they have been found to be such."""
    (x_name, y_name), (x, y) = names, (arrays[name] for name in names)
    per_position = y.ndim == 2 and y.dtype.kind in "iu"
    x_kinds = "fiub" if vocabulary is None else "iu"
    x_words = "numbers [n, ...]" if vocabulary is None else "whole numbers [n, length] for tokens"
    faults = {
        f"{x_name!r} must be {x_words}, got {x.dtype} {x.shape}": (
            x.ndim < 2 or x.dtype.kind not in x_kinds or (vocabulary is not None and x.ndim != 2)
        ),
        f"{y_name!r} must be whole numbers [n] or [n, length], or floats [n] or [n, outputs], "
        f"got {y.dtype} {y.shape}": y.ndim not in (1, 2) or y.dtype.kind not in "iuf",
        f"{x_name!r} has {len(x) if x.ndim else 0} examples, {y_name!r} {len(y) if y.ndim else 0} "
        "labels": x.ndim > 0 and y.ndim > 0 and len(x) != len(y),
        f"{x_name!r} holds no example": x.size == 0,
        f"{y_name!r} holds no label": y.size == 0,
        f"{y_name!r} {y.shape} labels positions, of which {x_name!r} {x.shape} has as many no": (
            per_position and x.ndim > 1 and y.shape[1] != x.shape[1]
        ),
    }
    for fault, found in faults.items():
        if found:
            msg = f"{path}: {fault}"
            raise ValueError(msg)
    for name, array in zip(names, (x, y), strict=True):
        _refuse(path, name, array, "that are not finite in float32", ~np.isfinite(_float32(array)))
    if vocabulary is not None:
        _refuse(
            path, x_name, x, f"that are no token below {vocabulary}", (x < 0) | (x >= vocabulary)
        )
    if y.dtype.kind == "f":
        return _inputs(x, vocabulary), _float32(y).reshape(len(y), -1)
    least = -1 if per_position else 0
    if y.min() < least:
        msg = f"{path}: {y_name!r} holds a negative class, {y.min()}"
        raise ValueError(msg)
    return _inputs(x, vocabulary), y.astype(np.int32)


def _float32(array: np.ndarray) -> np.ndarray:
    # What overflows is told apart afterwards, with its place.
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _inputs(x: np.ndarray, vocabulary: int | None) -> np.ndarray:
    return _float32(x) if vocabulary is None else x.astype(np.int32)


def _refuse(path: str | Path, name: str, array: np.ndarray, what: str, bad: np.ndarray) -> None:
    """Raise where something is bad, saying in how many examples and at which place first."""
    if not bad.any():
        return
    first = tuple(map(int, np.argwhere(bad)[0]))
    msg = (
        f"{path}: {name!r} holds numbers {what}, in {bad.reshape(len(bad), -1).any(1).sum()} of "
        f"{len(array)} examples, first in number {first[0]}: {name}{list(first)} is {array[first]}"
    )
    raise ValueError(msg)
