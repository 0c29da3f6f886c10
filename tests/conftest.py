"""Settings that hold for every test."""

import os

# Before JAX starts: eight host devices, so that sharded programs are tested on any machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_promotion(request):
    """Strict dtype and rank promotion; a test of training code opts out by the marker below."""
    if request.node.get_closest_marker("loose_promotion"):
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
