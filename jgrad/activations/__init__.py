"""Activations with derivatives of every order that are right where autodiff's are not."""

from ._catalog import ALIASES as ALIASES
from ._catalog import CATALOG as CATALOG
from ._catalog import Traits as Traits
from ._catalog import get as get
from ._catalog import traits as traits
from ._identify import IDENTIFY_GRID as IDENTIFY_GRID
from ._identify import Identity as Identity
from ._identify import identify as identify
from ._identify import identify_samples as identify_samples
