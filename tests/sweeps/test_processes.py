"""A sweep shared out over processes, beside the same one in a single process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from compare_in_processes import STUDY

from jgrad import results
from jgrad.sweeps import compare
from jgrad.sweeps._layout import share

pytestmark = pytest.mark.loose_promotion


def free_port():
    with socket.socket() as waiting:
        waiting.bind(("127.0.0.1", 0))
        return waiting.getsockname()[1]


def test_two_processes_train_what_one_does(tmp_path):
    script = Path(__file__).with_name("compare_in_processes.py")
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    port, folder = free_port(), tmp_path / "run"
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(k), "2", str(port), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    told = [process.communicate(timeout=240) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    losses = [out.split()[-1] for out, _ in told]
    assert losses[0] == losses[1]

    whole = results.load(folder / "results.nc")
    assert whole.train_loss.values.tobytes().hex() == losses[0]
    # The processes' own shares are gone once they are merged.
    assert not list(folder.rglob("*.npz"))

    alone = compare(STUDY, devices=jax.devices()[:1])
    for name in ("train_loss", "test_loss", "gradient_norm", "log_dz"):
        np.testing.assert_allclose(whole[name], alone[name], rtol=2e-4, atol=1e-5)
    assert whole.label.values.tolist() == alone.label.values.tolist()
    assert whole.site.values.tolist() == alone.site.values.tolist()


@pytest.mark.parametrize(("count", "processes"), [(7, 3), (2, 5), (6, 2)])
def test_shares_are_all_points_once(count, processes):
    shares = [share(count, processes=processes, process=k) for k in range(processes)]
    assert sorted(np.concatenate(shares)) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
