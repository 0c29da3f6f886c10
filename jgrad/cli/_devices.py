"""Where a sweep started from the command line runs: every core, and other processes."""

import os

import jax


def use_every_core() -> None:
    """On a CPU, one device for each core, since points are shared out over devices.

    Left as it is where the user has said otherwise, or where JAX has already started.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        try:
            jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
        except RuntimeError:  # JAX has started
            return


def join(
    distributed: bool, coordinator: str | None, processes: int | None, process: int | None
) -> bool:
    """Meet the other processes, if any are spoken of; whether this is the first of all.

    Raises:
      ValueError: some of address, number and place are given, not all.
    """
    by_hand = (coordinator, processes, process)
    if any(value is not None for value in by_hand):
        if any(value is None for value in by_hand):
            msg = "--coordinator, --processes and --process go together"
            raise ValueError(msg)
        jax.distributed.initialize(coordinator, processes, process)
    elif distributed:
        jax.distributed.initialize()
    return jax.process_index() == 0
