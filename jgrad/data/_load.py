"""Tasks by name, with numbers of their own: "adding:length=100"."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jgrad._names import described, known_options, lookup

from . import _bundled, _points, _sequences, _text
from ._npz import from_npz
from ._split import Split, standardised

_REAL: dict[str, Callable[..., Split]] = {
    function.__name__: function
    for function in (
        _bundled.digits,
        _bundled.digits_image,
        _bundled.digits_rows,
        _bundled.digits_pixels,
        _bundled.iris,
        _bundled.wine,
        _bundled.breast_cancer,
        _bundled.diabetes,
        _bundled.linnerud,
    )
}
_MADE: dict[str, Callable[..., Split]] = {
    function.__name__: function
    for function in (
        _points.circles,
        _points.blobs,
        _points.two_spirals,
        _sequences.adding,
        _sequences.copy_memory,
        _sequences.temporal_order,
        _text.python_source,
    )
}

#: Name → function (test_share=, seed=, and options of its own) giving the task.
DATASETS: dict[str, Callable[..., Split]] = {**_REAL, **_MADE}


def load(name: str | Path, *, test_share: float = 0.2, seed: int = 0) -> Split:
    """The task of that name, or in that `.npz`; measured data standardised by its training part.

    Args:
      name: a key of `DATASETS`, with options where it has some ("adding:length=100"), or a path
        that ends in ".npz" (see `from_npz` for its arrays).
      test_share: which share is kept for testing, of each class.
      seed: which examples those are; where a task is made up, also what is in it.

    Raises:
      ValueError: the name or an option is not known, a number is out of range, or the file does not
        hold a task.

    Example:
      >>> task = load("digits")
      >>> task.x_train.shape, task.x_test.shape, task.classes
      ((1438, 64), (359, 64), 10)
      >>> task = load("adding:length=30,examples=2000")
      >>> task.kind, task.shape, task.outputs, round(task.baseline, 2)
      ('regression', (30, 2), 1, 0.17)
    """
    if not 0 < test_share < 1:
        msg = f"test_share must be between 0 and 1, got {test_share!r}"
        raise ValueError(msg)
    if str(name).endswith(".npz"):
        return standardised(from_npz(name, test_share=test_share, seed=seed))
    bare, options = _chosen(str(name))
    task = DATASETS[bare](test_share=test_share, seed=seed, **options)._replace(name=str(name))
    return standardised(task) if bare in _REAL else task


def check(name: str | Path) -> None:
    """Raise the ValueError of `load` where no task has that name; nothing is read or made up.

    Example:
      >>> check("digist")
      Traceback (most recent call last):
      ValueError: unknown data set (a name, or a path ending in .npz) 'digist'; did you mean ...
    """
    if not str(name).endswith(".npz"):
        _chosen(str(name))
    elif not Path(name).is_file():
        msg = f"{name}: no such file"
        raise ValueError(msg)


def _chosen(name: str) -> tuple[str, dict[str, Any]]:
    """The key of `DATASETS` and its options, of the kinds that the signature wants."""
    bare, numbers, options = described(name, "data set")
    make = lookup(DATASETS, bare, "data set (a name, or a path ending in .npz)")
    kinds = {
        option: parameter.annotation
        for option, parameter in inspect.signature(make).parameters.items()
        if option not in ("test_share", "seed")
    }
    known_options(options, kinds, f"data set {bare!r}")
    if numbers:
        msg = f"data set {name!r}: write every number with its name, out of {list(kinds)}"
        raise ValueError(msg)
    for option, value in options.items():
        if type(value) not in (int, kinds[option]):
            kind = "whole number" if kinds[option] is int else "number"
            msg = f"data set {name!r}: {option} must be a {kind}, got {value!r}"
            raise ValueError(msg)
    if options.get("examples", 2) < 2:
        msg = f"data set {name!r}: examples must be at least 2, got {options['examples']}"
        raise ValueError(msg)
    return bare, {option: kinds[option](value) for option, value in options.items()}
