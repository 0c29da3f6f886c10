"""Initialisers: by name, critical for any activation, orthogonal, and the gains behind them."""

from ._named import ALIASES as ALIASES
from ._named import INITIALIZERS as INITIALIZERS
from ._named import get as get
