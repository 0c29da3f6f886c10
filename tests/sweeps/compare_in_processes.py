"""One of several processes that run one sweep together.

python compare_in_processes.py PROCESS PROCESSES PORT FOLDER
"""

import sys

import jax

from jgrad.models import MLP
from jgrad.sweeps import Study, Trial, compare, grid

STUDY = Study(
    trials=grid(Trial(model=MLP(depth=2, width=6), batch=16), activation=["tanh"], gain=[1.0, 0.5]),
    learning_rates=(0.1, 0.3),
    seeds=(0, 1, 2),
    steps=4,
    chunk=2,
)


def main():
    """Trains its share."""
    process, processes, port, folder = sys.argv[1:]
    jax.distributed.initialize(f"127.0.0.1:{port}", int(processes), int(process))
    dataset = compare(STUDY, output=folder)
    sys.stdout.write(dataset.train_loss.values.tobytes().hex() + "\n")


if __name__ == "__main__":
    main()
