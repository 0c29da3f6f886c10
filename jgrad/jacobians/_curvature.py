"""The sharpest curvature of a loss, and the learning rate it bears."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jgrad._types import PyTree

from ._inputs import as_arrays, as_structs, flattened, output_of, whole
from ._krylov import (
    STRIDE,
    Estimate,
    Tridiagonal,
    lanczos,
    magnitude,
    settled,
    whole_strides,
)
from ._operators import linear
from ._structure import modes, no_reverse


def sharpness(
    loss: Callable[..., jax.Array], *, steps: int | None = None
) -> Callable[..., Float[Array, ""]]:
    """The largest eigenvalue of the loss's Hessian: (params, *args, key=None) -> scalar.

    Of float32, or float64 if a parameter is, whatever half precision goes in. The value of
    `hessian_eigenvalues(loss, 1)`, where arguments and errors are described.

    Example:
      >>> def loss(p):
      ...     return 3 * p["a"] ** 2 + p["a"] * p["b"]
      >>> round(float(sharpness(loss)({"a": 1.0, "b": 2.0})), 3)
      6.162
    """
    largest = hessian_eigenvalues(loss, 1, steps=steps)
    return lambda params, *args, key=None: largest(params, *args, key=key).value[0]


def max_stable_learning_rate(
    loss: Callable[..., jax.Array], *, steps: int | None = None
) -> Callable[..., Float[Array, ""]]:
    """2/λ, λ the sharpness: (params, *args, key=None) -> scalar, of float32 or better.

    Plain gradient descent, w ← w - η ∇L, moves along the Hessian's sharpest direction by a factor
    1 - ηλ a step, which shrinks only for η < 2/λ. It is assumed that the loss is quadratic around
    these parameters, that the gradient is the full batch's, and that there is neither momentum
    nor an adaptive step; heavy-ball momentum β bears (2 + 2β)/λ. Networks trained at a fixed η
    tend to the sharpness 2/η and then hover there: Cohen et al., "Gradient descent on neural
    networks typically occurs at the edge of stability", 2021, arXiv:2103.00065.

    Infinite where no direction curves upwards.

    Raises:
      ValueError, TypeError: as `hessian_eigenvalues`.

    Example:
      >>> max_stable_learning_rate(lambda w: 2.0 * (w @ w))(jnp.ones(3))
      Array(0.5, dtype=float32)
    """
    sharp = sharpness(loss, steps=steps)

    def of(params: PyTree, *args: PyTree, key: jax.Array | None = None) -> Float[Array, ""]:
        value = sharp(params, *args, key=key)
        # Not `value > 0`, which would turn NaN into a safe rate.
        return jnp.where(value <= 0, jnp.inf, 2 / jnp.where(value <= 0, 1, value))

    return of


def hessian_eigenvalues(
    loss: Callable[..., jax.Array], k: int = 1, *, smallest: bool = False, steps: int | None = None
) -> Callable[..., Estimate]:
    """The k largest (or smallest) eigenvalues of ∂²loss/∂params², in decreasing order.

    By Lanczos on Hessian-vector products (Pearlmutter, "Fast exact multiplication by the Hessian",
    Neural Computation 6, 1994; forward over reverse, or reverse over reverse where a custom_vjp
    leaves no other), with full reorthogonalisation. Values, errors and the Lanczos vectors are of
    float32, or float64 if a parameter is. The loss itself runs in the dtype it is written in: with
    parameters of bfloat16 or float16 each product carries that rounding, which the errors leave
    out.

    Args:
      loss: (params, *args) -> scalar; params a pytree of floats.
      k: how many.
      smallest: the lower end of the spectrum instead.
      steps: Lanczos steps at most, in fours, each one Hessian-vector product and one vector kept;
        default max(64, 4 k). It stops where the values stand still, within eps^(2/3) of the
        largest over a few steps. Where so many would fill the space, the matrix is formed instead.

    Returns:
      A function (params, *args, key=None) -> Estimate of [k] each: within `error`, the residual
      ‖Hv - λv‖ and rounding, of each value lies an eigenvalue.

    Raises:
      ValueError: k or steps is out of range, or the loss is no scalar.
      TypeError: the parameters or the loss are not real floats, or the loss is not differentiable
        twice.
    """

    def of(params: PyTree, *args: PyTree, key: jax.Array | None = None) -> Estimate:
        def at(params: PyTree) -> PyTree:
            return loss(params, *args)

        params = as_arrays(params, "params")
        structs = as_structs(params)
        out = output_of(at, structs, batched=False, what="the loss")
        if getattr(out, "shape", None) != ():
            msg = f"the loss is {jax.tree.map(lambda o: o.shape, out)}; wanted a scalar"
            raise ValueError(msg)
        flat, unravel = flattened(params)
        upper = flat.size if steps is None else whole("steps", steps)
        if not 1 <= whole("k", k) <= upper <= flat.size:
            msg = (
                f"k is {k} and steps {steps}; wanted 1 ≤ k ≤ steps ≤ {flat.size}, the number of "
                "parameters"
            )
            raise ValueError(msg)
        if not modes(at, structs, out, "the loss")[1]:
            raise TypeError(no_reverse(at, structs, "the loss"))
        gradient = jax.grad(lambda flat: jnp.asarray(at(unravel(flat))).astype(flat.dtype))
        product = linear(gradient, flat, "the gradient of the loss").push
        wanted = slice(None, k) if smallest else slice(-k, None)
        most = whole_strides(max(64, 4 * k) if steps is None else steps)
        if most > flat.size:
            return _dense(jax.vmap(product)(jnp.eye(flat.size, dtype=flat.dtype)), wanted)

        eps = float(jnp.finfo(flat.dtype).eps)

        def ritz(t: Tridiagonal) -> Estimate:
            # Past the steps taken T is zero; there the eigenvalues are put out of the way.
            unused = jnp.arange(most, dtype=t.steps.dtype) >= t.steps
            scale = 4 * magnitude(t.matrix)
            away = jnp.where(unused, scale if smallest else -scale, 0).astype(flat.dtype)
            values, vectors = jnp.linalg.eigh(t.matrix + jnp.diag(away))
            residuals = t.rest * jnp.abs(vectors[jnp.maximum(t.steps - 1, 0)])
            rounding = 8 * eps * jnp.max(jnp.abs(jnp.where(unused, 0, t.alpha)))
            return Estimate(values[wanted][::-1], residuals[wanted][::-1] + rounding)

        def done(t: Tridiagonal) -> jax.Array:
            sign = -1 if smallest else 1
            return settled(sign * t.alpha, t.beta[:-1], t.steps, k)

        key = jax.random.key(0) if key is None else key
        start, spare = jax.random.normal(key, (2, flat.size), flat.dtype)
        return ritz(lanczos(product, start, spare, most=most, stride=STRIDE, done=done))

    return of


def _dense(hessian: Float[Array, "n n"], wanted: slice) -> Estimate:
    values = jnp.linalg.eigvalsh(hessian)
    bound = values.size * float(jnp.finfo(values.dtype).eps) * jnp.max(jnp.abs(values))
    return Estimate(values[wanted][::-1], jnp.full_like(values, bound)[wanted])
