"""Products with a Jacobian that is never formed."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._inputs import as_arrays, batch_axis, count, one_example, output_of, shapes


def jvp(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """J v at every example: (x [batch, *in], v [batch, *in]) -> [batch, *out].

    Raises:
      ValueError: x is no batch, f fails on one example of it, or v has not x's shapes.
      TypeError: x, v or f's output is not of real floats.

    Example:
      >>> import jax.numpy as jnp
      >>> jvp(lambda x: x[:1] ** 2)(jnp.array([[3.0, 4.0]]), jnp.array([[1.0, 5.0]]))
      Array([[6.]], dtype=float32)
    """
    return _over_inputs(f, lambda x, v: jax.jvp(f, (x,), (v,))[1])


def vjp(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """Jᵀ u at every example: (x [batch, *in], u [batch, *out]) -> [batch, *in].

    Raises:
      ValueError: x is no batch, f fails on one example of it, or u has not f(x)'s shapes.
      TypeError: x, u or f's output is not of real floats.
    """
    return _over_outputs(f, lambda x, u: jax.vjp(f, x)[1](u)[0])


def jtj(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """JᵀJ v at every example: (x [batch, *in], v [batch, *in]) -> [batch, *in].

    Raises:
      ValueError, TypeError: as `jvp`.
    """

    def one(x: PyTree, v: PyTree) -> PyTree:
        _, pull = jax.vjp(f, x)
        return pull(jax.jvp(f, (x,), (v,))[1])[0]

    return _over_inputs(f, one)


def jjt(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """J Jᵀ u at every example: (x [batch, *in], u [batch, *out]) -> [batch, *out].

    Raises:
      ValueError, TypeError: as `vjp`.
    """

    def one(x: PyTree, u: PyTree) -> PyTree:
        return jax.jvp(f, (x,), (jax.vjp(f, x)[1](u)[0],))[1]

    return _over_outputs(f, one)


class Linear(NamedTuple):
    """The Jacobian at one example as a pair of maps of flat vectors, n in and m out."""

    n: int
    m: int
    push: Callable[[Float[Array, " n"]], Float[Array, " m"]]
    pull: Callable[[Float[Array, " m"]], Float[Array, " n"]]


def linear(f: Callable[[PyTree], PyTree], x: PyTree) -> Linear:
    """The Jacobian of f at one example x, linearised once for many products."""
    flat, unravel = ravel_pytree(x)

    def flat_f(flat: jax.Array) -> jax.Array:
        return ravel_pytree(f(unravel(flat)))[0]

    value, push = jax.linearize(flat_f, flat)
    pull = jax.linear_transpose(push, flat)
    return Linear(flat.size, value.size, push, lambda u: pull(u)[0])


def _over_inputs(
    f: Callable[[PyTree], PyTree], one: Callable[[PyTree, PyTree], PyTree]
) -> Callable[[PyTree, PyTree], PyTree]:
    def of(x: PyTree, v: PyTree) -> PyTree:
        x, v = as_arrays(x), as_arrays(v, "v")
        batch_axis(x)
        output_of(f, one_example(x))
        same_shapes(v, x, "v", "x")
        return jax.vmap(one)(x, v)

    return of


def _over_outputs(
    f: Callable[[PyTree], PyTree], one: Callable[[PyTree, PyTree], PyTree]
) -> Callable[[PyTree, PyTree], PyTree]:
    def of(x: PyTree, u: PyTree) -> PyTree:
        x, u = as_arrays(x), as_arrays(u, "u")
        batch = batch_axis(x)
        out = output_of(f, one_example(x))
        whole = jax.tree.map(lambda o: jax.ShapeDtypeStruct((batch, *o.shape), o.dtype), out)
        same_shapes(u, whole, "u", "f(x)")
        return jax.vmap(one)(x, u)

    return of


def same_shapes(given: PyTree, wanted: PyTree, name: str, like: str) -> None:
    """Nothing, where two pytrees agree.

    Raises:
      ValueError: structures or shapes differ; quotes both.
    """
    if jax.tree.structure(given) != jax.tree.structure(wanted) or (shapes(given) != shapes(wanted)):
        msg = f"{name} has the shapes {shapes(given)}; wanted those of {like}: {shapes(wanted)}"
        raise ValueError(msg)


def square_size(f: Callable[[PyTree], PyTree], example: PyTree, what: str) -> int:
    """How many numbers go in and come out.

    Raises:
      ValueError: they differ, so that the Jacobian is not square; quotes both.
    """
    out = output_of(f, example)
    if count(example) != count(out):
        msg = (
            f"f maps {shapes(example)} to {shapes(out)}: its Jacobian is "
            f"{count(out)} by {count(example)}; {what} wants a square one"
        )
        raise ValueError(msg)
    return count(out)
