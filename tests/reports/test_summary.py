"""What is read off a sweep, against the numbers that were put in."""

import math

import numpy as np
import pytest
from made_up_sweep import SWEEP

from jgrad import reports


def test_every_configuration_is_there_once_and_the_fastest_first():
    summary = reports.summarise(SWEEP)
    assert sorted(e.label for e in summary.entries) == sorted(SWEEP.label.values)
    trained = [int(e.trained.sum()) for e in summary.entries]
    assert trained == sorted(trained, reverse=True)
    steps = [e.steps for e in summary.entries if e.trains]
    assert steps == sorted(steps)


def test_the_learning_rate_is_chosen_by_training_loss_alone():
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("tanh + he")
    changed["train_loss"][config] = 2.3
    changed["train_loss"][config, 1, :, -4:] = 0.01
    changed["test_accuracy"][config] = 0.99
    changed["test_accuracy"][config, 1] = 0.2
    entry = reports.summarise(changed)["tanh + he"]
    assert entry.learning_rate == pytest.approx(0.03)
    assert entry.mean == pytest.approx(0.2)


def test_a_rate_that_diverges_in_one_seed_is_not_chosen():
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("tanh + he")
    changed["train_loss"][config] = 0.5
    changed["train_loss"][config, 2] = 0.001
    changed["train_loss"][config, 2, 1, -1] = np.nan
    changed["diverged"][config, 2, 1] = True
    assert reports.summarise(changed)["tanh + he"].learning_rate != pytest.approx(0.1)


def test_spread_and_steps_by_hand():
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("relu + he")
    changed["test_accuracy"][config] = 0.1
    for seed, (first, last) in enumerate([(5, 0.90), (9, 0.96), (13, 0.84)]):
        changed["test_accuracy"][config, :, seed, first:] = last
    changed["test_accuracy"][config, :, 0, 2] = 0.95  # a peak that does not last counts for nothing
    entry = reports.summarise(changed)["relu + he"]
    assert entry.steps == 90
    assert entry.mean == pytest.approx(0.9)
    assert entry.spread == pytest.approx(0.06)
    assert entry.outcome == "trains"


def test_outcomes():
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("relu + he")
    changed["test_accuracy"][config, :, :2] = 0.1
    assert reports.summarise(changed)["relu + he"].outcome == "trains in 1 of 3 seeds"
    changed["test_accuracy"][config] = 0.1
    assert reports.summarise(changed)["relu + he"].outcome == "does not train"
    changed["diverged"][config] = True
    assert reports.summarise(changed)["relu + he"].outcome == "diverges"


def test_the_sweeps_own_level_counts():
    assert reports.summarise(SWEEP)["relu + he"].level == pytest.approx(0.55)
    below_chance = reports.summarise(SWEEP.assign_attrs(trains_above=0.05))
    assert below_chance["relu + he"].level == pytest.approx(0.55)
    strict = SWEEP.assign_attrs(trains_above=0.99)
    assert not any(e.trains for e in reports.summarise(strict).entries)


def test_gains_add_up_as_they_were_made():
    entry = reports.summarise(SWEEP)["sigmoid + he"]
    one = SWEEP.isel(config=list(SWEEP.label.values).index("sigmoid + he"), record=0)
    rate = list(one.learning_rate.values).index(entry.learning_rate)
    total = (one.log_dz.isel(depth=0) - one.log_da.isel(depth=-1)).isel(rate=rate).mean()
    assert entry.start.log_gain == pytest.approx(float(total))
    assert entry.start.activation + entry.start.linear == pytest.approx(float(total))
    assert {f.symptom for f in entry.findings} == {"vanishing"}


def test_a_configuration_without_forecast_has_no_comparison():
    summary = reports.summarise(SWEEP)
    assert summary["relu + xavier + skip"].comparison is None
    assert summary["relu + xavier"].comparison.predicted_rate == pytest.approx(-0.35)
    bare = SWEEP.drop_vars(["forecast_log_gain", "forecast_linear_log_gain"])
    assert all(e.comparison is None for e in reports.summarise(bare).entries)


def test_a_dataset_of_something_else_is_refused():
    with pytest.raises(ValueError, match="no log_gain in it"):
        reports.summarise(SWEEP.drop_vars("log_gain"))
    with pytest.raises(ValueError, match="no score in it"):
        reports.summarise(SWEEP.drop_vars("score"))
    older = SWEEP.assign_coords(score=("config", [""] * SWEEP.sizes["config"]))
    with pytest.raises(ValueError, match="several data sets were written by an older jgrad"):
        reports.summarise(older)


