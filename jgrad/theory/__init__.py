"""Mean-field theory of deep networks: what an activation, an initialisation and a depth will do."""

from . import traceable as traceable
from ._dual import dual as dual
from ._gaussian import Moments as Moments
from ._gaussian import average as average
from ._gaussian import moments as moments
