"""Tasks by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jgrad._names import lookup

from ._npz import from_npz
from ._split import Split, split, standardised


def digits(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """1,797 handwritten digits of 8 × 8 grey values from 0 to 16, flattened: scikit-learn's.

    They are the test set of Alpaydin & Kaynak's "Optical Recognition of Handwritten Digits" (UCI
    Machine Learning Repository, 1998, doi:10.24432/C50P49).
    """
    # sklearn costs a second to import and is part of the lab: asked for when it is needed.
    from sklearn.datasets import load_digits

    x, y = (np.asarray(part) for part in load_digits(return_X_y=True))
    return split(
        "digits", x.astype(np.float32), y.astype(np.int32), test_share=test_share, seed=seed
    )


#: Name → function (test_share=, seed=) giving the task, not yet standardised.
DATASETS: dict[str, Callable[..., Split]] = {"digits": digits}


def load(name: str | Path, *, test_share: float = 0.2, seed: int = 0) -> Split:
    """The task of that name, or in that `.npz`, standardised by its training examples.

    Args:
      name: a key of `DATASETS`, or a path that ends in ".npz" (see `from_npz` for its arrays).
      test_share: which share of each class is kept for testing.
      seed: which examples those are.

    Raises:
      ValueError: the name is not known, or the file does not hold a task.

    Example:
      >>> task = load("digits")
      >>> task.x_train.shape, task.x_test.shape, task.classes
      ((1438, 64), (359, 64), 10)
    """
    if str(name).endswith(".npz"):
        return standardised(from_npz(name, test_share=test_share, seed=seed))
    task = lookup(DATASETS, str(name), "data set (a name, or a path ending in .npz)")
    return standardised(task(test_share=test_share, seed=seed))
