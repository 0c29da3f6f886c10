"""The conclusion says what the numbers say."""

import json

import pytest
from made_up_sweep import SWEEP

from jgrad import reports
from jgrad.cli._output import plain


@pytest.fixture(scope="module")
def said():
    return reports.conclude(reports.summarise(SWEEP))


def test_the_title_counts_and_names(said):
    assert said.title.startswith("4 of 8 plain 30-layer networks train, none of them with sigmoid")
    assert "mend" in said.title
    for remedy in ("layer norm", "batch norm", "skip"):
        assert remedy in said.title
    assert "clip" not in said.title


def test_the_reasons_stand_beside_theory(said):
    points = dict(said.points)
    assert "falls by e^1.4" in points["Why sigmoid fails"]
    assert "theory: it falls by e^1.45 a layer" in points["Why sigmoid fails"]
    assert "the activation does" in points["Why sigmoid fails"]
    assert "Why tanh fails" not in points
    assert points["Remedies for sigmoid"].startswith("It trains with ")
    assert (
        "do not help: the gradient still falls by e^1.29 a layer" in points["Remedies for sigmoid"]
    )


def test_a_remedy_that_mends_some_is_told_from_one_that_mends_all(said):
    assert "adam" in dict(said.points)["Remedies for relu"].split("not help")[0]


def test_what_fails_with_a_sound_gradient_is_not_blamed_on_it():
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("relu + he")
    changed["test_accuracy"][config] = 0.2
    text = dict(reports.conclude(reports.summarise(changed)).points)["Why relu fails"]
    assert "With he the gradient arrives" in text


def test_what_mends_one_activation_and_not_another_is_said_of_each():
    changed = SWEEP.copy(deep=True)
    labels = list(changed.label.values)
    for config in [i for i, label in enumerate(labels) if label.startswith("relu + xavier + ")]:
        changed["test_accuracy"][config] = 0.1
        changed["diverged"][config] = "skip" in labels[config]
    said = reports.conclude(reports.summarise(changed))
    assert said.title.endswith("mend sigmoid and gelu; nothing tried mends relu.")
    assert "It diverges with skip (the gradient" in dict(said.points)["Remedies for relu"]


def test_without_any_failure():
    healthy = SWEEP.isel(config=[list(SWEEP.label.values).index("tanh + he")])
    said = reports.conclude(reports.summarise(healthy))
    assert said.title == "1 of 1 30-layer networks trains."


def test_for_machines():
    summary = reports.summarise(SWEEP)
    again = json.loads(json.dumps(plain(reports.as_plain(summary))))
    assert len(again["ranking"]) == SWEEP.sizes["config"]
    assert again["ranking"][-1]["findings"][0]["symptom"] == "vanishing"
    assert again["ranking"][-1]["steps"] is None
