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
    bare = SWEEP.copy()
    del bare.attrs["classes"]
    with pytest.raises(ValueError, match="no 'chance' or 'classes'"):
        reports.summarise(bare)


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
