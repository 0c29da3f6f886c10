"""A sweep shared out over processes, beside the same one in a single process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from compare_in_processes import STUDY

from jgrad import results
from jgrad.sweeps import compare
from jgrad.sweeps._layout import share

pytestmark = pytest.mark.loose_promotion


def started(folder):
    """Both processes of a run in that folder."""
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        port = waiting.getsockname()[1]
    script = Path(__file__).with_name("compare_in_processes.py")
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    return [
        subprocess.Popen(
            [sys.executable, str(script), str(k), "2", str(port), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]


def finished(running):
    """What each of them said, a list of lines each; Gloo's own are left out."""
    told = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    return [[line for line in out.splitlines() if line[0] != "["] for out, _ in told]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing disturbed, and what its processes said."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, finished(started(folder))


def test_two_processes_train_what_one_does(whole):
    folder, told = whole
    losses = [lines[-1] for lines in told]
    assert losses[0] == losses[1]
    together = results.load(folder / "results.nc")
    assert together.train_loss.values.tobytes().hex() == losses[0]
    # The processes' own shares, and where they stood, are gone once they are merged.
    assert not list(folder.rglob("*.npz"))

    alone = compare(STUDY, devices=jax.devices()[:1])
    for name in ("train_loss", "test_loss", "gradient_norm", "log_dz"):
        np.testing.assert_allclose(together[name], alone[name], rtol=2e-4, atol=1e-5)
    assert together.label.values.tolist() == alone.label.values.tolist()
    assert together.site.values.tolist() == alone.site.values.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "moment"), [(0, "train 0 6"), (1, "compile 1 0"), (0, "train 1 8"), (1, "train 1 8")]
)
def test_one_killed_outright_and_both_started_again(whole, tmp_path, victim, moment):
    running = started(tmp_path / "run")
    for line in running[victim].stdout:
        if line.strip() == moment:
            running[victim].kill()
            break
    # Without it the other waits; whoever starts jobs ends it.
    running[1 - victim].kill()
    for process in running:
        process.communicate()

    told = finished(started(tmp_path / "run"))
    _, program, step = moment.split()
    first = next(line for line in told[victim] if line.startswith("train"))
    if int(step):  # it goes on from its last chunk
        assert first.startswith(f"train {program}")
        assert int(first.split()[2]) >= int(step)
    if program == "1":
        assert told[victim][0] == "resume 0 12"
    assert not list((tmp_path / "run").rglob("*.npz"))
    folder, uninterrupted = whole
    assert told[0][-1] == told[1][-1] == uninterrupted[0][-1]
    found, expected = (
        results.load(at / "results.nc").drop_attrs() for at in (tmp_path / "run", folder)
    )
    xr.testing.assert_identical(found, expected)


@pytest.mark.parametrize(("count", "processes"), [(7, 3), (2, 5), (6, 2)])
def test_shares_are_all_points_once(count, processes):
    shares = [share(count, processes=processes, process=k) for k in range(processes)]
    assert sorted(np.concatenate(shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
