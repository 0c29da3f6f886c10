"""Where a training stands, kept on the disk, so that a program cut short goes on from there.

A snapshot is all that the rest of a training depends on: what one chunk hands to the next, and what
the chunks before have left. It is taken between two chunks, is written whole or not at all, and is
of use only where the points lie on the devices as they did.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jgrad import results

#: Seconds between two snapshots at least.
PAUSE = 30.0


class Snapshot(NamedTuple):
    """A training between two chunks.

    Attributes:
      step: how many steps have been trained.
      layout: how the points lie on the devices.
      carry: what the next chunk goes on from.
      told: what each of the chunks before has left, as leaves.
    """

    step: int
    layout: tuple[int, ...]
    carry: Any
    told: Sequence[list[np.ndarray]]


def keep(path: Path, snapshot: Snapshot) -> None:
    """Write the snapshot, whole or not at all."""
    arrays: dict[str, Any] = {
        "step": np.asarray(snapshot.step),
        "layout": np.asarray(snapshot.layout),
    }
    leaves = jax.tree.leaves(snapshot.carry)
    arrays |= {f"carry_{k}": np.asarray(leaf) for k, leaf in enumerate(leaves)}
    columns = zip(*snapshot.told, strict=True)
    arrays |= {f"told_{k}": np.stack(column) for k, column in enumerate(columns)}
    with results.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def kept(path: Path, like: Snapshot) -> Snapshot | None:
    """The snapshot there, its carry placed as that of `like`; None where there is none like it."""
    if not path.exists():
        return None
    with np.load(path) as file:
        arrays = dict(file)
    leaves, structure = jax.tree.flatten(like.carry)
    found = [arrays.get(f"carry_{k}") for k in range(len(leaves))]
    alike = tuple(arrays["layout"].tolist()) == like.layout and all(
        one is not None and one.shape == leaf.shape for one, leaf in zip(found, leaves, strict=True)
    )
    if not alike:
        return None
    columns = [arrays[name] for name in arrays if name.startswith("told_")]
    # A file knows no bfloat16: its bytes come back, and get their name again.
    placed = [
        jax.device_put(one.view(leaf.dtype), leaf.sharding)
        for one, leaf in zip(found, leaves, strict=True)
        if one is not None
    ]
    return Snapshot(
        step=int(arrays["step"]),
        layout=like.layout,
        carry=structure.unflatten(placed),
        told=[list(chunk) for chunk in zip(*columns, strict=True)],
    )
