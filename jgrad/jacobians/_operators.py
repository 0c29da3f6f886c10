"""Products with a Jacobian that is never formed."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._inputs import (
    as_arrays,
    as_structs,
    batch_axis,
    count,
    flattened,
    one_example,
    output_of,
    shapes,
)
from ._structure import modes, no_reverse


def jvp(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """J v at every example: (x [batch, *in], v [batch, *in]) -> [batch, *out].

    Raises:
      ValueError: x is no batch, f fails on one example of it, or v has not x's shapes.
      TypeError: x, v or f's output is not of real floats, or v has not x's dtypes.

    Example:
      >>> import jax.numpy as jnp
      >>> jvp(lambda x: x[:1] ** 2)(jnp.array([[3.0, 4.0]]), jnp.array([[1.0, 5.0]]))
      Array([[6.]], dtype=float32)
    """
    return _over_inputs(f, lambda x, v: products(f, x)[0](v))


def vjp(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """Jᵀ u at every example: (x [batch, *in], u [batch, *out]) -> [batch, *in].

    Raises:
      ValueError: x is no batch, f fails on one example of it, or u has not f(x)'s shapes.
      TypeError: x, u or f's output is not of real floats, or u has not f(x)'s dtypes.
    """
    return _over_outputs(f, lambda x, u: products(f, x)[1](u))


def jtj(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """JᵀJ v at every example: (x [batch, *in], v [batch, *in]) -> [batch, *in].

    Raises:
      ValueError, TypeError: as `jvp`.
    """

    def one(x: PyTree, v: PyTree) -> PyTree:
        push, pull = products(f, x)
        return pull(push(v))

    return _over_inputs(f, one)


def jjt(f: Callable[[PyTree], PyTree]) -> Callable[[PyTree, PyTree], PyTree]:
    """J Jᵀ u at every example: (x [batch, *in], u [batch, *out]) -> [batch, *out].

    Raises:
      ValueError, TypeError: as `vjp`.
    """

    def one(x: PyTree, u: PyTree) -> PyTree:
        push, pull = products(f, x)
        return push(pull(u))

    return _over_outputs(f, one)


def products(
    f: Callable[[PyTree], PyTree], x: PyTree
) -> tuple[Callable[[PyTree], PyTree], Callable[[PyTree], PyTree]]:
    """V -> J v and u -> Jᵀ u at one example, for f of whichever mode there is.

    A custom_vjp has reverse mode only: there J v is the transpose of u -> Jᵀ u.

    Raises:
      TypeError: f has no derivative, or (when the second is called) no reverse mode.
    """
    example = as_structs(x)
    out = output_of(f, example)
    forwards, backwards = modes(f, example, out)

    def pull(u: PyTree) -> PyTree:
        if not backwards:
            raise TypeError(no_reverse(f, example))
        return jax.vjp(f, x)[1](u)[0]

    def push(v: PyTree) -> PyTree:
        if forwards:
            return jax.jvp(f, (x,), (v,))[1]
        return jax.linear_transpose(pull, out)(v)[0]

    return push, pull


class Linear(NamedTuple):
    """The Jacobian at one example as a pair of maps of flat vectors, n in and m out."""

    n: int
    m: int
    push: Callable[[Float[Array, " n"]], Float[Array, " m"]]
    pull: Callable[[Float[Array, " m"]], Float[Array, " n"]]


def linear(f: Callable[[PyTree], PyTree], x: PyTree, what: str = "f") -> Linear:
    """The Jacobian of f at one example x, linearised once for many products.

    `what` is f's name in a message. Vectors are of float32 or better, whatever f computes in.

    Raises:
      TypeError: f has no derivative, or (when it is asked for) no reverse mode.
    """
    flat, unravel = flattened(x)
    wide, example = flat.dtype, as_structs(x)
    forwards, backwards = modes(f, example, output_of(f, example, what=what), what)

    def flat_f(flat: jax.Array) -> jax.Array:
        return flattened(f(unravel(flat)))[0].astype(wide)

    m = jax.eval_shape(flat_f, flat).size
    if not forwards:
        _, back = jax.vjp(flat_f, flat)
        push = jax.linear_transpose(lambda u: back(u)[0], jax.ShapeDtypeStruct((m,), wide))
        return Linear(flat.size, m, lambda v: push(v)[0], lambda u: back(u)[0])
    _, forth = jax.linearize(flat_f, flat)

    def pull(u: Float[Array, " m"]) -> Float[Array, " n"]:
        if not backwards:
            raise TypeError(no_reverse(f, example, what))
        return jax.linear_transpose(forth, flat)(u)[0]

    return Linear(flat.size, m, forth, pull)


def _over_inputs(
    f: Callable[[PyTree], PyTree], one: Callable[[PyTree, PyTree], PyTree]
) -> Callable[[PyTree, PyTree], PyTree]:
    def of(x: PyTree, v: PyTree) -> PyTree:
        x, v = as_arrays(x), as_arrays(v, "v")
        batch_axis(x)
        output_of(f, one_example(x))
        _alike(v, x, "v", "x")
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
        _alike(u, whole, "u", "f(x)")
        return jax.vmap(one)(x, u)

    return of


def _alike(given: PyTree, wanted: PyTree, name: str, like: str) -> None:
    same_shapes(given, wanted, name, like)
    dtypes, others = ([str(a.dtype) for a in jax.tree.leaves(t)] for t in (given, wanted))
    if dtypes != others:
        msg = f"{name} is of {', '.join(dtypes)}; wanted the dtypes of {like}: {', '.join(others)}"
        raise TypeError(msg)


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
