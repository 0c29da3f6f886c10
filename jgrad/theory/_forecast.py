"""The forecast of a random network, and what follows from it: norms, spectra, trainable depth."""

import dataclasses
import math

import numpy as np

from . import _checks
from ._networks import LayerNorm, Network, Plain, Recurrent, Residual, Transformer
from ._phase import FixedPoint, fixed_point
from ._sampling import Host
from ._spectra import largest_eigenvalue, residual_edge

#: ln q is taken within these bounds and extended as a power law beyond, where φ has become one.
LOW, HIGH = -100.0, 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """A forecast, per site from the input to the output; natural logarithms of ratios of norms.

    All log-gains are those of a `Flow`: `log_gain` what the activation does, `linear_log_gain` what
    lies between a site and the one before it does (NaN at the first site); squared norms change by
    twice as much, ln χ = log-gains times two.

    Attributes:
      network: what was forecast.
      log_q: ln q, q the second moment of the site's z, [depth].
      apart: 1 - c, of two inputs at the site, [depth]; NaN where no forecast is made.
      log_gain: ln ‖δz‖/‖δa‖ = ½ ln E φ'(z)², [depth].
      layer_log_gain: what a whole layer or block does to the gradient's norm, [depth].
      log_variance: what each layer adds to the variance over random weights of the logarithm of
        the gradient's norm, from the output down, at the network's width, [depth]; zero at infinite
        width.
      singular_variance: variance over squared mean of the squared singular values of a layer's (or
        block's) Jacobian, [depth]; NaN for batch norm and Transformers, which mix examples.
    """

    network: Network
    log_q: Host
    apart: Host
    log_gain: Host
    layer_log_gain: Host
    log_variance: Host
    singular_variance: Host

    @property
    def q(self) -> Host:
        """The second moment of z, [depth]; 0 or inf beyond float64, where `log_q` still tells."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_q)

    @property
    def c(self) -> Host:
        """The correlation of two inputs, [depth]."""
        return 1 - self.apart

    @property
    def linear_log_gain(self) -> Host:
        """The ln ‖δa of the site before‖/‖δz‖, [depth]; NaN at the first."""
        linear = self.layer_log_gain - self.log_gain
        return np.concatenate([[np.nan], linear[1:] if self._blocks else linear[:-1]])

    @property
    def _blocks(self) -> bool:
        """Whether a block holds its site, so that between two sites' outputs lies the later block.

        A layer of a chain ends in its site.
        """
        return isinstance(self.network, Residual | Transformer)

    @property
    def total_log_gain(self) -> float:
        """The ln ‖δz of the first site‖/‖δa of the last‖."""
        return float(self.log_gain.sum() + np.nansum(self.linear_log_gain))

    @property
    def gradient_log_norm(self) -> Host:
        """The ln ‖δz‖ relative to the last site's, [depth]: positive where gradients have grown."""
        steps = self.log_gain[:-1] + self.linear_log_gain[1:]
        return np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])

    @property
    def gradient_log_spread(self) -> Host:
        """Standard deviation over random weights of `gradient_log_norm`, [depth].

        At width n, ln ‖δ‖ is nearly normal. For relu a layer's variance is v/4n and its mean v/4n
        below the forecast, v = 3μ₂/μ₁² - 1 = 5 with μ_k = E φ'^2k (Hanin & Nica, 2020,
        arXiv:1812.05994); in general what errs in the variance of z is passed on and errs in φ',
        which adds 10 to 16 % for tanh, and blocks around a skip see one stream, which adds as much.
        Leading order in 1/n; `log_norm_law` is exact for relu, and at n = 32 some 14 % more.
        Simulated tanh and relu networks of width 64 to 200 lie within 4 %.
        """
        # Between two sites lies the φ' of the lower one in a chain, the upper one's block else.
        steps = self.log_variance[1:] if self._blocks else self.log_variance[:-1]
        return np.sqrt(np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]]))

    @property
    def jacobian_log_mean(self) -> float:
        """The ln of the mean squared singular value of the product of all layers' Jacobians."""
        return 2 * float(self.layer_log_gain.sum())

    @property
    def jacobian_variance(self) -> float:
        """Variance of the squared singular values over their mean squared; NaN where unknown.

        Of independent factors these variances add up. A plain layer's is μ₂/μ₁² - 1 - s₁ with μ_k =
        E φ'^2k, s₁ = -1 for Gaussian weights and 0 for orthogonal ones (Pennington et al., 2017,
        arXiv:1711.04735; 2018, arXiv:1802.09979); a block's around a skip is near 2m for a branch
        of small mean square gain m, and what blocks of one stream have in common comes on top.
        """
        return float(self.singular_variance.sum())

    @property
    def log_largest_singular_value(self) -> float:
        """½ ln of the right edge of the squared singular values, by free probability; else NaN.

        For chains of layers as if every one had the last one's q. For blocks around a skip by the
        law that they have in the limit of many weak branches, whatever φ (Tarnowski et al., 2019,
        arXiv:1809.08848), with the variance of the blocks as they are. Finite networks stay below:
        by about 5 % of the eigenvalue at width 1000 and depth 8, 30 % at width 400 and depth 64.
        """
        network = self.network
        if isinstance(network, Residual):
            edge = residual_edge(self.jacobian_variance)
        elif isinstance(network, Plain | Recurrent | LayerNorm):
            orthogonal = isinstance(network, Plain) and network.weights == "orthogonal"
            edge = largest_eigenvalue(
                network.phi,
                self.log_q.size,
                q=float(np.exp(np.clip(self.log_q[-1], LOW, HIGH))),
                weights="orthogonal" if orthogonal else "gaussian",
                kinks=network.kinks,
            )
        else:
            return math.nan
        return 0.5 * (math.log(edge) + self.jacobian_log_mean)

    @property
    def settled(self) -> FixedPoint | None:
        """Where ever more layers would lead: the fixed point, with its depth scales.

        None for other networks than chains of layers (plain, recurrent, layer norm), and where the
        variance grows without bound.
        """
        network = self.network
        if isinstance(network, Plain):
            drive, keep = network.sigma_b, network.keep
        elif isinstance(network, Recurrent):
            drive, keep = math.hypot(network.sigma_u, network.sigma_b), 1.0
        elif isinstance(network, LayerNorm):
            # At q = 1, where the norm puts it, an unnormalised layer with these two is fixed.
            scale = math.exp(self.layer_log_gain[0] - self.log_gain[0])
            drive, keep = network.sigma_b * scale / network.sigma_w, 1.0
            return fixed_point(network.phi, scale, drive, kinks=network.kinks)
        else:
            return None
        try:
            return fixed_point(
                network.phi,
                network.sigma_w,
                drive,
                keep=keep,
                q0=float(np.exp(np.clip(self.log_q[0], LOW, HIGH))),
                kinks=network.kinks,
            )
        except ValueError:
            return None

    @property
    def trainable_depth(self) -> float:
        """`depth_of_memory(6)`: about how many layers plain gradient descent trains; may be inf."""
        return self.depth_of_memory(6.0)

    def depth_of_memory(self, folds: float) -> float:
        """The layers after which inputs are forgotten to e^-folds: folds · ξ_c; may be infinite.

        Where layers lead to no stable fixed point or none is known, as in residual and batch-normed
        networks, the depth over which the squared gradient norm changes by e^folds.

        That such networks are trained only as deep as a few ξ_c, on both sides of criticality, is
        Schoenholz et al., 2017, arXiv:1611.01232 (in chaos gradients explode faster than that, and
        did not stop them). The constant is no theory and goes with task, steps and learning rate:
        6 is that paper's, as those who follow it draw it; `python experiments/schoenholz_2017.py`
        finds 4.2 on average on digits after 300 steps of momentum. For networks without ξ_c the
        same number of folds is an analogy, and optimisers that rescale gradients get further.

        Raises:
          ValueError: folds is not a finite number above 0.

        Example:
          >>> from jgrad.theory import Plain, forecast
          >>> f = forecast(Plain(phi="tanh", depth=30, sigma_w=0.9, sigma_b=0.3))
          >>> round(f.depth_of_memory(4.2), 1), round(f.trainable_depth, 1)
          (8.2, 11.8)
        """
        _checks.positive("folds", folds)
        point = self.settled
        if point is not None and point.stable:
            return folds * point.xi_c
        return self._gradient_depth(folds)

    def __str__(self) -> str:
        """The forecast in a few lines: variance, gradient, spectrum, trainable depth.

        Example:
          >>> from jgrad.theory import Plain, forecast
          >>> print(forecast(Plain(phi="tanh", depth=30, sigma_w=0.9, sigma_b=0.3, width=128.0)))
          Plain, 30 layers: q from 0.9 to 0.2165, c from 0 to 1
          gradient norm: e^-7.996 in all (± e^0.387), e^-0.255 a layer in the end
          singular values: root mean square e^-7.996, largest e^-5.734
          trained to about 12 layers
        """
        depth = self.log_q.size
        word = "steps" if isinstance(self.network, Recurrent) else "layers"
        spread = f" (± e^{s:.3f})" if (s := self.gradient_log_spread[0]) > 0 else ""
        lines = [
            f"{type(self.network).__name__}, {depth} {word}: q from {self.q[0]:.4g} to "
            f"{self.q[-1]:.4g}, c from {self.c[0]:.4g} to {self.c[-1]:.4g}",
            f"gradient norm: e^{_fixed(self.layer_log_gain.sum())} in all{spread}, "
            f"e^{_fixed(self.layer_log_gain[-1])} a layer in the end",
        ]
        if math.isfinite(largest := self.log_largest_singular_value):
            mean = self.jacobian_log_mean / 2
            lines.append(
                f"singular values: root mean square e^{_fixed(mean)}, largest e^{_fixed(largest)}"
            )
        if math.isfinite(trained := self.trainable_depth):
            lines.append(f"trained to about {trained:.0f} {word}")
        else:
            lines.append("trained at any depth, as far as this theory sees")
        return "\n".join(lines)

    def _gradient_depth(self, folds: float) -> float:
        """Layers in which the squared gradient norm changes by e^folds, the last's rate kept on."""
        changed = np.abs(np.cumsum(2 * self.layer_log_gain))
        far = np.flatnonzero(changed >= folds)
        if far.size:
            at = int(far[0])
            before = changed[at - 1] if at else 0.0
            return float(at + (folds - before) / (changed[at] - before))
        rate = abs(2 * float(self.layer_log_gain[-1]))
        left = folds - float(changed[-1])
        return self.log_q.size + left / rate if rate > 1e-12 else math.inf

    @property
    def lyapunov_exponent(self) -> float:
        """The last layer's `layer_log_gain`: of a recurrent network, its growth per step."""
        return float(self.layer_log_gain[-1])


def _fixed(x: float) -> str:
    """Three decimals, and no minus before a zero."""
    return f"{round(float(x), 3) + 0.0:.3f}"
