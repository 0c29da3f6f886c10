"""Which examples each step sees: decided on the host by a seed and the step's number alone."""

import numpy as np
from jaxtyping import Int


def batches(
    seed: int, *, first: int, steps: int, batch: int, examples: int
) -> Int[np.ndarray, "steps batch"]:
    """Indices of the examples of steps `first` to `first + steps - 1`.

    Epoch after epoch, each a new permutation of all the examples; a batch may straddle two. Any
    part of the sequence can be had without what is before it.

    Example:
      >>> batches(0, first=0, steps=2, batch=3, examples=6).reshape(-1).tolist()
      [3, 2, 5, 4, 0, 1]
    """
    start, stop = first * batch, (first + steps) * batch
    epochs = range(start // examples, -(-stop // examples))
    order = np.concatenate(
        [np.random.default_rng((seed, epoch)).permutation(examples) for epoch in epochs]
    )
    offset = epochs.start * examples
    return order[start - offset : stop - offset].reshape(steps, batch).astype(np.int32)
