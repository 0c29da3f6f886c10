"""Tasks: split without overlap, standardised by the training part alone, checked when foreign."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jgrad import data


def user_file(tmp_path, **arrays):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return path


def numbers(n=40, features=(3,), seed=0):
    return np.random.default_rng(seed).normal(2.0, 5.0, size=(n, *features))


def test_digits_are_all_there_and_parted():
    task = data.DATASETS["digits"]()
    rows = np.concatenate([task.x_train, task.x_test])
    original, labels = load_digits(return_X_y=True)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, original))
    share = np.bincount(task.y_test) / np.bincount(labels)
    np.testing.assert_allclose(share, 0.2, atol=0.003)


def test_labels_stay_with_their_examples():
    task = data.DATASETS["digits"]()
    original, labels = load_digits(return_X_y=True)
    label_of = {tuple(x): y for x, y in zip(original, labels, strict=True)}
    assert all(label_of[tuple(x)] == y for x, y in zip(task.x_test, task.y_test, strict=True))


def test_the_training_part_alone_decides_the_scale():
    raw, task = data.DATASETS["digits"](seed=4), data.load("digits", seed=4)
    mean, deviation = raw.x_train.mean(0), raw.x_train.std(0)
    moving = deviation > 0
    expected = (raw.x_test[:, moving] - mean[moving]) / deviation[moving]
    np.testing.assert_allclose(task.x_test[:, moving], expected, rtol=1e-4, atol=1e-4)
    assert not moving.all()
    assert not task.x_train[:, ~moving].any()
    assert task.x_train.dtype == np.float32
    assert task.y_train.dtype == np.int32


def test_seeds():
    one, again, other = (data.load("digits", seed=seed) for seed in (1, 1, 2))
    assert one.digest() == again.digest() != other.digest()


def test_user_file_is_parted_and_standardised(tmp_path):
    x, y = numbers(features=(2, 3)), np.arange(40) % 4
    task = data.load(user_file(tmp_path, x=x, y=y))
    assert task.shape == (2, 3)
    assert (len(task.y_train), len(task.y_test), task.classes) == (32, 8, 4)
    np.testing.assert_allclose(task.x_train.std((0, 1)), 1, rtol=1e-5)


def test_user_test_examples_are_taken(tmp_path):
    x, y = numbers(), np.arange(40) % 2
    task = data.load(user_file(tmp_path, x=x, y=y, x_test=x[:6] + 1, y_test=y[:6]))
    assert (len(task.y_train), len(task.y_test)) == (40, 6)
    expected = (x[:6] + 1 - x.mean(0)) / x.std(0)
    np.testing.assert_allclose(task.x_test, expected, rtol=1e-4)


def test_user_tokens_with_a_label_at_each_position(tmp_path):
    """The vocabulary and the classes are known although the largest are absent."""
    x = np.arange(60, dtype=np.uint8).reshape(20, 3) % 5
    y = np.where(np.arange(3) == 1, -1, x.astype(int) % 2)
    task = data.load(user_file(tmp_path, x=x, y=y, vocabulary=9, classes=4))
    assert (task.kind, task.vocabulary, task.outputs) == ("per_position", 9, 4)
    assert (task.x_train.dtype, task.y_train.dtype) == (np.int32, np.int32)
    assert {tuple(row) for row in task.x_train} <= {tuple(row) for row in x}
    assert set(task.y_test.ravel()) == {-1, 0, 1}


def test_user_tokens_with_one_label(tmp_path):
    x, y = np.arange(60).reshape(20, 3) % 5, np.arange(20) % 3
    task = data.load(user_file(tmp_path, x=x, y=y, vocabulary=5, x_test=x[:4], y_test=y[:4]))
    assert (task.kind, task.outputs, task.shape) == ("classification", 3, (3,))
    np.testing.assert_array_equal(task.x_test, x[:4])


@pytest.mark.parametrize("outputs", [(), (2,)])
def test_user_regression(tmp_path, outputs):
    x, y = numbers(), numbers(features=outputs, seed=1)
    task = data.load(user_file(tmp_path, x=x, y=y))
    assert (task.kind, task.classes, task.outputs) == ("regression", 0, *(outputs or (1,)))
    every = np.concatenate([task.y_train, task.y_test])
    np.testing.assert_allclose(np.sort(every, 0), np.sort(y.reshape(40, -1), 0), rtol=1e-6)


def test_digests_know_what_arrays_do_not_show(tmp_path):
    x, y = np.arange(60).reshape(20, 3) % 5, np.arange(20) % 3
    few = data.load(user_file(tmp_path, x=x, y=y, vocabulary=5))
    more = data.load(user_file(tmp_path, x=x, y=y, vocabulary=6))
    assert few.digest() != more.digest()


def holed(x):
    x = x.copy()
    x[7, 1] = np.nan
    return x


X, Y = numbers(), np.arange(40) % 2
FAULTS = {
    "a missing array": ({"x": X, "labels": Y}, "expected arrays 'x' and 'y'.*found 'labels', 'x'"),
    "half a test part": ({"x": X, "y": Y, "x_test": X}, "both or none"),
    "a NaN": ({"x": holed(X), "y": Y}, "not finite in float32, in 1 of 40 examples.*number 7"),
    "a NaN among the targets": (
        {"x": X, "y": holed(X)},
        r"'y' holds .*not finite.*first in number 7: y\[7, 1\] is nan",
    ),
    "a token out of the vocabulary": (
        {"x": np.full((40, 2), 3), "y": Y, "vocabulary": 3},
        "no token below 3, in 40 of 40 examples",
    ),
    "tokens that are no whole numbers": ({"x": X, "y": Y, "vocabulary": 9}, "whole numbers"),
    "a vocabulary of nothing": ({"x": X, "y": Y, "vocabulary": 0}, "'vocabulary' must be"),
    "more classes than said": ({"x": X, "y": Y, "classes": 1}, "'classes' is 1.*label 1"),
    "labels at other positions": (
        {"x": X, "y": np.zeros((40, 2), int)},
        r"'y' \(40, 2\) labels positions",
    ),
    "a label below -1 at a position": ({"x": X, "y": np.full((40, 3), -2)}, "negative class, -2"),
    "no label that is scored": ({"x": X, "y": np.full((40, 3), -1)}, "nothing is scored"),
    "test answers of another kind": (
        {"x": X, "y": Y, "x_test": X, "y_test": Y + 0.5},
        "'y' are int32.*'y_test' float32",
    ),
    "an infinity in float32": ({"x": X * 1e300, "y": Y}, "not finite"),
    "lengths that differ": ({"x": X, "y": Y[:-1]}, "40 examples, 'y' 39 labels"),
    "labels that are words": ({"x": X, "y": np.full(40, "a")}, "whole numbers"),
    "words": ({"x": np.full((40, 3), "a"), "y": Y}, "must be numbers"),
    "a negative class": ({"x": X, "y": Y - 1}, "negative class, -1"),
    "one class": ({"x": X, "y": 0 * Y}, "one class"),
    "no example": ({"x": X[:0], "y": Y[:0]}, "no example"),
    "no feature axis": ({"x": X[:, 0], "y": Y}, "must be numbers"),
    "test examples of another shape": (
        {"x": X, "y": Y, "x_test": X[:, :2], "y_test": Y},
        r"'x_test' float32 \(2,\)",
    ),
    "objects": ({"x": np.array([{}, []], object), "y": Y}, "not a .npz of plain arrays"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_file(tmp_path, fault):
    arrays, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        data.load(user_file(tmp_path, **arrays))


def test_no_file_and_no_npz(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        data.load(tmp_path / "absent.npz")
    text = tmp_path / "text.npz"
    text.write_text("hello")
    with pytest.raises(ValueError, match=r"not a \.npz"):
        data.load(text)


def test_unknown_name():
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        data.load("digit")
