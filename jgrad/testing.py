"""Assertions for your own test suite."""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import diagnosis, probes
from jgrad._names import lookup
from jgrad._trees import paths
from jgrad._types import Elementwise
from jgrad.activations import Traits

__all__ = ["Failure", "assert_gradients_flow", "check_activation", "failures_of_activation"]

#: x ↦ (φ(x), φ'(x)).
_Measure = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Failure:
    """One clause of the contract that a function breaks.

    Attributes:
      clause: which.
      where: the input at which it is broken most.
      detail: what was found and what is wanted.
    """

    clause: str
    where: object
    detail: str

    def __str__(self) -> str:
        return f"{self.clause}, at {self.where}: {self.detail}"


def assert_gradients_flow(
    loss: Callable[..., Any],
    *args: Any,
    argnums: int = 0,
    allow: Collection[str] = (),
) -> None:
    """Asserts that the gradient of a loss gets everywhere, and has a size there.

    Every leaf of what is differentiated has a gradient that is finite and not all 0, and along the
    activations nothing is found that `diagnosis` calls a symptom: no vanishing, no exploding, no
    dead units.

    Args:
      loss: a function with a scalar result.
      *args: its arguments; the parameters may be a Flax NNX module.
      argnums: which of them is differentiated.
      allow: symptoms that are no failure, out of `diagnosis.SYMPTOMS`.

    Raises:
      AssertionError: lists the leaves without a gradient, and what was found.
      ValueError: there is no such symptom.

    Example:
      >>> def loss(params, x):
      ...     return jnp.sum(jnp.tanh(x @ params["used"]) ** 2)
      >>> params = {"used": jnp.eye(3), "unused": jnp.ones(2)}
      >>> assert_gradients_flow(loss, params, jnp.ones((2, 3)))
      Traceback (most recent call last):
      ...
      AssertionError: the gradient does not flow:
      - unused: its gradient is 0 everywhere
    """
    for symptom in allow:
        lookup(diagnosis.SYMPTOMS, symptom, "symptom")
    _, grads, flow = probes.value_grad_and_flow(loss, argnums)(*args)
    said = []
    for path, leaf in zip(paths(grads), jax.tree.leaves(grads), strict=True):
        bad = int(jnp.sum(~jnp.isfinite(leaf)))
        if bad:
            said.append(f"{path}: {bad} of {leaf.size} numbers of its gradient are not finite")
        elif leaf.size and not jnp.any(leaf):
            said.append(f"{path}: its gradient is 0 everywhere")
    said += [str(f) for f in diagnosis.diagnose(flow) if f.fault and f.symptom not in allow]
    if said:
        msg = "the gradient does not flow:\n" + "\n".join(f"- {line}" for line in said)
        raise AssertionError(msg)


def check_activation(phi: Elementwise, traits: Traits | None = None) -> None:
    """Asserts that a function keeps the contract of an activation.

    The clauses: it keeps dtype and shape; its values and gradients at finite inputs are finite
    (an infinite one is allowed where the value itself overflows); of a whole array, under `jit`
    and under `vmap` it is, within rounding, what it is of one number at a time; its derivative is
    what finite differences say (at a kink, one between those of either side); and the traits that
    are stated of it are true.

    Args:
      phi: an elementwise function of one float array; a chex variant of one will do.
      traits: what you state about it, as the catalogue does about its own.

    Raises:
      AssertionError: a clause is broken; lists all that are, where, and by how much.
      TypeError: what is given is no function, or no traits.

    Example:
      >>> check_activation(lambda x: x * jax.nn.sigmoid(x))
      >>> check_activation(lambda x: jnp.where(x > 0, x, jnp.exp(x) - 1))
      Traceback (most recent call last):
      ...
      AssertionError: 3 clauses of the contract are broken:
      - finite gradient (float32), at 96: φ' is nan where φ is 96, and 61 more of 1024 points
      ...
    """
    failures = failures_of_activation(phi, traits)
    if failures:
        count = f"{len(failures)} clause{'s' if len(failures) > 1 else ''}"
        listed = "\n".join(f"- {failure}" for failure in failures)
        msg = f"{count} of the contract {'are' if len(failures) > 1 else 'is'} broken:\n{listed}"
        raise AssertionError(msg)


