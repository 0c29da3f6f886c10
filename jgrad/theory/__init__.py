"""Mean-field theory of deep networks: what an activation, an initialisation and a depth will do."""

from . import traceable as traceable
from ._dual import dual as dual
from ._gaussian import Moments as Moments
from ._gaussian import average as average
from ._gaussian import moments as moments
from ._phase import FixedPoint as FixedPoint
from ._phase import correlation_map as correlation_map
from ._phase import critical as critical
from ._phase import depth_scale as depth_scale
from ._phase import fixed_point as fixed_point
from ._phase import fixed_variances as fixed_variances
from ._phase import variance_map as variance_map
