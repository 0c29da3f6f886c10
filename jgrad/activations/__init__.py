"""Activations with derivatives of every order that are right where autodiff's are not."""

from ._catalog import ALIASES as ALIASES
from ._catalog import CATALOG as CATALOG
from ._catalog import Traits as Traits
from ._catalog import get as get
from ._catalog import traits as traits
