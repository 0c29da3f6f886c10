"""Jacobians and their spectra: batched, structured, matrix-free.

Derivatives, Jacobians and products with them come out in the dtype that went in; spectra, norms and
estimates in float32 or better, since a bfloat16 could not hold their errors.

All can be differentiated again, but what runs until its values stand still not in reverse: a few
singular values, the curvature in many parameters, the determinant, and the logarithms of a chain's
singular values.

A batch may be spread over a mesh, over explicit axes under `jax.set_mesh`; but a few singular
values, the determinant and the logarithms of a chain's singular values want automatic axes, since
JAX loses the explicit ones in their loops.
"""

from ._chains import log_singular_values as log_singular_values
from ._curvature import hessian_eigenvalues as hessian_eigenvalues
from ._curvature import max_stable_learning_rate as max_stable_learning_rate
from ._curvature import sharpness as sharpness
from ._derivative import derivative as derivative
from ._estimates import frobenius_norm as frobenius_norm
from ._estimates import log_determinant as log_determinant
from ._estimates import trace as trace
from ._jacobian import jacobian as jacobian
from ._krylov import Estimate as Estimate
from ._lyapunov import lyapunov_exponents as lyapunov_exponents
from ._operators import jjt as jjt
from ._operators import jtj as jtj
from ._operators import jvp as jvp
from ._operators import vjp as vjp
from ._singular import Isometry as Isometry
from ._singular import condition_number as condition_number
from ._singular import isometry as isometry
from ._singular import singular_values as singular_values
from ._singular import singular_values_and_errors as singular_values_and_errors
from ._structure import Structure as Structure
from ._structure import structure as structure
