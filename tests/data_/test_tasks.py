"""Every task keeps the contract of its kind; the made-up ones obey their papers' rules."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import datasets
from sklearn.dummy import DummyClassifier

from jgrad import data

SMALL = {
    "circles": "examples=60,noise=0.0",
    "blobs": "examples=60,classes=5,features=4",
    "adding": "examples=300,length=13",
    "copy_memory": "examples=200,delay=7",
    "temporal_order": "examples=200,length=30",
    "python_source": "examples=50,length=20",
}
NAMES = [":".join(filter(None, (name, SMALL.get(name)))) for name in data.DATASETS]
FEATURES = {
    "digits": (64,),
    "digits_image": (8, 8, 1),
    "digits_rows": (8, 8),
    "digits_pixels": (64, 1),
    "iris": (4,),
    "wine": (13,),
    "breast_cancer": (30,),
    "diabetes": (10,),
    "linnerud": (3,),
    "circles": (2,),
    "blobs": (4,),
    "two_spirals": (2,),
    "adding": (13, 2),
    "copy_memory": (27,),
    "temporal_order": (30,),
    "python_source": (20,),
}
OUTPUTS = {
    "classification": {
        "digits": 10,
        "digits_image": 10,
        "digits_rows": 10,
        "digits_pixels": 10,
        "iris": 3,
        "wine": 3,
        "breast_cancer": 2,
        "circles": 2,
        "blobs": 5,
        "two_spirals": 2,
        "temporal_order": 4,
    },
    "per_position": {"copy_memory": 9, "python_source": 97},
    "regression": {"diabetes": 1, "linnerud": 3, "adding": 1},
}
VOCABULARY = {"copy_memory": 10, "temporal_order": 8, "python_source": 97}


def together(task):
    """All examples and answers, training ones first."""
    return (
        np.concatenate([task.x_train, task.x_test]),
        np.concatenate([task.y_train, task.y_test]),
    )


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    task, bare = data.load(name), name.partition(":")[0]
    assert task.name == name
    assert task.shape == task.x_test.shape[1:] == FEATURES[bare]
    assert OUTPUTS[task.kind][bare] == task.outputs
    assert task.classes == (0 if task.kind == "regression" else task.outputs)
    assert task.vocabulary == VOCABULARY.get(bare)
    x, y = together(task)
    assert x.dtype == (np.float32 if task.vocabulary is None else np.int32)
    assert np.isfinite(x).all()
    assert y.dtype == (np.float32 if task.kind == "regression" else np.int32)
    assert y.shape[1:] == {"classification": (), "per_position": task.shape}.get(
        task.kind, (task.outputs,)
    )
    if task.vocabulary is not None:
        assert x.min() >= 0
        assert x.max() < task.vocabulary
    if task.kind != "regression":
        assert y.min() >= 0
        assert y.max() < task.classes
    assert len(task.y_train) > len(task.y_test) > 0 or bare == "two_spirals"


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides(name):
    one, again, other = (data.load(name, seed=seed) for seed in (1, 1, 2))
    assert one.digest() == again.digest()
    assert (one.digest() == other.digest()) == (name == "two_spirals")


@pytest.mark.parametrize("name", ["wine", "linnerud", "copy_memory:examples=40,delay=3"])
def test_baseline_is_the_best_constant(name):
    """Every other constant costs more, as the loss itself tells."""
    task = data.load(name, seed=3)
    y = task.y_test
    if task.kind == "regression":
        best = y.mean(0, dtype=np.float64)

        def loss(constant):
            return np.mean((y - constant) ** 2)

        others = [best + step for step in np.random.default_rng(0).normal(size=(20, y.shape[1]))]
    else:
        columns = y.reshape(len(y), -1)
        best = np.stack([np.bincount(c, minlength=task.classes) / len(y) for c in columns.T])

        def loss(constant):
            taken = constant[np.arange(columns.shape[1]), columns]
            return -np.mean(np.log(taken))

        noise = np.random.default_rng(0).uniform(0.01, 1, size=(20, *best.shape))
        others = [p / p.sum(-1, keepdims=True) for p in best + 0.1 * noise]
    assert task.baseline == pytest.approx(loss(best), rel=1e-6)
    assert task.baseline < min(map(loss, others))


@pytest.mark.parametrize("name", ["breast_cancer", "copy_memory:examples=40,delay=3"])
def test_chance_is_what_the_commonest_answer_scores(name):
    task = data.load(name, seed=3)
    columns = task.y_test.reshape(len(task.y_test), -1).T
    right = [DummyClassifier().fit(c[:, None], c).score(c[:, None], c) for c in columns]
    assert task.chance == pytest.approx(np.mean(right))
    assert data.load("diabetes").chance == 0


def test_published_baselines():
    """1/6 for adding (Var of a sum of two uniforms), 10 ln 8/(T + 20) for copying."""
    examples = 150_000
    adding = data.load(f"adding:length=4,examples={examples}").baseline
    # Four standard errors; (x - 1)⁴ of a triangular x has mean 1/15.
    error = 4 * math.sqrt((1 / 15 - 1 / 36) / (0.2 * examples))
    assert adding == pytest.approx(1 / 6, abs=error)
    assert error < 0.1767 - 1 / 6
    copying = data.load("copy_memory:delay=12,examples=50000").baseline
    assert copying == pytest.approx(10 * math.log(8) / 32, rel=1e-3)
    order = data.load("temporal_order:length=12,examples=50000").baseline
    assert order == pytest.approx(math.log(4), rel=1e-3)


def test_unscored_positions_do_not_count():
    y = np.array([[0, -1, 2], [1, -1, 2], [1, -1, -1]], np.int32)
    task = data.Split("mine", np.zeros((3, 3, 1), np.float32), y, np.zeros((3, 3, 1)), y)
    assert (task.kind, task.classes) == ("per_position", 3)
    assert task.baseline == pytest.approx(3 / 5 * stats.entropy([1 / 3, 2 / 3]), rel=1e-12)


def test_digits_are_the_same_in_every_shape():
    flat = data.DATASETS["digits"](seed=2)
    for name in ("digits_image", "digits_rows", "digits_pixels"):
        other = data.DATASETS[name](seed=2)
        np.testing.assert_array_equal(other.x_test.reshape(-1, 64), flat.x_test)
        np.testing.assert_array_equal(other.y_train, flat.y_train)
    original, labels = datasets.load_digits(return_X_y=True)
    row = {tuple(x): y for x, y in zip(original, labels, strict=True)}
    assert row[tuple(flat.x_test[5])] == flat.y_test[5]


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud"])
def test_bundled_rows_keep_their_answers(name):
    original, answers = getattr(datasets, f"load_{name}")(return_X_y=True)
    task = data.DATASETS[name]()
    x, y = together(task)
    of = {tuple(np.float32(row)): answer for row, answer in zip(original, answers, strict=True)}
    expected = np.array([of[tuple(row)] for row in x], np.float64)
    if task.kind == "regression":
        expected = expected.reshape(len(x), -1)
        train = expected[: len(task.y_train)]
        expected = (expected - train.mean(0)) / train.std(0)
    assert len(x) == len(original)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_images_are_standardised_by_channel():
    """One mean for all places, so that a stroke looks the same wherever it is."""
    raw, task = data.DATASETS["digits_image"](), data.load("digits_image")
    mean, deviation = raw.x_train.mean(dtype=np.float64), raw.x_train.std(dtype=np.float64)
    np.testing.assert_allclose(task.x_test, (raw.x_test - mean) / deviation, rtol=1e-4, atol=1e-6)
    rows = data.load("digits_rows")
    moving = rows.x_train.std((0, 1)) > 0
    np.testing.assert_allclose(rows.x_train[..., moving].std((0, 1)), 1, rtol=1e-4)


def test_published_tasks_keep_their_scale():
    values = data.load("adding:length=13,examples=300").x_train[..., 0]
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(0.5, abs=0.02)


def test_adding():
    x, y = together(data.load("adding:length=13,examples=300"))
    for values, marks, answer in zip(x[..., 0], x[..., 1], y[:, 0], strict=True):
        (first, second) = np.flatnonzero(marks)
        assert set(marks) == {0.0, 1.0}
        assert first < 6 <= second
        assert answer == pytest.approx(values[first] + values[second], rel=1e-6)
    places = np.argwhere(x[..., 1])[:, 1]
    assert set(places) == set(range(13))


def test_copy_memory():
    x, y = together(data.load("copy_memory:delay=7,examples=200"))
    for tokens, answer in zip(x.tolist(), y.tolist(), strict=True):
        digits = tokens[:10]
        assert all(1 <= digit <= 8 for digit in digits)
        assert tokens[10:] == [0] * 6 + [9] + [0] * 10
        assert answer == [0] * 17 + digits
    assert set(x[:, :10].ravel()) == set(range(1, 9))


def test_temporal_order():
    x, y = together(data.load("temporal_order:length=30,examples=200"))
    for tokens, answer in zip(x, y, strict=True):
        text = "".join(data.SYMBOLS[token] for token in tokens)
        assert text[0] == "B"
        assert text[-1] == "E"
        first, second = (i for i, symbol in enumerate(text) if symbol in "XY")
        assert 3 <= first <= 6
        assert 15 <= second <= 18
        assert ["XX", "XY", "YX", "YY"][answer] == text[first] + text[second]
        assert set(text[1:-1]) <= set("abcdXY")
    assert set(y) == {0, 1, 2, 3}


def test_circles_and_blobs():
    x, y = together(data.load("circles:examples=60,noise=0.0,factor=0.3"))
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.where(y == 0, 1, 0.3), rtol=1e-5)
    x, y = together(data.load("blobs:examples=3000,classes=3,features=4,spread=0.5"))
    for label in range(3):
        np.testing.assert_allclose(x[y == label].std(0), 0.5, rtol=0.1)
    assert np.bincount(y).tolist() == [1000] * 3


def test_two_spirals():
    """97 points each from radius 6.5 inwards, three turns; the test points lie in between."""
    task = data.load("two_spirals")
    one, other = task.x_train[task.y_train == 1], task.x_train[task.y_train == 0]
    np.testing.assert_allclose(one, -other)
    radius = np.linalg.norm(one, axis=1)
    np.testing.assert_allclose(radius, np.linspace(6.5, 0.5, 97), rtol=1e-5)
    turn = np.unwrap(np.arctan2(one[:, 0], one[:, 1]))
    np.testing.assert_allclose(turn, np.linspace(0, 6 * np.pi, 97), atol=1e-5)
    halfway = np.linalg.norm(task.x_test[task.y_test == 1], axis=1)
    np.testing.assert_allclose(halfway, (radius[1:] + radius[:-1]) / 2, rtol=1e-5)


def text_of(tokens):
    return "".join(data.CHARACTERS[token] for token in tokens)


def test_python_source():
    task = data.load("python_source:length=40,examples=60")
    np.testing.assert_array_equal(task.x_train[:, 1:], task.y_train[:, :-1])
    files = {
        path.name: "".join(c if c in data.CHARACTERS else data.CHARACTERS[-1] for c in text)
        for path in Path(os.__file__).parent.glob("*.py")
        for text in [path.read_text(encoding="utf-8", errors="replace")]
    }
    homes = []
    for x, y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        windows = [text_of([*row, last]) for row, last in zip(x, y[:, -1], strict=True)]
        found = [[name for name, text in files.items() if window in text] for window in windows]
        # A window over the border of two files is in neither.
        assert sum(map(bool, found)) > 0.9 * len(found)
        homes.append({names[0] for names in found if len(names) == 1})
    assert homes[0]
    assert homes[1]
    assert not homes[0] & homes[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("addign", "did you mean 'adding'"),
        ("adding:lenght=9", "did you mean 'length'"),
        ("adding:9", "write every number with its name"),
        ("adding:length=9.5", "length must be a whole number, got 9.5"),
        ("adding:length=long", "'length=long' is not understood"),
        ("adding:length=1", "at least 2 steps, got 1"),
        ("adding:examples=1", "at least 2, got 1"),
        ("adding:seed=3", "unknown option"),
        ("copy_memory:delay=0", "at least 1"),
        ("temporal_order:length=9", "at least 10"),
        ("blobs:classes=1", "at least 2 classes"),
        ("circles:factor=1.5", "factor=1.5"),
        ("circles:noise=nan", "noise=nan"),
        ("python_source:length=0", "at least 1 character, got 0"),
        ("python_source:examples=900000000", "windows of 64 characters"),
        ("digits:examples=5", "unknown option of data set 'digits'"),
    ],
)
def test_wrong_name(name, words):
    with pytest.raises(ValueError, match=words):
        data.load(name)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_wrong_share(share):
    with pytest.raises(ValueError, match="test_share must be between 0 and 1"):
        data.load("digits", test_share=share)
