"""Real data that scikit-learn carries with it: no network is needed.

Inputs leave as they are in scikit-learn; `load` standardises them.
"""

import numpy as np

from ._split import Split, split


def digits(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """1,797 handwritten digits of 8 × 8 grey values from 0 to 16, flattened: scikit-learn's.

    They are the test set of Alpaydin & Kaynak's "Optical Recognition of Handwritten Digits" (UCI
    Machine Learning Repository, 1998, doi:10.24432/C50P49).
    """
    return _classes("digits", test_share, seed)


def digits_image(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """`digits` as images [8, 8, 1]."""
    return _reshaped(digits(test_share=test_share, seed=seed), "digits_image", (8, 8, 1))


def digits_rows(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """`digits` as sequences of 8 rows of 8 grey values."""
    return _reshaped(digits(test_share=test_share, seed=seed), "digits_rows", (8, 8))


def digits_pixels(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """`digits` as sequences of 64 single grey values, row after row."""
    return _reshaped(digits(test_share=test_share, seed=seed), "digits_pixels", (64, 1))


def iris(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """150 irises of 3 species by 4 lengths in cm (Fisher, 1936)."""
    return _classes("iris", test_share, seed)


def wine(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """178 wines of 3 growers by 13 chemical measures (UCI, doi:10.24432/C5PC7J)."""
    return _classes("wine", test_share, seed)


def breast_cancer(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """569 tumours, malignant or benign, by 30 measures (UCI, doi:10.24432/C5DW2B)."""
    return _classes("breast_cancer", test_share, seed)


def diabetes(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """How far a diabetes went in a year, for 442 patients by 10 measures (Efron et al., 2004).

    The target is standardised by the training examples, so that a loss of 1 is about a guess.
    """
    return _numbers("diabetes", test_share, seed)


def linnerud(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """Weight, waist and pulse of 20 men by their chin-ups, sit-ups and jumps; standardised."""
    return _numbers("linnerud", test_share, seed)


def _classes(name: str, test_share: float, seed: int) -> Split:
    x, y = _arrays(name)
    labels = int(y.max()) + 1
    return split(name, x, y.astype(np.int32), test_share=test_share, seed=seed, labels=labels)


def _numbers(name: str, test_share: float, seed: int) -> Split:
    x, y = _arrays(name)
    wide = y.astype(np.float32).reshape(len(y), -1)
    parts = split(name, x, wide, test_share=test_share, seed=seed)
    mean, deviation = parts.y_train.mean(0), parts.y_train.std(0)
    return parts._replace(
        y_train=(parts.y_train - mean) / deviation, y_test=(parts.y_test - mean) / deviation
    )


def _arrays(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs in float32, and answers, of scikit-learn's `load_{name}`."""
    # sklearn costs a second to import and is part of the lab: asked for when it is needed.
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return np.asarray(x, np.float32), np.asarray(y)


def _reshaped(parts: Split, name: str, shape: tuple[int, ...]) -> Split:
    return parts._replace(
        name=name,
        x_train=parts.x_train.reshape(-1, *shape),
        x_test=parts.x_test.reshape(-1, *shape),
    )
