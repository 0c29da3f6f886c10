"""Jacobians and their spectra: batched, structured, matrix-free."""

from ._derivative import derivative as derivative
from ._jacobian import jacobian as jacobian
