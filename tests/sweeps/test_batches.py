"""The order of examples: whole epochs, and any part of the sequence without the rest."""

import numpy as np

from jgrad.sweeps._batches import batches


def test_epochs_are_permutations_and_batches_straddle_them():
    order = batches(3, first=0, steps=21, batch=4, examples=14).reshape(-1)
    epochs = order.reshape(6, 14)
    for epoch in epochs:
        assert sorted(epoch) == list(range(14))
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_any_part_is_the_same_as_in_the_whole():
    whole = batches(5, first=0, steps=40, batch=3, examples=11)
    for first in (0, 1, 11, 12, 29):
        np.testing.assert_array_equal(
            batches(5, first=first, steps=9, batch=3, examples=11), whole[first : first + 9]
        )


def test_seeds_differ():
    one, other = (batches(seed, first=0, steps=4, batch=5, examples=20) for seed in (0, 1))
    assert (one != other).any()
