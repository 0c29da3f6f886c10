"""Flax NNX models, each leaving as plain functions and arrays: (apply, params, state)."""

from ._architectures import ARCHITECTURES as ARCHITECTURES
from ._build import Architecture as Architecture
from ._build import Model as Model
from ._build import build as build
from ._config import DTYPES as DTYPES
from ._config import Config as Config
from ._mlp import MLP as MLP
from ._norms import NORMS as NORMS
