"""Comparisons: remedies for what fails, resumed to the same bits, refused in another's folder."""

import errno
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from jgrad import results, sweeps
from jgrad.models import MLP
from jgrad.sweeps import Comparison, Trial, _train, compare, vary

pytestmark = pytest.mark.loose_promotion

#: 1.01 is above every accuracy: everything fails, so every remedy is tried.
SMALL = {
    "activations": ("tanh", "sigmoid"),
    "inits": ("xavier", "he"),
    "base": Trial(model=MLP(depth=3, width=8), batch=16),
    "learning_rates": {"sgd": (0.1, 0.3), "adam": (0.001, 0.01)},
    "seeds": (0, 5),
    "remedies": ("layer norm", "adam"),
    "spread": 1,
    "trains_above": 1.01,
    "programs": 5,
    "steps": 8,
    "chunk": 4,
}


#: What is changed in the base, not in the comparison.
OF_BASE = ("depth", "width", "batch", "norm", "skip", "optimizer", "clip", "data")


def small(**changes):
    base = vary(SMALL["base"], **{k: v for k, v in changes.items() if k in OF_BASE})
    return Comparison(
        **SMALL | {"base": base} | {k: v for k, v in changes.items() if k not in OF_BASE}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The dataset, its folder, and what was told on the way."""
    folder, told = tmp_path_factory.mktemp("run"), []
    return compare(small(), output=folder, progress=told.append), folder, told


class Stopped(Exception):
    pass


GOES_ON = "the same call goes on from there."


def test_remedies_follow_failures(whole):
    dataset, _, _ = whole
    programs = list(dict.fromkeys(dataset.program.values.tolist()))
    assert programs[:2] == ["tanh", "sigmoid"]
    best = dataset.test_accuracy.isel(step=-1).mean("seed").max("rate").groupby("program").mean()
    worst = min(("tanh", "sigmoid"), key=lambda name: float(best.sel(program=name)))
    other = ({"tanh", "sigmoid"} - {worst}).pop()
    assert programs[2:4] == [f"{worst} + layer norm", f"{worst} + adam"]
    better = max(("layer norm", "adam"), key=lambda r: float(best.sel(program=f"{worst} + {r}")))
    assert programs[4:] == [f"{other} + {better}"]
    assert dataset.attrs["n_programs"] == 5
    assert dataset.attrs["n_points"] == 5 * 2 * 2 * 2


def test_remedies_name_their_baseline(whole):
    dataset, _, _ = whole
    labels = dataset.label.values.tolist()
    assert len(set(labels)) == len(labels)
    for label, baseline, remedy in zip(
        labels, dataset.baseline.values, dataset.remedy.values, strict=True
    ):
        assert label == (f"{baseline} + {remedy}" if baseline else label)
        assert not baseline or baseline in labels
    adam = dataset.isel(config=[r == "adam" for r in dataset.remedy.values])
    assert set(adam.optimizer.values) == {"adam"}
    assert adam.learning_rate.values.tolist() == [[0.001, 0.01]] * adam.sizes["config"]


def test_everything_is_filled_in(whole):
    dataset, _, _ = whole
    assert dict(dataset.sizes) == {
        "config": 10,
        "rate": 2,
        "seed": 2,
        "step": 2,
        "record": 2,
        "quantile": 3,
        "depth": 3,
    }
    assert dataset.step.values.tolist() == [4, 8]
    assert dataset.record.values.tolist() == [0, 4]
    assert np.isfinite(dataset.train_loss).all()
    assert np.isfinite(dataset.log_gain).all()
    assert np.isnan(dataset.linear_log_gain.isel(depth=0)).all()
    assert not dataset.diverged.any()


def test_seeds_are_paired(whole):
    """At the first record nothing has been trained yet, so the learning rate cannot matter."""
    dataset, _, _ = whole
    first = dataset.log_dz.isel(record=0)
    np.testing.assert_array_equal(first.isel(rate=0), first.isel(rate=1))
    assert (first.isel(seed=0) != first.isel(seed=1)).all()


def test_forecast_is_of_what_is_measured():
    """Wide and at initialisation, the measured gain of every layer is near the predicted one."""
    wide = small(
        activations=("tanh",),
        remedies=(),
        width=300,
        depth=6,
        steps=1,
        chunk=1,
        batch=128,
        seeds=(0, 1, 2),
        learning_rates={"sgd": (0.1,)},
    )
    dataset = compare(wide)
    for name in ("log_gain", "linear_log_gain"):
        measured = dataset[name].isel(record=0, rate=0).mean("seed")
        forecast = dataset[f"forecast_{name}"]
        # The first layers see real digits, whose lengths vary; theory takes their mean.
        np.testing.assert_allclose(measured[:, 2:], forecast[:, 2:], atol=0.025)
    assert float(abs(dataset.forecast_log_gain).min()) > 0.05


def test_told_on_the_host_between_chunks(whole):
    _, _, told = whole
    assert [p.stage for p in told] == ["compile", "train", "train"] * 5
    assert [p.step for p in told] == [0, 4, 8] * 5
    assert [p.index for p in told] == [k // 3 for k in range(15)]
    assert told[0].remaining is None
    assert told[-1].remaining == 0
    assert all(p.points == 8 and p.programs == 5 for p in told)


@pytest.mark.parametrize(
    "stop_after", [4, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 8, 12))]
)
def test_a_stopped_run_ends_with_the_same_bits(whole, tmp_path, stop_after, monkeypatch):
    """The program in which it was stopped goes on from its last chunk."""
    monkeypatch.setattr(_train, "PAUSE", 0.0)
    dataset, _, _ = whole
    count = 0

    def stop(_):
        nonlocal count
        count += 1
        if count > stop_after:
            raise Stopped

    with pytest.raises(Stopped) as stopped:
        compare(small(), output=tmp_path, progress=stop)
    assert stopped.value.__notes__ == [f"What was done is in {tmp_path}; {GOES_ON}"]
    told = []
    again = compare(small(), output=tmp_path, progress=told.append)
    done, chunks = divmod(stop_after, 3)
    assert [p.stage for p in told[: done + 1]] == ["resume"] * done + ["compile"]
    assert [p.step for p in told[done + 1 :] if p.index == done] == ([8] if chunks else [4, 8])
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not [name for name in names if "running" in name or name.endswith(".part")]
    same_numbers(again, dataset)
    same_numbers(results.load(tmp_path / "results.nc"), dataset)


def same_numbers(one, other):
    assert set(one.variables) == set(other.variables)
    for name in other.variables:
        a, b = one[name].values, other[name].values
        if a.dtype.kind == "f":
            assert a.tobytes() == b.tobytes(), name
        else:
            assert a.tolist() == b.tolist(), name


def test_a_finished_run_trains_nothing(whole):
    dataset, folder, _ = whole
    told = []
    same_numbers(compare(small(), output=folder, progress=told.append), dataset)
    assert {p.stage for p in told} == {"resume"}


def test_another_runs_folder_is_refused(whole):
    _, folder, _ = whole
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(
        ValueError, match=r"another run's results \(base.model.depth: 3 there, 2 here\); choose"
    ):
        compare(small(depth=2), output=folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def device_lost(patch):
    """From the second chunk of the second program on; the first chunk was kept."""
    compiled, left = _train._Run.compile, iter([True] * 3)

    def compiling(run, memory):
        advance = compiled(run, memory)

        def on_a_failing_device(first):
            if not next(left, False):
                msg = "INTERNAL: device lost"
                raise jax.errors.JaxRuntimeError(msg)
            return advance(first)

        return on_a_failing_device

    patch.setattr(_train._Run, "compile", compiling)


def disk_full(patch):
    """From the fourth file on: the record, how far the first program came, its results."""
    synced, left = os.fsync, iter([True] * 3)

    def syncing(file):
        if not next(left, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(file)

    patch.setattr(os, "fsync", syncing)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails", "error", "words", "goes_on"),
    [
        (device_lost, jax.errors.JaxRuntimeError, "device lost", 8),
        (disk_full, OSError, r"No space left on device: .*2-sigmoid.0.running.npz", 4),
    ],
)
def test_what_was_done_outlasts_a_failure(
    whole, tmp_path, monkeypatch, fails, error, words, goes_on
):
    monkeypatch.setattr(_train, "PAUSE", 0.0)
    dataset, _, _ = whole
    with monkeypatch.context() as patch:
        fails(patch)
        with pytest.raises(error, match=words) as failed:
            compare(small(), output=tmp_path)
    assert failed.value.__notes__[0].endswith(GOES_ON)
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]
    told = []
    same_numbers(compare(small(), output=tmp_path, progress=told.append), dataset)
    assert [(p.stage, p.step) for p in told[:3]] == [
        ("resume", 8),
        ("compile", 0),
        ("train", goes_on),
    ]


@pytest.mark.slow
def test_killed_outright_and_started_again(whole, tmp_path):
    dataset, _, _ = whole
    script = (
        "import sys\n"
        "from jgrad.sweeps import Comparison, compare\n"
        "from jgrad.models import MLP\n"
        "from jgrad.sweeps import Trial\n"
        "from jgrad.optim import Chain\n"
        "from jgrad.sweeps import _train\n"
        "_train.PAUSE = 0.0\n"
        f"compare(Comparison(**{SMALL!r}), output=sys.argv[1],\n"
        "        progress=lambda p: print(p.stage, p.index, flush=True))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("train 2"):
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    told = []
    same_numbers(compare(small(), output=tmp_path, progress=told.append), dataset)
    assert [p.stage for p in told[:2]] == ["resume", "resume"]
    assert [(p.stage, p.step) for p in told[2:4]] == [("compile", 0), ("train", 8)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"activations": ("tanh", "sigmiod")}, "did you mean 'sigmoid'"),
        ({"inits": ("xaiver",)}, "did you mean 'xavier'"),
        ({"optimizer": "adma"}, "did you mean 'adam'"),
        ({"clip": "golbal_norm:1"}, "did you mean 'global_norm'"),
        ({"norm": "bacth"}, "did you mean 'batch'"),
        ({"remedies": ("skipp",)}, "did you mean 'skip'"),
        ({"learning_rates": {"sdg": (0.1,)}}, "did you mean 'sgd'"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"batch": 1, "remedies": ("batch norm",)}, "batch norm needs batches"),
        ({"learning_rates": {"sgd": (0.1, -0.3)}}, "at least 0, got -0.3"),
        ({"learning_rates": {"sgd": (0.1, float("nan"))}}, "at least 0, got nan"),
        ({"learning_rates": {"sgd": (0.1,)}}, "as many learning rates"),
        ({"learning_rates": {"sgd": ()}}, "is empty"),
        ({"seeds": ()}, "seeds is empty"),
        ({"seeds": (1, 1)}, "seeds holds 1 twice"),
        ({"seeds": (-1,)}, "at least 0"),
        ({"activations": "tanh"}, "must be a sequence"),
        ({"steps": 10}, "multiple of chunk=4, got 10"),
        ({"programs": 1}, "2 activations need as many programs"),
    ],
)
def test_wrong_input(changes, words):
    with pytest.raises(ValueError, match=words):
        small(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"data": "digit"}, "did you mean 'digits'"), ({"batch": 5000}, "more than the 1438")],
)
def test_wrong_data_writes_nothing(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        compare(small(**changes), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_demos_comparison_is_the_promised_one():
    demo = Comparison()
    assert demo.base.model.depth == 30
    assert set(demo.activations) == {"sigmoid", "tanh", "relu", "gelu"}
    assert set(demo.inits) == {"xavier", "he", "orthogonal"}
    assert len(demo.seeds) == 3
    assert demo.programs <= 12
    assert set(demo.remedies) < set(sweeps.REMEDIES)


@pytest.mark.parametrize("name", sweeps.REMEDIES)
def test_every_remedy_is_a_change_that_a_trial_takes(name):
    tried = vary(Trial(), **sweeps.REMEDIES[name])
    assert tried != Trial()
    assert tried.chain.transformation(0.1, 50)
