"""The Jacobian of each site's input with respect to the input of the site before."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax

from ._flow import Flow
from ._interpret import run
from ._plan import Opaque, Plan, plan
from ._probe import trace_call
from ._sites import Site


@dataclasses.dataclass(frozen=True)
class LayerJacobian:
    """∂z/∂z' of two sites that follow each other, as an operator at the point of the call.

    Attributes:
      source: the site before, whose input is z'.
      target: the site whose input is z.
      at: z'.
      map: z' ↦ z, everything else held at its value.
    """

    source: Site
    target: Site
    at: jax.Array
    map: Callable[[jax.Array], jax.Array]

    def jvp(self, v: jax.Array) -> jax.Array:
        """J v: of z's shape, for v of z's shape before."""
        return jax.jvp(self.map, (self.at,), (v,))[1]

    def vjp(self, u: jax.Array) -> jax.Array:
        """Jᵀ u: of the shape of z', for u of z's shape."""
        return jax.vjp(self.map, self.at)[1](u)[0]

    def dense(self) -> jax.Array:
        """The matrix, [*z.shape, *z'.shape]."""
        wide = self.target.size > self.source.size
        return (jax.jacfwd if wide else jax.jacrev)(self.map)(self.at)


def layer_jacobians(
    fn: Callable[..., Any], *, opaque: Opaque = "raise"
) -> Callable[..., tuple[LayerJacobian, ...]]:
    """A function of fn's arguments that gives the Jacobians between sites along the main path.

    For the Jacobian of one example let fn take one example: over a batch it is the whole batch's.

    Raises:
      ValueError: the main path runs through sites inside a scan, a cond or a remat, whose inputs
        are no values of the program around them.

    Example:
      >>> import jax.numpy as jnp
      >>> def f(a, b, x):
      ...     return jnp.tanh(b @ jnp.tanh(a @ x))
      >>> a, b = jnp.ones((3, 2)), jnp.ones((4, 3))
      >>> (jacobian,) = layer_jacobians(f)(a, b, jnp.zeros(2))
      >>> jacobian.dense().shape  # b times the slopes of the first tanh, which are 1 at 0
      (4, 3)
    """

    def layer_jacobians_of_fn(*args: Any) -> tuple[LayerJacobian, ...]:
        graph, _ = trace_call(fn, args)
        whole, sites, _ = plan(graph, [True] * len(graph.inputs), opaque=opaque)
        place = {site.key: k for k, site in enumerate(sites)}
        path = [place[key] for key in Flow({}, 0, sites).main_path]
        outside = {index for _, index in whole.found}
        for k in path:
            if k not in outside:
                msg = (
                    f"{sites[k].key!r} is inside a scan, a cond or a remat: write the loop out, "
                    "or take the Jacobian of its body"
                )
                raise ValueError(msg)
        inputs = _inputs(whole, args, {})
        return tuple(
            LayerJacobian(
                sites[k],
                sites[after],
                inputs[k],
                functools.partial(_map, whole, args, k, after),
            )
            for k, after in itertools.pairwise(path)
        )

    return layer_jacobians_of_fn


def _map(whole: Plan, args: tuple[Any, ...], k: int, after: int, z: jax.Array) -> jax.Array:
    """The input of the site `after` when that of the site `k` is z."""
    return _inputs(whole, args, {k: z})[after]


def _inputs(
    whole: Plan, args: tuple[Any, ...], given: dict[int, jax.Array]
) -> dict[int, jax.Array]:
    """The inputs of all sites of the plan's own graph, some of them given."""
    inputs: dict[int, jax.Array] = {}
    own = {index for _, index in whole.found}

    def at_site(index: int, found: Any, phi: Any, z: Any, params: Any, extra: Any) -> Any:
        del found, extra
        z = given.get(index, z)
        if index in own:
            inputs[index] = z
        return phi(z, params)

    run(whole, at_site, jax.tree.leaves(args), {})
    return inputs
