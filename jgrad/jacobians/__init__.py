"""Jacobians and their spectra: batched, structured, matrix-free."""

from ._derivative import derivative as derivative
from ._jacobian import jacobian as jacobian
from ._structure import Structure as Structure
from ._structure import structure as structure
