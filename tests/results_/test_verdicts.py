"""Verdicts, windows and merged sweeps, on datasets made by hand."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from jgrad import results

SEEDS, STEPS = 4, 3
RNG = np.random.default_rng(7)


def made(labels, accuracy, *, loss=None, baseline="plain", **attrs):
    """A sweep of one learning rate with these final accuracies [configs, seeds]."""
    accuracy = np.asarray(accuracy, float)
    curve = np.broadcast_to(np.linspace(0.2, 1.0, STEPS), (*accuracy.shape, STEPS))
    curve = (curve * accuracy[..., None])[:, None]
    losses = 1 - 0.5 * curve if loss is None else np.asarray(loss, float)
    return results.build(
        {
            "label": labels,
            "baseline": [baseline if label != baseline else "" for label in labels],
            "remedy": labels,
            "score": ["accuracy"] * len(labels),
            "seed": list(range(accuracy.shape[-1])),
            "step": [10, 20, 30],
            "learning_rate": np.full((len(labels), losses.shape[1]), 0.1),
            "train_loss": losses,
            "test_loss": losses,
            "test_accuracy": np.broadcast_to(curve, losses.shape),
        },
        {"trains_above": 0.5, **attrs},
    )


def test_a_verdict_is_the_paired_t_test():
    plain = RNG.uniform(0.3, 0.5, SEEDS)
    skip = plain + 0.2 + 0.02 * RNG.normal(size=SEEDS)
    clip = plain + 0.001 * RNG.normal(size=SEEDS)
    first, second = results.verdicts(made(["plain", "skip", "clip"], [plain, skip, clip]))
    assert (first.label, first.helps) == ("skip", True)
    assert (second.label, second.helps) == ("clip", None)
    test = stats.ttest_rel(skip, plain)
    interval = test.confidence_interval(0.95)
    assert first.difference == pytest.approx((skip - plain).mean())
    assert (first.low, first.high) == pytest.approx((interval.low, interval.high))
    # Two remedies were tried: Holm doubles the smaller p.
    assert first.p == pytest.approx(2 * test.pvalue)
    assert second.p == pytest.approx(stats.ttest_rel(clip, plain).pvalue)
    assert f"skip: helps: test accuracy better by {100 * first.difference:.3g} points" in str(first)
    assert f"p = {2 * test.pvalue:.2g}, corrected for 2 verdicts)" in str(first)
    assert "not shown to help" in str(second)


def test_harm_is_told():
    plain, noise = RNG.uniform(0.8, 0.9, SEEDS), np.array([1, -1, 1, -1]) / 1000
    (verdict,) = results.verdicts(made(["plain", "bad"], [plain, plain - 0.5 + noise]))
    assert verdict.helps is False
    assert str(verdict).startswith("bad: harms: test accuracy worse by 50 points")


def test_equal_differences_are_no_certainty():
    plain = np.full(SEEDS, 0.25)
    # 36 of 360 examples more in every pair; in float32 these differences are not quite equal.
    thirds = np.array([101, 155, 208, 251])
    apart = np.stack([thirds, thirds + 36]).astype(np.float32) / np.float32(360)
    assert np.ptp(apart[1] - apart[0]) > 0
    for scores in ([plain, plain + 0.5], apart):
        (verdict,) = results.verdicts(made(["plain", "good"], scores))
        # All that four equal signs show: 2 · (1/2)⁴.
        assert verdict.p == pytest.approx(stats.binomtest(SEEDS, SEEDS).pvalue)
        assert verdict.helps is None


def test_a_divergence_is_told():
    loss = np.full((2, 1, SEEDS, STEPS), 0.5)
    loss[1, 0, :3, -1] = np.nan
    accuracy = RNG.uniform(0.8, 0.9, (2, SEEDS))
    (verdict,) = results.verdicts(made(["plain", "bad"], accuracy, loss=loss))
    assert verdict.diverged == 3
    assert str(verdict).endswith("; in 3 of 4 pairs one diverged")


def test_one_seed_shows_nothing():
    (verdict,) = results.verdicts(made(["plain", "skip"], [[0.1], [0.9]]))
    assert verdict.helps is None
    assert np.isnan(verdict.p)
    assert "one seed" in str(verdict)


def test_the_random_arm_is_what_a_remedy_has_to_beat():
    labels = ["plain", "skip", "r1", "r2", "r3", "r4"]
    accuracy = np.array([0.1, 0.6, 0.2, 0.7, 0.3, 0.4])[:, None] + np.zeros((6, 2))
    sweep = made(labels, accuracy, random=4)
    sweep = sweep.assign_coords(baseline=("config", ["", "plain", "", "", "", ""]))
    (verdict,) = results.verdicts(sweep)
    assert (verdict.beats_random, verdict.random) == (3, 4)
    assert "better than 3 of 4 random configurations" in str(verdict)


def test_without_accuracy_the_test_loss_counts():
    loss = np.ones((2, 1, 2, STEPS))
    loss[1, ..., -1] = [[0.4, 0.5]]
    sweep = made(["plain", "skip"], np.ones((2, 2)), loss=loss)
    sweep = sweep.assign_coords(score=("config", ["loss", "loss"]))
    (verdict,) = results.verdicts(sweep)
    assert verdict.score == "test loss"
    assert verdict.difference == pytest.approx(0.55)


def test_a_missing_baseline_is_named():
    with pytest.raises(ValueError, match="'plain' has the baseline 'plane', which is not"):
        results.verdicts(made(["plain", "skip"], np.ones((2, 2)), baseline="plane"))


def test_steps_to_wants_it_to_stay():
    sweep = made(["plain"], np.ones((1, 4)))
    curves = np.array([[0.6, 0.4, 0.7], [0.1, 0.2, 0.3], [0.5, 0.5, 0.5], [0.9, np.nan, 0.9]])
    sweep["test_accuracy"] = (sweep.test_accuracy.dims, curves[None, None])
    np.testing.assert_array_equal(results.steps_to(sweep).values[0, 0], [30, np.nan, 10, 30])
    np.testing.assert_array_equal(results.steps_to(sweep, 0.65).values[0, 0, :2], [30, np.nan])


def test_the_window_of_learning_rates():
    rates = np.array([[0.01, 0.1, 1.0, 10.0], [0.01, 0.1, 1.0, 10.0]])
    last = np.array([[0.9, 0.3, 0.5, np.nan], [2.0, 2.0, 2.0, np.inf]])
    loss = np.stack([np.ones((2, 4)), last], -1)[:, :, None] + np.zeros((2, 4, 3, 2))
    loss[0, 2, 1, 1] = 1.5  # one seed of the third rate does not come down
    sweep = xr.Dataset(
        {
            "train_loss": (("config", "rate", "seed", "step"), loss),
            "learning_rate": (("config", "rate"), rates),
        }
    )
    window = results.rate_window(sweep)
    np.testing.assert_array_equal(window.best, [0.1, 0.01])
    np.testing.assert_array_equal(window.stable_low, [0.01, np.nan])
    np.testing.assert_array_equal(window.stable_high, [0.1, np.nan])


def test_the_best_rate_is_one_that_diverges_least():
    loss = np.ones((1, 3, 3, 2))
    loss[0, :, :, 1] = [[0.9, np.nan, np.nan], [0.5, 0.7, np.nan], [0.4, 0.3, np.inf]]
    sweep = xr.Dataset(
        {
            "train_loss": (("config", "rate", "seed", "step"), loss),
            "learning_rate": (("config", "rate"), [[0.01, 0.1, 1.0]]),
        }
    )
    np.testing.assert_array_equal(results.rate_window(sweep).best, [1.0])
    sweep.train_loss[0, 2, 1, 1] = np.nan
    np.testing.assert_array_equal(results.rate_window(sweep).best, [0.1])


def test_a_table_of_trainings():
    sweep = made(["plain", "skip"], RNG.uniform(0.2, 0.9, (2, SEEDS)))
    table = results.to_dataframe(sweep)
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 2 * SEEDS
    row = table[(table.label == "skip") & (table.seed == 2)].iloc[0]
    assert row.test_accuracy == sweep.test_accuracy.values[1, 0, 2, -1]
    assert row.learning_rate == 0.1
    assert {"baseline", "steps_to", "train_loss"} <= set(table.columns)


def deep(label, depth, **settings):
    gain = RNG.normal(size=(1, 1, 2, 2, depth))
    return results.build(
        {
            "label": [label],
            "seed": [0, 1],
            "record": [0, 10],
            "learning_rate": [[0.1]],
            "log_gain": gain,
            "site": [[f"act[{k}]" for k in range(depth)]],
        },
        {"steps": 20, "depth": depth},
        settings={name: [value] for name, value in settings.items()},
    )


def test_merged_networks_may_differ_in_depth_and_settings(tmp_path):
    shallow, long = deep("a", 2, width=8, heads=4), deep("b", 5, width=16)
    merged = results.merge([shallow, long])
    assert merged.sizes["depth"] == 5
    assert merged.site.values.tolist()[0] == ["act[0]", "act[1]", "", "", ""]
    np.testing.assert_array_equal(merged.log_gain.values[0, ..., :2], shallow.log_gain.values[0])
    assert np.isnan(merged.log_gain.values[0, ..., 2:]).all()
    np.testing.assert_array_equal(merged.log_gain.values[1], long.log_gain.values[0])
    assert merged.width.values.tolist() == [8, 16]
    assert merged.heads.values.tolist() == ["4", ""]
    assert merged.attrs == {"schema": results.SCHEMA, "steps": 20}
    results.save(merged, tmp_path / "merged.nc")
    back = results.load(tmp_path / "merged.nc")
    assert back.site.values.tolist() == merged.site.values.tolist()
    with xr.open_dataset(tmp_path / "merged.nc") as plain:
        assert plain.log_gain.attrs["units"] == "nat"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "no datasets to merge"),
        ([deep("a", 2), deep("a", 3)], "'a' is in more than one"),
        ([deep("a", 2), deep("b", 2).isel(seed=[0])], r"different seed cannot be merged: \[0, 1\]"),
    ],
)
def test_what_cannot_be_merged(parts, words):
    with pytest.raises(ValueError, match=words):
        results.merge(parts)


def test_a_file_of_the_first_version_is_read(tmp_path):
    old = made(["plain", "skip"], np.ones((2, 2)))
    old = old.assign_coords(site=("depth", ["act[0]", "act[1]"])).assign_attrs(schema=1)
    results.save(old, tmp_path / "old.nc")
    new = results.load(tmp_path / "old.nc")
    assert new.attrs["schema"] == results.SCHEMA
    assert new.site.dims == ("config", "depth")
    assert new.site.values.tolist() == [["act[0]", "act[1]"]] * 2


def version_2(accuracy, **attrs):
    """A file as version 2 left it: what it is held against in the attributes."""
    old = made(["plain", "skip"], accuracy).drop_vars("score")
    return old.assign_attrs(schema=2, **attrs)


def test_a_file_of_the_second_version_is_read(tmp_path):
    told = {"data": "digits", "classes": 10, "chance": 0.1, "baseline_loss": 2.3}
    results.save(version_2(np.ones((2, 2)), **told), tmp_path / "old.nc")
    new = results.load(tmp_path / "old.nc")
    assert new.score.values.tolist() == ["accuracy"] * 2
    assert new.data.values.tolist() == ["digits"] * 2
    assert (new.chance == 0.1).all()
    assert (new.baseline_loss == 2.3).all()
    assert results.verdicts(new)[0].score == "test accuracy"


def test_an_explained_variance_gets_its_name_back():
    told = {"data": "diabetes", "classes": 1, "chance": 0.0, "baseline_loss": 5900.0}
    old = version_2([[0.4, 0.5], [0.6, 0.8]], **told)
    new = results.upgraded(old)
    np.testing.assert_array_equal(new.explained_variance, old.test_accuracy)
    assert "test_accuracy" not in new
    (verdict,) = results.verdicts(new)
    assert (verdict.score, verdict.difference) == ("test explained variance", pytest.approx(0.25))


def test_of_several_data_sets_an_older_file_does_not_say_how_they_are_judged():
    new = results.upgraded(version_2(np.ones((2, 2))))
    assert new.score.values.tolist() == ["", ""]
    with pytest.raises(ValueError, match="does not say how its configurations are judged"):
        results.verdicts(new)


def test_each_configuration_has_its_own_score():
    sweep = made(["a", "b", "c"], RNG.uniform(0.2, 0.9, (3, SEEDS)))
    kinds = ["accuracy", "explained variance", "loss"]
    sweep = sweep.assign_coords(score=("config", kinds))
    sweep["explained_variance"] = sweep.test_accuracy - 2
    found = results.scores(sweep)
    np.testing.assert_array_equal(found[0], sweep.test_accuracy[0])
    np.testing.assert_array_equal(found[1], sweep.explained_variance[1])
    np.testing.assert_array_equal(found[2], -sweep.test_loss[2])
    with pytest.raises(ValueError, match="judged by its explained variance, but no explained_var"):
        results.scores(sweep.drop_vars("explained_variance"))


def test_a_setting_may_not_take_a_variables_name():
    with pytest.raises(ValueError, match="cannot be called 'seed'"):
        results.build({"label": ["a"]}, {}, settings={"seed": [1]})
