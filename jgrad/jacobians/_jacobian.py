"""Batched Jacobians of any function of one example."""

from collections.abc import Callable

from jgrad._names import unknown
from jgrad._types import PyTree

from ._batches import over_batch
from ._coloured import one_jacobian
from ._inputs import as_arrays, as_structs, batch_axis, one_example, output_of
from ._structure import dense_plan, modes, plan_for

_MODES = ("auto", "fwd", "rev")


def jacobian(
    f: Callable[[PyTree], PyTree],
    mode: str = "auto",
    batch_size: int | None = None,
    *,
    batched: bool = True,
) -> Callable[[PyTree], PyTree]:
    """The Jacobians ∂f/∂x at every example of a batch, [batch, *out, *in].

    f maps one example [*in] -> [*out]; the function that comes back takes the batch [batch, *in].
    With pytrees, the result has f's output structure and within each of its leaves x's, as
    `jax.jacobian` does it. Each block has the dtype of its leaf of x.

    Args:
      f: a function of one example.
      mode: "auto" finds f's structure, as `structure(f, x)` tells it, and uses it: one product for
        an elementwise f, coloured products for a banded or block-diagonal Jacobian, two short
        factors through a bottleneck, else columns or rows, whichever are fewer. "fwd" and "rev"
        take all columns or all rows. The numbers are the same up to rounding.
      batch_size: examples worked on at a time; None for all. Beside the result there is then never
        more than one turn's need, whatever the batch: what the program for batch_size examples
        takes, its temporaries and its own block of the result. Of a batch sharded over devices,
        turns of a multiple of their number, which divide the batch, leave all where it is.
      batched: False for an f that couples its examples, as batch norm does: then x is f's whole
        input and the result is [*out, *in].

    Raises:
      ValueError: x is no batch, f fails on one example of it, or a choice is unknown.
      TypeError: x or f's output is not of real floats, or f is not differentiable (in this mode).

    Example:
      >>> import jax.numpy as jnp
      >>> jacobian(lambda x: x[:2] ** 2)(jnp.array([[1.0, 2.0, 3.0]]))
      Array([[[2., 0., 0.],
              [0., 4., 0.]]], dtype=float32)
    """
    if mode not in _MODES:
        raise ValueError(unknown("mode", mode, _MODES))
    if batch_size is not None and not batched:
        msg = f"batch_size is {batch_size} with batched=False; wanted None: f takes its input whole"
        raise ValueError(msg)

    def of(x: PyTree) -> PyTree:
        x = as_arrays(x)
        if batched:
            batch_axis(x)
        example = one_example(x) if batched else as_structs(x)
        out = output_of(f, example, batched=batched)
        if mode == "auto":
            plan = plan_for(f, example, out)
        else:
            forwards, backwards = modes(f, example, out)
            if not (forwards if mode == "fwd" else backwards):
                msg = f"mode is {mode!r}, but f is differentiable in the other mode only"
                raise TypeError(msg)
            plan = dense_plan(mode, example, out)
        one = one_jacobian(f, plan, example, out)
        return over_batch(one, batch_size)(x) if batched else one(x)

    return of
