"""Made-up classes in the plane and beyond, for pictures and for quick checks."""

import numpy as np

from ._split import Split, split


def circles(
    *,
    examples: int = 1000,
    factor: float = 0.5,
    noise: float = 0.05,
    test_share: float = 0.2,
    seed: int = 0,
) -> Split:
    """Points on a circle of radius 1 (class 0) and one of radius `factor` (class 1).

    Args:
      examples: points, half of each class.
      factor: the inner radius, from 0 to 1.
      noise: standard deviation of the Gaussian noise on each coordinate.
      test_share: which share is kept for testing.
      seed: decides the points, and which are for testing.

    Raises:
      ValueError: an inner circle that is not inside, or noise below zero.
    """
    if not (0 <= factor < 1 and 0 <= noise < np.inf):
        msg = f"circles need 0 <= factor < 1 and a finite noise >= 0, got {factor=}, {noise=}"
        raise ValueError(msg)
    generator = np.random.default_rng(seed)
    y = np.arange(examples, dtype=np.int32) % 2
    angle = generator.uniform(0, 2 * np.pi, examples)
    radius = np.where(y == 0, 1.0, factor)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    x += noise * generator.normal(size=x.shape)
    return split("circles", x.astype(np.float32), y, test_share=test_share, seed=seed, labels=2)


def blobs(
    *,
    examples: int = 1000,
    classes: int = 3,
    features: int = 2,
    spread: float = 1.0,
    test_share: float = 0.2,
    seed: int = 0,
) -> Split:
    """Gaussian clouds, one a class, of standard deviation `spread` in each feature.

    Their centres are drawn from a Gaussian of standard deviation 5.

    Raises:
      ValueError: fewer than two classes, no feature, or a spread below zero.
    """
    if not (classes >= 2 and features >= 1 and 0 <= spread < np.inf):
        msg = (
            f"blobs need at least 2 classes, 1 feature and a finite spread >= 0, got "
            f"{classes=}, {features=}, {spread=}"
        )
        raise ValueError(msg)
    generator = np.random.default_rng(seed)
    y = np.arange(examples, dtype=np.int32) % classes
    centres = 5 * generator.normal(size=(classes, features))
    x = (centres[y] + spread * generator.normal(size=(examples, features))).astype(np.float32)
    return split("blobs", x, y, test_share=test_share, seed=seed, labels=classes)


def two_spirals(*, test_share: float = 0.2, seed: int = 0) -> Split:
    """Two spirals of 97 points each, coiled three times around each other.

    A. Wieland's task, from Lang & Witbrock, "Learning to tell two spirals apart" (1988), with the
    points of CMU's collection of benchmarks: angle iπ/16 and radius 6.5 (104 - i)/104 for
    i = 0 … 96, and their mirror images. One trains on all of them: the test examples are the 96
    points of each spiral halfway between, whatever `test_share` and `seed` are.
    """
    del test_share, seed
    x_train, y_train = _spirals(np.arange(97.0))
    x_test, y_test = _spirals(np.arange(96.0) + 0.5)
    return Split("two_spirals", x_train, y_train, x_test, y_test, labels=2)


def _spirals(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points number i of both spirals, and on which each is."""
    angle, radius = i * np.pi / 16, 6.5 * (104 - i) / 104
    one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1)
    y = np.repeat(np.arange(2, dtype=np.int32)[::-1], len(i))
    return np.concatenate([one, -one]).astype(np.float32), y
