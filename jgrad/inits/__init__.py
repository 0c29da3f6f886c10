"""Initialisers: by name, critical for any activation, data-dependent, and gains."""

from ._critical import TORCH_GAINS as TORCH_GAINS
from ._critical import critical as critical
from ._critical import torch_gain as torch_gain
from ._lsuv import lsuv as lsuv
from ._named import ALIASES as ALIASES
from ._named import INITIALIZERS as INITIALIZERS
from ._named import delta_orthogonal as delta_orthogonal
from ._named import get as get
from ._named import orthogonal as orthogonal
