"""One of several processes that run one sweep together.

python compare_in_processes.py PROCESS PROCESSES PORT FOLDER

It keeps where it stands after every chunk, and says on its standard output where that is.
"""

import sys

import jax

from jgrad.models import MLP
from jgrad.sweeps import Study, Trial, _train, compare, grid

STUDY = Study(
    trials=grid(
        Trial(model=MLP(depth=2, width=6, dropout=0.1), batch=16),
        activation=["tanh", "relu"],
        gain=[1.0, 0.5],
    ),
    learning_rates=(0.1, 0.3),
    seeds=(0, 1, 2),
    steps=12,
    chunk=2,
)


def main():
    """Trains its share."""
    process, processes, port, folder = sys.argv[1:]
    _train.PAUSE = 0.0
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    dataset = compare(
        STUDY, output=folder, progress=lambda at: say(f"{at.stage} {at.index} {at.step}")
    )
    say(dataset.train_loss.values.tobytes().hex())


def say(line):
    """Say it at once: whoever listens may kill this process next."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