def failures_of_activation(phi: Elementwise, traits: Traits | None = None) -> tuple[Failure, ...]:
    """What `check_activation` would complain of, as data."""
    if not callable(phi):
        msg = f"an activation is a function of one array, got {type(phi).__name__} {phi!r}"
        raise TypeError(msg)
    if not isinstance(traits, Traits | None):
        msg = f"traits are given as Traits or None, got {type(traits).__name__} {traits!r}"
        raise TypeError(msg)
    kept = tuple(_dtype_and_shape(phi))
    if kept:
        return kept
    # One compilation a dtype serves every clause: all ask for as many points.
    jitted = jax.jit(_with_slope(phi))
    failures = [
        *_finite(jitted),
        *_jit_is_eager(phi, jitted),
        *_vmap_is_loop(phi, jitted),
        *_finite_differences(jitted),
    ]
    if traits is not None:
        failures += _stated(jitted, traits)
    return tuple(failures)


def _dtypes() -> list[np.dtype]:
    wide = [jnp.float64] if jax.dtypes.canonicalize_dtype(np.float64) == np.float64 else []
    return [jnp.dtype(d) for d in (jnp.float32, jnp.bfloat16, jnp.float16, *wide)]


#: Points in every check.
_COUNT = 1024
_FLOAT32 = jnp.dtype(jnp.float32)


def _dtype_and_shape(phi: Elementwise) -> Iterator[Failure]:
    for dtype in _dtypes():
        for shape in ((), (3,), (2, 3)):
            given = f"{dtype}{list(shape)}"
            try:
                y = jax.eval_shape(lambda x: phi(x), jax.ShapeDtypeStruct(shape, dtype))
            except Exception as error:  # Whatever a function of the user's raises.
                reason = f"{type(error).__name__}: {error}".split("\n", 1)[0]
                yield Failure("JAX can trace it", given, reason)
                return
            if not isinstance(y, jax.ShapeDtypeStruct):
                found = f"{type(y).__name__} came out, one array is wanted"
                yield Failure("dtype and shape kept", given, found)
                return
            if y.dtype != dtype or y.shape != shape:
                found = f"{y.dtype}{list(y.shape)} came out of it"
                yield Failure("dtype and shape kept", given, found)


def _everywhere(dtype: np.dtype) -> jax.Array:
    """Both signs of every second binade (of float64, sixteenth) of the normal numbers, and 0."""
    info = jnp.finfo(dtype)
    first, end = math.log2(float(info.tiny)), math.log2(float(info.max))
    exponents = np.arange(first, end, 2.0 if info.bits <= 32 else 16.0)
    positive = np.append(1.5 * 2.0**exponents, 0.95 * float(info.max))
    positive = positive[positive < float(info.max)]
    dense = np.linspace(-16, 16, _COUNT - 1 - 2 * len(positive)) + 0.00217
    points = np.sort(np.concatenate([-positive, [0.0], positive, dense]))
    return jnp.asarray(points, dtype)