def test_a_diverged_run_of_nans_is_carried():
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("gelu + he")
    for name in ("train_loss", "log_gain", "linear_log_gain", "log_da", "log_dz"):
        changed[name][config] = np.nan
    changed["diverged"][config] = True
    changed["test_accuracy"][config] = np.nan
    entry = reports.summarise(changed)["gelu + he"]
    assert entry.outcome == "diverges"
    assert "non-finite" in {f.symptom for f in entry.findings}
    assert math.isinf(entry.steps)
    assert "gelu + he" in reports.page(reports.summarise(changed))


def diverged(seeds):
    """The sweep with "relu + he" diverged in these seeds, at every learning rate."""
    changed = SWEEP.copy(deep=True)
    config = list(changed.label.values).index("relu + he")
    changed["diverged"][config, :, seeds] = True
    changed["train_loss"][config, :, seeds, 5:] = np.nan
    changed["test_accuracy"][config, :, seeds] = 0.0
    return reports.summarise(changed)


def test_what_diverged_is_not_told_as_an_accuracy_of_0():
    entry = diverged([0, 1, 2])["relu + he"]
    assert entry.ended == "diverged"
    assert math.isnan(entry.mean)
    text = dict(reports.conclude(diverged([0, 1, 2])).points)["Why relu fails"]
    assert "With he it diverges at every learning rate tried." in text
    page = reports.page(diverged([0, 1, 2]))
    assert "0.0 ± 0.0 %" not in page
    partly = diverged([1])["relu + he"]
    assert partly.outcome == "trains in 2 of 3 seeds"
    assert partly.ended.endswith(" %, 1 diverged")
    assert partly.mean > 0.9


def two_tasks():
    """The sweep, half of it on a regression."""
    numbers = np.array([label.startswith(("tanh", "relu")) for label in SWEEP.label.values])
    kinds = np.where(numbers, "explained variance", "accuracy")
    sweep = SWEEP.assign_coords(
        data=("config", np.where(numbers, "diabetes", "digits")),
        score=("config", kinds),
        chance=("config", np.where(numbers, 0.0, 0.1)),
        baseline_loss=("config", np.where(numbers, 5900.0, 2.3)),
        loss_unit=("config", np.where(numbers, "", "nat")),
    )
    sweep["explained_variance"] = sweep.test_accuracy
    return sweep


def test_several_data_sets_are_told_one_after_the_other():
    summary = reports.summarise(two_tasks())
    assert summary.tasks == ("diabetes", "digits")
    one, other = (summary.of(task) for task in summary.tasks)
    assert {e.settings["activation"] for e in one.entries} == {"tanh", "relu"}
    assert (one.yardstick.chance, other.yardstick.chance) == (0.0, 0.1)
    said = reports.conclude(summary)
    assert said.title == "4 of 8 networks train on 2 data sets."
    assert dict(said.points)["diabetes"].startswith("3 of 4 plain 30-layer networks train")
    assert dict(said.points)["digits"].startswith("1 of 4 plain 30-layer networks trains")
    of_one, of_other = (dict(reports.conclude(part).points) for part in (one, other))
    assert "of the test variance explained" in of_one["Why relu fails"]
    assert "accuracy" not in of_one["Why relu fails"]
    assert "test accuracy" in of_other["Why sigmoid fails"]
    page = reports.page(summary)
    for heading in ("All data sets", "diabetes", "digits"):
        assert f">{heading}</h2>" in page
    assert "training loss (nats)" in page.split(">digits</h2>")[1]
    assert "training loss (nats)" not in page.split(">digits</h2>")[0]


def test_a_loss_alone_is_ranked_by_the_loss():
    labels = ["plain", "helps", "harms"]
    sweep = SWEEP.isel(config=[0, 1, 2]).copy(deep=True)
    sweep = sweep.assign_coords(
        label=("config", labels),
        baseline=("config", ["", "plain", "plain"]),
        **{name: ("config", [""] * 3) for name in ("data", "activation", "loss_unit")},
        score=("config", ["loss"] * 3),
        chance=("config", [np.nan] * 3),
        baseline_loss=("config", [np.nan] * 3),
    )
    ends = np.array([0.5, 0.1, 0.9])[:, None, None, None]
    spread = np.array([0.0, 0.001, 0.003])[None, None, :, None]
    sweep["test_loss"] = (sweep.train_loss.dims, ends + spread * ends + 0 * sweep.train_loss.values)
    summary = reports.summarise(sweep)
    assert [e.label for e in summary.entries] == ["helps", "plain", "harms"]
    assert [e.outcome for e in summary.entries] == ["helps", "as it is", "harms"]
    assert summary["helps"].ended == "0.1 ± 0.000153"
    said = reports.conclude(summary)
    assert said.title == "1 of 2 remedies helps: helps."
    assert dict(said.points)["Harms"].startswith("harms, test loss worse by 0.40")
    page = reports.page(summary)
    assert "accuracy" not in page
    assert "test loss" in page
