"""A task: training and test examples, what kind of answer they want, and what guessing costs.

Everything that a model or a loss must know about a task is read off its arrays, but for two
numbers that arrays cannot show: how many labels and how many tokens there could have been.
"""

import hashlib
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

#: Examples: floats of any shape, or sequences of tokens.
Inputs = Float[np.ndarray, " n *shape"] | Int[np.ndarray, " n length"]
#: Answers: one class each, one class a position, or numbers.
Targets = Int[np.ndarray, " n"] | Int[np.ndarray, " n length"] | Float[np.ndarray, " n outputs"]


class Split(NamedTuple):
    """A task.

    Attributes:
      name: what it was loaded as.
      x_train: examples [n, *shape] in float32, or tokens [n, length] in int32.
      y_train: classes [n] in int32; classes [n, length] in int32, where -1 marks a position that is
        not scored; or numbers [n, outputs] in float32.
      x_test: examples that are not trained on, alike.
      y_test: their answers.
      labels: how many classes there are; None if the largest label present tells.
      vocabulary: how many tokens there are; None where examples are floats.
    """

    name: str
    x_train: Inputs
    y_train: Targets
    x_test: Inputs
    y_test: Targets
    labels: int | None = None
    vocabulary: int | None = None

    @property
    def kind(self) -> Literal["classification", "per_position", "regression"]:
        """What is asked: a class of each example, one of each position, or numbers."""
        if self.y_train.dtype.kind == "f":
            return "regression"
        return "classification" if self.y_train.ndim == 1 else "per_position"

    @property
    def classes(self) -> int:
        """How many classes there are; 0 in a regression."""
        if self.kind == "regression":
            return 0
        return self.labels or int(max(self.y_train.max(), self.y_test.max())) + 1

    @property
    def outputs(self) -> int:
        """How many numbers a model has to give, for each example or position."""
        return self.y_train.shape[-1] if self.kind == "regression" else self.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x_train.shape[1:]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """x_train, y_train, x_test, y_test."""
        return self.x_train, self.y_train, self.x_test, self.y_test

    @property
    def baseline(self) -> float:
        """The least test loss of a prediction that does not look at the example.

        In nats for classes: the entropy of the test labels, at each position its own, averaged over
        the scored positions. For numbers: the mean over the outputs of their variance. The best
        constants are those of the test set itself, so that chance does not beat them; with few test
        examples the entropy is about (classes - 1)/(2 · examples) too low.
        """
        if self.kind == "regression":
            return float(self.y_test.astype(np.float64).var(0).mean())
        nats = sum(counts.sum() * _entropy(counts) for counts in self._scored)
        return float(nats / sum(map(np.sum, self._scored)))

    @property
    def chance(self) -> float:
        """The largest test accuracy of a prediction that does not look at the example.

        At each position its own most frequent class, over the scored positions. For numbers it is
        the share of the variance explained, which is 0.
        """
        if self.kind == "regression":
            return 0.0
        return sum(int(counts.max()) for counts in self._scored) / sum(map(np.sum, self._scored))

    @property
    def _scored(self) -> list[np.ndarray]:
        """How often each class is the answer in the test, at each position where some is."""
        columns = self.y_test.reshape(len(self.y_test), -1).T
        return [np.bincount(labels) for column in columns if len(labels := column[column >= 0])]

    def digest(self) -> str:
        """A short hash of all that trains: two tasks with the same one train alike."""
        hashed = hashlib.sha256(str((self.labels, self.vocabulary)).encode())
        for array in self.arrays:
            hashed.update(str((array.dtype, array.shape)).encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()[:16]


def _entropy(counts: Int[np.ndarray, " labels"]) -> float:
    """-Σ p ln p of the frequencies, in nats."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def split(
    name: str,
    x: Inputs,
    y: Targets,
    *,
    test_share: float = 0.2,
    seed: int = 0,
    labels: int | None = None,
    vocabulary: int | None = None,
) -> Split:
    """`x` and `y` shuffled and parted, every class in the same proportion on both sides.

    Each class gives round(test_share · its count) examples to the test side, at least one where
    it has two; where there is not one class an example, all of them together count as one. The same
    seed gives the same parts.

    Raises:
      ValueError: a part would be empty.
    """
    generator = np.random.default_rng(seed)
    strata = y if y.ndim == 1 else np.zeros(len(y), np.int32)
    to_test = np.zeros(len(y), bool)
    for label in np.unique(strata):
        members = generator.permutation(np.flatnonzero(strata == label))
        count = max(round(test_share * len(members)), int(len(members) > 1))
        to_test[members[:count]] = True
    order = generator.permutation(len(y))
    train, test = order[~to_test[order]], order[to_test[order]]
    if not (len(train) and len(test)):
        msg = f"{name}: {len(y)} examples do not part into training and test ones"
        raise ValueError(msg)
    return Split(name, x[train], y[train], x[test], y[test], labels, vocabulary)


def standardised(parts: Split) -> Split:
    """Each feature with mean 0 and variance 1 over the *training* examples.

    A flat example has a feature at each place. In images [height, width, channel] and sequences
    [step, feature] the last axis holds the features, and all places or steps count as examples. The
    test examples go through the same map. A feature that never changes becomes 0; tokens stay.
    """
    if parts.vocabulary is not None:
        return parts
    wide = parts.x_train.astype(np.float64).reshape(-1, parts.shape[-1])
    mean, deviation = wide.mean(0), wide.std(0)
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    x_train, x_test = (
        ((x - mean) * scale).astype(np.float32) for x in (parts.x_train, parts.x_test)
    )
    return parts._replace(x_train=x_train, x_test=x_test)
