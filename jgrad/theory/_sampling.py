"""φ on the host: float64 samples of an activation and its slope, on panels that resolve both.

One Gaussian average is one dot product with these samples. They lie on Gauss-Legendre panels that
are bisected until the Legendre series through each panel's nodes has died out, for φ and for φ'. At
a kink that never happens, so the panels shrink onto it to rounding: kinks are found, not asked for
(a kink that is given, or stated in the catalogue, only saves the search). What no node meets is not
seen, though: a spike or a step narrower than a hundredth of a standard deviation wants its borders
told as kinks.

φ itself is evaluated by JAX, always in float64, always on the CPU, and always on arrays of one
shape, so that it is compiled once whatever is asked of it later.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import activations
from jgrad._types import Elementwise

Host = np.ndarray

#: Nodes per panel, and elements per evaluation of φ (a multiple of the nodes).
_PER_PANEL = 20
_CHUNK = 2000

#: A panel is resolved once its last Legendre coefficients are below this part of its largest. The
#: quadrature error is then about the square: a Gauss rule is exact to twice the degree.
_RESOLVED = 1e-9
_PANELS = 20_000

NODES, WEIGHTS = np.polynomial.legendre.leggauss(_PER_PANEL)
_LEGENDRE = (
    (np.arange(_PER_PANEL) + 0.5)[:, None]
    * np.polynomial.legendre.legvander(NODES, _PER_PANEL - 1).T
    * WEIGHTS
)
_AT_ENDS = np.polynomial.legendre.legvander(np.array([-1.0, 1.0]), _PER_PANEL - 1)


@dataclasses.dataclass(frozen=True)
class Samples:
    """Samples of φ, sorted by x; ∫ f(x) dx ≈ Σ weight · f(x) piece by piece.

    Attributes:
      x: the nodes, [n].
      weight: their quadrature weights, [n].
      value: φ(x), [n].
      slope: φ'(x), [n].
      edges: the panels' borders, [n/20 + 1].
      kinks: where φ or a derivative jumps, given or found.
    """

    x: Host
    weight: Host
    value: Host
    slope: Host
    edges: Host
    kinks: tuple[float, ...]


def resolve(phi: Elementwise | str) -> Elementwise:
    """The function meant by a name or by itself.

    Raises:
      ValueError: no activation has that name.
      TypeError: neither a name nor a function.
    """
    if isinstance(phi, str):
        return activations.get(phi)
    if not callable(phi):
        msg = f"φ must be a name or a function of one array, got {phi!r}"
        raise TypeError(msg)
    return phi


def name_of(phi: Elementwise | str) -> str:
    """What to call φ in a message."""
    return phi if isinstance(phi, str) else getattr(phi, "__name__", repr(phi))


def evaluator(phi: Elementwise) -> Callable[[Host], tuple[Host, Host]]:
    """The function x [n] -> (φ(x), φ'(x)), float64 in NumPy, for any n.

    The slope is autodiff's: for a catalogue entry that is the faithful one, and where φ jumps it is
    the slope beside the jump, which is also what training sees.

    Raises:
      TypeError: φ is not a JAX function, or does not keep shape and float64.
      ValueError: φ is not elementwise: an entry of its output depends on another's input.
    """
    try:
        return _evaluator(phi)
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return _evaluator.__wrapped__(phi)


@functools.lru_cache(maxsize=256)
def _evaluator(phi: Elementwise) -> Callable[[Host], tuple[Host, Host]]:
    def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(phi, (x,), (jnp.ones_like(x),))

    with on_host():
        _refuse_unless_pointwise(phi)
        compiled = jax.jit(both)

    def evaluate(x: Host) -> tuple[Host, Host]:
        blocks = max(1, -(-x.size // _CHUNK))
        padded = np.zeros(blocks * _CHUNK)
        padded[: x.size] = x.ravel()
        with on_host():
            parts = [compiled(block) for block in padded.reshape(blocks, _CHUNK)]
            value, slope = (np.concatenate([np.asarray(p[k]) for p in parts]) for k in (0, 1))
        return value[: x.size].reshape(x.shape), slope[: x.size].reshape(x.shape)

    # A whole evaluation of φ, with other neighbours and in another order.
    x = np.linspace(-2.3, 2.9, _CHUNK)
    even = np.arange(_CHUNK) % 2 == 0
    order = np.random.default_rng(0).permutation(_CHUNK)
    alone, _ = evaluate(x)
    among, _ = evaluate(np.where(even, x, 0.7))
    mixed, _ = evaluate(x[order])
    given = np.concatenate([alone[even], alone[order]])
    if not np.allclose(given, np.concatenate([among[even], mixed]), 1e-12, 1e-300, equal_nan=True):
        msg = (
            f"{name_of(phi)} is not elementwise: its value at one entry changes with the others, "
            "or with its place. Gaussian averages are of a function of one number"
        )
        raise ValueError(msg)
    return evaluate


@contextlib.contextmanager
def on_host() -> Iterator[None]:
    """Inside, JAX computes in float64 on the CPU, now, even while a caller is being traced."""
    with (
        jax.ensure_compile_time_eval(),
        jax.enable_x64(True),
        jax.default_device(jax.local_devices(backend="cpu")[0]),
    ):
        yield


def _refuse_unless_pointwise(phi: Elementwise) -> None:
    given = jax.ShapeDtypeStruct((_CHUNK,), jnp.float64)
    try:
        # Through a function of ours: not every callable can be handed to JAX, a ufunc for one.
        out = jax.eval_shape(lambda x: phi(x), given)
    except jax.errors.TracerArrayConversionError as error:
        msg = (
            f"{name_of(phi)} is not a JAX function: it turned its argument into a NumPy array. "
            "Write it with jax.numpy, so that its slope can be taken"
        )
        raise TypeError(msg) from error
    except TypeError as error:
        msg = f"{name_of(phi)} is no JAX function of one array: {error}"
        raise TypeError(msg) from error
    if getattr(out, "shape", None) != given.shape or out.dtype != given.dtype:
        msg = (
            f"{name_of(phi)} is not elementwise: for float64[{_CHUNK}] it returned {out}, "
            f"wanted float64[{_CHUNK}]"
        )
        raise TypeError(msg)


def sample(
    phi: Elementwise,
    octave: int,
    reach: int = 4,
    *,
    kinks: tuple[float, ...] | None = None,
) -> Samples:
    """Samples of φ for Gaussians of standard deviation in (2^(octave-1), 2^octave].

    Panels are geometric away from zero, from 2^(octave-6) to 2^(octave+reach), so that the Gaussian
    itself is resolved on each; then each is bisected until φ and φ' are.

    Raises:
      ValueError: φ oscillates or is noisy beyond what 20,000 panels resolve.
    """
    known = _stated_kinks(phi) if kinks is None else tuple(map(float, kinks))
    powers = 2.0 ** np.arange(octave - 6, octave + reach + 1)
    edges = np.unique([*-powers, 0.0, *powers, *(k for k in known if abs(k) < powers[-1])])
    return _bisected(phi, edges, known)


def sample_between(
    phi: Elementwise,
    edges: Host,
    *,
    kinks: tuple[float, ...] | None = None,
) -> Samples:
    """Samples of φ on panels that begin from these edges (and φ's known kinks)."""
    known = _stated_kinks(phi) if kinks is None else tuple(map(float, kinks))
    inside = [k for k in known if edges[0] < k < edges[-1]]
    return _bisected(phi, np.unique([*edges, *inside]), known)


def gaps(phi: Elementwise, points: tuple[float, ...], scale: float = 1.0) -> Host:
    """By how much φ and φ' jump at each of these points, [2, n]; looked at on this scale of z."""
    at = np.array(points)
    step = 1e-9 * np.maximum(np.abs(at), scale)
    both = np.array(evaluator(phi)(np.stack([at - step, at + step])))
    return np.abs(both[:, 1] - both[:, 0])


def _stated_kinks(phi: Elementwise) -> tuple[float, ...]:
    return activations.traits(phi).kinks if phi in activations.CATALOG.values() else ()


def _bisected(phi: Elementwise, edges: Host, known: tuple[float, ...]) -> Samples:
    evaluate = evaluator(phi)
    left, right = edges[:-1], edges[1:]
    bulk = np.abs(edges).max() / 16
    # Between borders that straddle zero a kink may sit at zero itself, where nothing is relative.
    least = 0.0 if 0.0 in edges else np.finfo(float).eps * bulk
    done, found, scales, inherited = [], [], np.zeros(2), np.zeros((2, left.size))
    count = left.size
    while left.size:
        middle, half = (left + right) / 2, (right - left) / 2
        x = middle[:, None] + half[:, None] * NODES
        nudge = 1e-14 * half + 24 * np.finfo(float).eps * np.abs([left, right])
        ends = np.stack([left + nudge[0], right - nudge[1]], axis=1)
        samples = np.stack(evaluate(np.concatenate([x, ends], axis=1)))
        both, at_ends = samples[..., :_PER_PANEL], samples[..., _PER_PANEL:]
        seen = np.where(np.isfinite(both) & (np.abs(x) <= bulk), np.abs(both), 0.0)
        scales = np.maximum(scales, seen.max(axis=(1, 2)))
        with np.errstate(invalid="ignore", over="ignore"):
            series = both @ _LEGENDRE.T
            tail, top = np.abs(series[..., -3:]).max(-1), np.abs(series).max(-1)
            # A kink between the last node and the border shows only at the border.
            miss = np.abs(series @ _AT_ENDS.T - at_ends).max(-1)
            # What an ancestor's largest value rounds to is noise in its descendants.
            inherited = np.maximum(inherited, np.nan_to_num(top, posinf=0.0))
            scale = np.maximum(scales[:, None], inherited)
            # On the smallest panels less will do: beside a cusp at z the rounding of z, ε|z| of a
            # panel's width, is noise there, and no noise may be bisected.
            wanted = np.clip(1e-13 * bulk / half, _RESOLVED, 1e-4)
            calm = (tail <= wanted * top + 1e-14 * scale) & (
                miss <= np.maximum(1e-7, 10 * wanted) * top + 1e-11 * scale
            )
            rough = ~calm.all(axis=0)
        rough &= np.isfinite(samples).all(axis=(0, 2))
        smallest = half <= np.maximum(16 * np.finfo(float).eps * np.abs(middle), least)
        found += [0.0 if abs(m) <= 4 * least else m for m in middle[rough & smallest]]
        keep = ~rough | smallest
        done.append((left[keep], right[keep], x[keep], *both[:, keep]))
        left, middle, right = left[~keep], middle[~keep], right[~keep]
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
        inherited = np.tile(inherited[:, ~keep], 2)
        count += left.size // 2
        if count > _PANELS:
            msg = (
                f"{name_of(phi)} is not resolved by {_PANELS} panels on [{edges[0]:g}, "
                f"{edges[-1]:g}], last near {left[0]:.6g}: it oscillates too fast, or is "
                "noise (as what is computed in float32 inside)"
            )
            raise ValueError(msg)
    lefts, rights, x, value, slope = (np.concatenate(part) for part in zip(*done, strict=True))
    order = np.argsort(lefts)
    half = (rights - lefts)[order] / 2
    return Samples(
        x=x[order].ravel(),
        weight=(half[:, None] * WEIGHTS).ravel(),
        value=value[order].ravel(),
        slope=slope[order].ravel(),
        edges=np.append(lefts[order], rights[order][-1]),
        kinks=_clustered([*known, *found]),
    )


def _clustered(points: list[float]) -> tuple[float, ...]:
    """The points, those that agree to rounding taken once."""
    kept: list[float] = []
    for p in sorted(points):
        if not kept or p - kept[-1] > 1e-12 * max(abs(p), 1e-3):
            kept.append(float(p))
    return tuple(kept)
