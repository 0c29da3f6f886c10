"""The architectures by name."""

from types import MappingProxyType

from ._config import Config
from ._mlp import MLP

#: Name → the class of its configurations, each of which has a default for every field.
ARCHITECTURES: MappingProxyType[str, type[Config]] = MappingProxyType({"mlp": MLP})
