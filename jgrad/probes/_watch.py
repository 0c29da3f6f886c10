"""What is watched beside the sites: values marked by hand, norms of parameters and gradients."""

import jax
import jax.numpy as jnp

from jgrad import _jaxpr
from jgrad._numerics import at_least_float32
from jgrad._trees import paths
from jgrad._types import PyTree

from ._measures import norm, windows


def tap(x: jax.Array, name: str) -> jax.Array:
    """`x` itself, marked as a site of that name: the probe measures it as an identity.

    For what is no activation and shall be seen all the same: a residual stream, a logit.

    Example:
      >>> from jgrad import probes
      >>> probes.sites(lambda x: jnp.sum(tap(x * 2, "twice")))(jnp.ones(3))[0].key
      'twice'
    """
    return _jaxpr.tap(x, name)


def watch(
    *,
    params: PyTree | None = None,
    grads: PyTree | None = None,
    updates: PyTree | None = None,
    clipped: PyTree | None = None,
) -> dict[str, jax.Array]:
    """Norms of a training step by leaf, as a flat dict of scalars for any logger; works under jit.

    Norms are right from 1e-37 to 1e+38 in float32. For every leaf of what is given, and for all
    leaves together under "total":

    - "{leaf}/param_norm", "{leaf}/grad_norm", "{leaf}/update_norm";
    - "{leaf}/update_ratio", ‖update‖/‖parameter‖, where both are given;
    - "{leaf}/clipped_share", the share of the gradient's norm that clipping took, where the
      gradients before and after clipping are given.

    Args:
      params: parameters.
      grads: gradients, as the loss gave them.
      updates: what is added to the parameters.
      clipped: the gradients after clipping.

    Raises:
      ValueError: two of the trees differ in structure.

    Example:
      >>> scalars = watch(params={"w": jnp.array([3.0, 4.0])}, updates={"w": jnp.array([0.5, 0.0])})
      >>> float(scalars["w/update_ratio"])
      0.1000000...
    """
    trees = {"param": params, "grad": grads, "update": updates, "clipped": clipped}
    norms = {name: _norms(tree) for name, tree in trees.items() if tree is not None}
    leaves = {name: tuple(of_leaf) for name, of_leaf in norms.items()}
    if len(set(leaves.values())) > 1:
        msg = "the trees differ: " + "; ".join(f"{k} has {list(v)}" for k, v in leaves.items())
        raise ValueError(msg)
    scalars = {
        f"{leaf}/{name}_norm": value
        for name, of_leaf in norms.items()
        if name != "clipped"
        for leaf, value in of_leaf.items()
    }
    if params is not None and updates is not None:
        for leaf, value in norms["update"].items():
            scalars[f"{leaf}/update_ratio"] = value / norms["param"][leaf]
    if grads is not None and clipped is not None:
        for leaf, after in norms["clipped"].items():
            before = norms["grad"][leaf]
            kept = jnp.where(before == 0, 1.0, after / jnp.where(before == 0, 1.0, before))
            scalars[f"{leaf}/clipped_share"] = 1.0 - kept
    return scalars


def _norms(tree: PyTree) -> dict[str, jax.Array]:
    """Leaf path → its norm; "total" → that of all."""
    sums = {
        path: windows(at_least_float32(jnp.asarray(leaf)))
        for path, leaf in zip(paths(tree), jax.tree.leaves(tree), strict=True)
    }
    sums["total"] = jnp.sum(jnp.stack(list(sums.values())), axis=0)
    return {leaf: norm(of_leaf) for leaf, of_leaf in sums.items()}
