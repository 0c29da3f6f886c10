"""Gradient flow in any JAX function, without touching it."""

from ._flow import Flow as Flow
from ._flow import SiteFlow as SiteFlow
from ._layers import LayerJacobian as LayerJacobian
from ._layers import layer_jacobians as layer_jacobians
from ._measures import MEASURES as MEASURES
from ._measures import Backward as Backward
from ._measures import Forward as Forward
from ._measures import Measure as Measure
from ._measures import saturated as saturated
from ._nnx import pure_call as pure_call
from ._probe import gradient_flow as gradient_flow
from ._probe import sites as sites
from ._probe import value_grad_and_flow as value_grad_and_flow
from ._rewrite import Around as Around
from ._rewrite import normalise as normalise
from ._rewrite import rewrite as rewrite
from ._rewrite import skip as skip
from ._sites import Site as Site
from ._sums import Squares as Squares
from ._sums import Units as Units
from ._watch import Remembered as Remembered
from ._watch import remember as remember
from ._watch import tap as tap
from ._watch import watch as watch
from ._weights import Weight as Weight
from ._weights import weights as weights
