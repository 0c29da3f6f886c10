"""jgrad: see, predict and repair the gradient flow of any JAX function.

Table of contents (each noun is a package of plain functions):

==============  =================================================================
`activations`   activation functions with faithful derivatives, their traits
`jacobians`     elementwise derivatives, batched Jacobians, spectra
`theory`        mean-field moments, critical points, forecasts
`probes`        sites of a traced function, gradient flow through them
`inits`         initialisers by name
`optim`         optax chains by name
`diagnosis`     from a measured flow to symptoms, causes and remedies
`testing`       assertions for your own test suite
==============  =================================================================
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jgrad import activations as activations
    from jgrad import diagnosis as diagnosis
    from jgrad import inits as inits
    from jgrad import jacobians as jacobians
    from jgrad import optim as optim
    from jgrad import probes as probes
    from jgrad import testing as testing
    from jgrad import theory as theory

__version__ = "0.1.0"

_NOUNS = ("activations", "diagnosis", "inits", "jacobians", "optim", "probes", "testing", "theory")

__all__ = [
    "__version__",
    "activations",
    "diagnosis",
    "inits",
    "jacobians",
    "optim",
    "probes",
    "testing",
    "theory",
]


def __getattr__(name: str) -> ModuleType:
    """A noun is imported when it is first named, so `import jgrad` costs what jax costs."""
    if name in _NOUNS:
        return importlib.import_module(f"{__name__}.{name}")
    msg = f"module 'jgrad' has no attribute {name!r}; it has {', '.join(_NOUNS)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
