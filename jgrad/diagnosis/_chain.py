"""Theory beside a measured flow, where the network is a plain chain, z = W φ(z') + b."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jgrad import activations, probes, theory
from jgrad._types import Elementwise
from jgrad.probes import Flow


class Chain(NamedTuple):
    """What mean-field theory says of a plain chain, given its weights and the sizes of its z.

    With q the measured second moment of z, and Gaussian z of mean 0 as in a wide random network,
    an activation multiplies the gradient's norm by √E φ'(√q g)² and a matrix by
    σ_w = ‖W‖_F/√fan_out, since independent weights know nothing of the gradient they meet (Poole et
    al., 2016, arXiv:1606.05340; Schoenholz et al., 2017, arXiv:1611.01232).

    Attributes:
      log_gain: of the activations, [depth].
      linear_log_gain: of the matrices, [depth]; NaN at the first.
      activation: the name of all activations, "" where they differ.
      sigma_w: root mean square over the matrices behind the first site.
      critical: σ_w at which activation and matrix keep the gradient's norm, without biases; NaN
        where there is none, or several, or the activations differ.
    """

    log_gain: np.ndarray
    linear_log_gain: np.ndarray
    activation: str
    sigma_w: float
    critical: float

    def __str__(self) -> str:
        here = f"The weights have σ_w = {self.sigma_w:.2f}"
        if math.isnan(self.critical):
            return f"{here}."
        if abs(self.sigma_w / self.critical - 1) < 0.01:
            return f"{here}, which is critical for {self.activation}."
        return (
            f"{here}; critical for {self.activation}, so that the gradient keeps its size, is "
            f"{self.critical:.2f}."
        )


def chain(loss: Callable[..., Any], args: Sequence[Any], flow: Flow) -> Chain | None:
    """What theory says of the flow of `loss(*args)`; None where the network is no plain chain.

    It is one if every activation of the flow is one of the catalogue's, stands on the main path,
    follows on the one before with no other way around it, and is fed by one matrix between the two;
    and if nothing is normalised.

    Args:
      loss: the function that was probed.
      args: its arguments; the first holds the parameters.
      flow: its flow at these arguments, of one run.

    Example:
      >>> import jax.numpy as jnp
      >>> def loss(ws, x):
      ...     for w in ws:
      ...         x = jax.nn.relu(x @ w)
      ...     return jnp.sum(x)
      >>> ws = [jax.random.normal(jax.random.key(k), (64, 64)) / 8 for k in range(3)]
      >>> args = ws, jnp.ones((2, 64))
      >>> said = chain(loss, args, probes.gradient_flow(loss)(*args))
      >>> said.log_gain.round(3).tolist(), round(said.critical, 3)
      ([-0.347, -0.347, -0.347], 1.414)
    """
    phis = {site.key: phi for site in flow.sites if (phi := _phi(site)) is not None}
    if len(phis) < len(flow) or not _follow_each_other(flow) or _normalised(loss, args):
        return None
    leaves = jax.tree.leaves(probes.pure_call(loss, args)[1][0])
    fed = probes.weights(loss)(*args)
    sigmas = []
    for position, (key, step) in enumerate(flow.positions):
        before = flow[flow.positions[position - 1][0]].site if position else None
        sigma = _sigma(leaves, fed[key], flow[key].site, before, step)
        if sigma is None:
            return None
        sigmas.append(sigma)
    q = np.asarray(flow.on_host().profile("z_second"), np.float64)
    if q.ndim != 1 or not np.isfinite(q).all() or not np.all(q > 0):
        return None
    slopes = [
        theory.dual(phis[key])(here, here, here)[1]
        for (key, _), here in zip(flow.positions, q, strict=True)
    ]
    log_sigma = np.log(sigmas)
    names = {site.activation for site in flow.sites}
    activation = names.pop() if len(names) == 1 else ""
    return Chain(
        log_gain=0.5 * np.log(slopes),
        linear_log_gain=np.concatenate([[np.nan], log_sigma[1:]]),
        activation=activation,
        sigma_w=float(np.sqrt(np.mean(np.square(sigmas[1:] or sigmas)))),
        critical=_critical(activation, next(iter(phis.values()))),
    )


def _phi(site: probes.Site) -> Elementwise | None:
    """The catalogue's function that it is, with its parameters; None for any other."""
    family, _, given = site.activation.partition("(")
    if family not in activations.CATALOG or family == "identity" or site.traced:
        return None
    pairs = (pair.split("=") for pair in given.rstrip(")").split(", ") if pair)
    numbers = {name: float(value) for name, value in pairs}
    phi = activations.CATALOG[family]
    return functools.partial(phi, **numbers) if numbers else phi


def _follow_each_other(flow: Flow) -> bool:
    """Whether all sites lie on the main path, each behind the one before and nothing else."""
    if list(flow.main_path) != list(flow):
        return False
    for k, site in enumerate(flow.sites):
        allowed = {k - 1} if k else set()
        around = {k} if site.steps else set()
        if not (allowed <= set(site.parents) <= allowed | around) or site.select:
            return False
    return True


def _normalised(loss: Callable[..., Any], args: Sequence[Any]) -> bool:
    roles = {site.role for site in probes.sites(loss, all=True)(*args)}
    return not roles <= {"activation", "loss", "softmax", "constant"}


def _sigma(
    leaves: Sequence[Any],
    weights: Sequence[probes.Weight],
    site: probes.Site,
    before: probes.Site | None,
    step: tuple[int, ...],
) -> float | None:
    """σ_w of the one matrix between two sites; None if it is not one matrix."""
    if len(weights) != 1:
        return None
    ((leaf, axes),) = weights
    matrix = np.asarray(leaves[leaf], np.float64)
    if None in axes or len(axes) != len(step):
        return None
    matrix = matrix[tuple(step[axis] for axis in axes if axis is not None)]
    if matrix.ndim != 2 or site.units not in matrix.shape:
        return None
    if before is not None and sorted(matrix.shape) != sorted((before.units, site.units)):
        return None
    return float(np.sqrt(np.sum(matrix**2) / site.units))


def _critical(activation: str, phi: Elementwise) -> float:
    if not activation:
        return math.nan
    try:
        points = theory.critical(phi, 0.0)
    except ValueError:
        return math.nan
    return float(points[0][0]) if len(points) == 1 else math.nan
