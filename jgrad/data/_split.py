"""Training and test examples, and the standardisation that only the training ones decide."""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Split(NamedTuple):
    """A classification task: examples [n, *shape] in float32 and their classes [n] in int32."""

    name: str
    x_train: Float[np.ndarray, " train *shape"]
    y_train: Int[np.ndarray, " train"]
    x_test: Float[np.ndarray, " test *shape"]
    y_test: Int[np.ndarray, " test"]

    @property
    def classes(self) -> int:
        """How many classes there are: the largest label, plus one."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x_train.shape[1:]

    def digest(self) -> str:
        """A short hash of all the arrays: two tasks with the same one train alike."""
        hashed = hashlib.sha256()
        for array in self[1:]:
            hashed.update(str((array.dtype, array.shape)).encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()[:16]


def split(
    name: str,
    x: Float[np.ndarray, " n *shape"],
    y: Int[np.ndarray, " n"],
    *,
    test_share: float = 0.2,
    seed: int = 0,
) -> Split:
    """`x` and `y` shuffled and parted, every class in the same proportion on both sides.

    Each class gives round(test_share · its count) examples to the test side, at least one where
    it has two. The same seed gives the same parts.

    Raises:
      ValueError: a part would be empty.
    """
    generator = np.random.default_rng(seed)
    to_test = np.zeros(len(y), bool)
    for label in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == label))
        count = max(round(test_share * len(members)), int(len(members) > 1))
        to_test[members[:count]] = True
    order = generator.permutation(len(y))
    train, test = order[~to_test[order]], order[to_test[order]]
    if not (len(train) and len(test)):
        msg = f"{name}: {len(y)} examples do not part into training and test ones"
        raise ValueError(msg)
    return Split(name, x[train], y[train], x[test], y[test])


def standardised(parts: Split) -> Split:
    """Each feature with mean 0 and variance 1 over the *training* examples.

    The test examples go through the same map. A feature that never changes becomes 0.
    """
    wide = parts.x_train.astype(np.float64)
    mean, deviation = wide.mean(0), wide.std(0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    x_train, x_test = (
        ((x - mean) * scale).astype(np.float32) for x in (parts.x_train, parts.x_test)
    )
    return parts._replace(x_train=x_train, x_test=x_test)
