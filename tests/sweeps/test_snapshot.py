"""What is kept of a running training comes back as it was, or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad.sweeps._snapshot import Snapshot, keep, kept

CARRY = {
    "half": jnp.asarray([1.5, -2.25, 3e-5], jnp.bfloat16),
    "count": jnp.asarray([3, 7], jnp.int32),
    "alive": jnp.asarray([True, False]),
}
TOLD = [[np.array([0.1, np.nan], np.float32), np.ones((2, 3), np.int32) * k] for k in (4, 5)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "parts" / "running.npz"
    keep(path, Snapshot(40, (2, 3), CARRY, TOLD))
    return path


def like(carry=None, layout=(2, 3)):
    fresh = jax.tree.map(jnp.zeros_like, CARRY) if carry is None else carry
    return Snapshot(0, layout, fresh, [])


def test_all_bits_come_back(path):
    found = kept(path, like())
    assert (found.step, found.layout) == (40, (2, 3))
    for name, leaf in CARRY.items():
        assert found.carry[name].dtype == leaf.dtype
        assert np.asarray(found.carry[name]).tobytes() == np.asarray(leaf).tobytes()
    assert [[leaf.tobytes() for leaf in chunk] for chunk in found.told] == [
        [leaf.tobytes() for leaf in chunk] for chunk in TOLD
    ]
    assert [entry.name for entry in path.parent.iterdir()] == ["running.npz"]


def test_of_another_training_there_is_none(path):
    assert kept(path, like(layout=(3, 2))) is None
    assert kept(path, like(carry=CARRY | {"count": jnp.zeros(5, jnp.int32)})) is None
    assert kept(path.with_name("absent.npz"), like()) is None