def _with_slope(phi: Elementwise) -> _Measure:
    def value_and_slope(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, pull = jax.vjp(phi, x)
        return y, pull(jnp.ones_like(y))[0]

    return value_and_slope


def _float64(x: jax.Array) -> np.ndarray:
    return np.asarray(x).astype(np.float64)


def _finite(jitted: _Measure) -> Iterator[Failure]:
    for dtype in _dtypes():
        x = _everywhere(dtype)
        y, slope = (_float64(a) for a in jitted(x))
        points = _float64(x)
        for what, symbol, bad in (
            ("finite value", "φ", np.isnan(y)),
            ("finite gradient", "φ'", np.isnan(slope) | (np.isinf(slope) & np.isfinite(y))),
        ):
            if bad.any():
                # Of all the bad points the one nearest the origin says most.
                i = np.flatnonzero(bad)[np.argmin(np.abs(points[bad]))]
                found = (y if symbol == "φ" else slope)[i]
                more = int(bad.sum()) - 1
                share = f", and {more} more of {len(points)} points" if more else ""
                detail = f"{symbol} is {found:g} where φ is {y[i]:.3g}{share}"
                yield Failure(f"{what} ({dtype})", f"{points[i]:.4g}", detail)


def _moderate(dtype: np.dtype = _FLOAT32) -> jax.Array:
    return jnp.asarray(np.linspace(-9.3, 8.9, _COUNT), dtype)


def _differ(
    clause: str, x: np.ndarray, found: np.ndarray, wanted: np.ndarray, allowed: np.ndarray
) -> Iterator[Failure]:
    excess = np.abs(found - wanted) / allowed
    i = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    if not excess[i] <= 1:
        detail = (
            f"{found[i]:.9g} against {wanted[i]:.9g}, off by "
            f"{abs(found[i] - wanted[i]):.2g} where {allowed[i]:.2g} is allowed"
        )
        yield Failure(clause, f"{x[i]:.4g}", detail)


def _rounding(x: np.ndarray, y: np.ndarray, slope: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What a few roundings of intermediate values may do to φ(x): 8 eps of its scale about x."""
    return 8 * float(jnp.finfo(dtype).eps) * (np.abs(y) + np.abs(x * slope) + 1)


def _jit_is_eager(phi: Elementwise, jitted: _Measure) -> Iterator[Failure]:
    for dtype in _dtypes()[:2]:
        x = _moderate(dtype)
        _, slope = (_float64(a) for a in _with_slope(phi)(x))
        eager = _float64(phi(x))
        value, jitted_slope = (_float64(a) for a in jitted(x))
        points = _float64(x)
        allowed = _rounding(points, eager, slope, dtype)
        yield from _differ(f"jit = eager, value ({dtype})", points, value, eager, allowed)
        allowed = 4 * _rounding(points, slope, slope, dtype)
        yield from _differ(f"jit = eager, slope ({dtype})", points, jitted_slope, slope, allowed)


def _vmap_is_loop(phi: Elementwise, jitted: _Measure) -> Iterator[Failure]:
    x = _moderate()
    some = slice(None, None, 85)
    one, mapped = jax.jit(phi), jax.jit(jax.vmap(phi))
    looped = np.array([_float64(one(number)) for number in np.asarray(x)[some]])
    points, slope = _float64(x)[some], _float64(jitted(x)[1])[some]
    allowed = _rounding(points, looped, slope, x.dtype)
    for clause, whole in (("vmap = loop", mapped(x)), ("elementwise", phi(x))):
        yield from _differ(clause, points, _float64(whole)[some], looped, allowed)


def _finite_differences(jitted: _Measure) -> Iterator[Failure]:
    # float32 and a step of 2^-8: right to about 1e-3, which tells a wrong formula from a right one.
    h = 2.0**-8
    x = np.round(_float64(_moderate()) / h) * h
    (left, _), (middle, slope), (right, _) = (
        map(_float64, jitted(jnp.asarray(x + k * h, jnp.float32))) for k in (-1, 0, 1)
    )
    before, after = (middle - left) / h, (right - middle) / h
    eps = float(jnp.finfo(jnp.float32).eps)
    noise = 8 * eps * (np.abs(middle) + np.abs(x) + 1) / h
    low, high = np.minimum(before, after), np.maximum(before, after)
    margin = noise + 0.5 * (high - low) + 1e-3 * (1 + np.abs(slope))
    wanted = np.clip(slope, low, high)
    yield from _differ("derivative = finite differences", x, slope, wanted, margin)


def _over(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """By how much a is over b; 0 where both have overflowed."""
    with np.errstate(invalid="ignore"):
        return np.where(np.equal(a, b), 0.0, np.subtract(a, b))


def _stated(jitted: _Measure, traits: Traits) -> list[Failure]:
    # Points that avoid kinks, dense in the middle and far out.
    far = np.geomspace(10.1, 1e4, 60)
    middle = np.linspace(-10, 10, _COUNT - 2 * len(far)) + 1.3e-4
    x = np.concatenate([-far[::-1], middle, far])
    y, slope = map(_float64, jitted(jnp.asarray(x, jnp.float32)))
    x = _float64(jnp.asarray(x, jnp.float32))
    tol = 16 * float(jnp.finfo(jnp.float32).eps)
    failures: list[Failure] = []

    def holds(clause: str, ok: np.ndarray, excess: np.ndarray, what: str) -> None:
        if not ok.all():
            i = int(np.argmax(np.where(ok, -np.inf, np.where(np.isnan(excess), np.inf, excess))))
            detail = f"{what}; φ = {y[i]:.7g}, φ' = {slope[i]:.7g}"
            failures.append(Failure(clause, f"{x[i]:.6g}", detail))

    scale = tol * (1 + np.abs(y))
    steep = tol * (1 + np.abs(slope)) * 8
    for clause, excess, margin, what in (
        ("lower", _over(traits.lower, y), scale, f"stated φ ≥ {traits.lower:.7g}"),
        ("upper", _over(y, traits.upper), scale, f"stated φ ≤ {traits.upper:.7g}"),
        (
            "slope_lower",
            _over(traits.slope_lower, slope),
            steep,
            f"stated φ' ≥ {traits.slope_lower:.7g}",
        ),
        (
            "slope_upper",
            _over(slope, traits.slope_upper),
            steep,
            f"stated φ' ≤ {traits.slope_upper:.7g}",
        ),
    ):
        holds(clause, excess <= margin, excess, what)
    if traits.monotone:
        fall = np.append(_over(y[:-1], y[1:]), 0)
        holds("monotone", fall <= scale, fall, f"φ falls by {fall.max():.2g} to the next point")
    if traits.convex:
        fall = np.append(_over(slope[:-1], slope[1:]), 0)
        holds("convex", fall <= steep, fall, f"φ' falls by {fall.max():.2g} to the next point")
    if traits.parity is not None:
        mirrored = _float64(jitted(jnp.asarray(-x, jnp.float32))[0])
        off = np.abs(mirrored - (y if traits.parity == "even" else -y))
        holds(f"parity {traits.parity}", off <= scale, off, f"φ(-x) = {mirrored[off.argmax()]:.7g}")
    for side, end, stated in (("-inf", 0, traits.limits[0]), ("+inf", -1, traits.limits[1])):
        if math.isnan(stated):
            continue
        reached = (
            y[end] == stated
            or (
                np.sign(y[end]) == np.sign(stated)
                and abs(y[end]) > abs(y[end + (-1 if end else 1)])
            )
            if math.isinf(stated)
            else abs(y[end] - stated) <= 1e-3 * (1 + abs(stated))
        )
        if not reached:
            detail = f"stated a limit of {stated:.7g}; φ = {y[end]:.7g}"
            failures.append(Failure(f"limit at {side}", f"{x[end]:.6g}", detail))
    for zero in traits.slope_zeros:
        slopes = _float64(jitted(jnp.full(_COUNT, zero, jnp.float32))[1])
        if not abs(slopes[0]) <= 1e-5:
            detail = f"stated φ' = 0; φ' = {slopes[0]:.7g}"
            failures.append(Failure("slope_zeros", f"{zero:.6g}", detail))
    flat = {"left": abs(slope[0]) <= 1e-3, "right": abs(slope[-1]) <= 1e-3}
    for side in ("left", "right"):
        stated = traits.saturates in (side, "both")
        if stated != flat[side]:
            end = 0 if side == "left" else -1
            detail = f"stated saturates={traits.saturates!r}; φ' = {slope[end]:.3g}"
            failures.append(Failure(f"saturates {side}", f"{x[end]:.6g}", detail))
    return failures
