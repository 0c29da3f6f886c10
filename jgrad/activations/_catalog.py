"""The catalogue: which activations there are, and the facts stated about each.

An activation stays a plain function `phi(x, *, param=default)`. `states` writes its facts into a
table beside it; what is in the table is under the contract of tests/activations/test_contract.py.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, TypeVar

from jgrad._names import unknown
from jgrad._types import Elementwise

F = TypeVar("F", bound=Elementwise)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traits:
    """Facts about an activation φ at its default parameters; a test proves each of them.

    Attributes:
      lower: inf φ, over all of R.
      upper: sup φ.
      slope_lower: inf φ' where φ' exists.
      slope_upper: sup φ' where φ' exists.
      monotone: φ never decreases.
      convex: φ is convex.
      parity: "odd", "even" or None.
      smoothness: the largest k with φ in Cᵏ; -1 where φ itself jumps, math.inf where smooth.
      kinks: the points where some derivative of φ (or φ itself) jumps, in increasing order.
      kink_slopes: φ' at each kink by jax.nn's convention, which is what `slope` gives.
      limits: φ at -inf and at +inf (math.nan where there is no limit).
      slope_zeros: isolated points with φ' = 0, beside what `saturates` says of the ends; where
        there are infinitely many, those in [-10, 10].
      saturates: the sides on which φ' → 0: "left", "right", "both" or "none".
      source: where the definition is from: authors, year, arXiv id or DOI, equation.
    """

    lower: float = -math.inf
    upper: float = math.inf
    slope_lower: float
    slope_upper: float
    monotone: bool
    convex: bool
    parity: Literal["odd", "even"] | None = None
    smoothness: int | float = math.inf
    kinks: tuple[float, ...] = ()
    kink_slopes: tuple[float, ...] = ()
    limits: tuple[float, float]
    slope_zeros: tuple[float, ...] = ()
    saturates: Literal["left", "right", "both", "none"]
    source: str

    @property
    def lipschitz(self) -> float:
        """The smallest L with |φ(x) - φ(y)| ≤ L |x - y|; inf where φ jumps."""
        if self.smoothness < 0:
            return math.inf
        return max(abs(self.slope_lower), abs(self.slope_upper))


#: Canonical name → activation, in order of registration.
CATALOG: dict[str, Elementwise] = {}

#: Other names in use → canonical name.
ALIASES: dict[str, str] = {}

#: Activation → its ln|φ'(x)| in a form that outlives φ' itself, for float32 and wider.
LOG_SLOPES: dict[Elementwise, Elementwise] = {}

_TRAITS: dict[Elementwise, Traits] = {}


def states(
    facts: Traits, *, aliases: tuple[str, ...] = (), log_slope: Elementwise | None = None
) -> Callable[[F], F]:
    """A decorator that enters an activation and its traits into the catalogue, unchanged.

    Args:
      facts: its traits.
      aliases: other names in use.
      log_slope: ln|φ'(x)| of the same keyword parameters, finite wherever φ' ≠ 0.
    """

    def enter(phi: F) -> F:
        CATALOG[phi.__name__] = phi
        ALIASES.update(dict.fromkeys(aliases, phi.__name__))
        _TRAITS[phi] = facts
        if log_slope is not None:
            LOG_SLOPES[phi] = log_slope
        return phi

    return enter


def get(name: str) -> Elementwise:
    """The activation of that name or alias.

    Raises:
      ValueError: there is none; quotes the name and the nearest ones.
      TypeError: what is given is no name.

    Example:
      >>> get("swish").__name__
      'silu'
    """
    if not isinstance(name, str):
        msg = f"get takes the name of an activation, got {type(name).__name__} {name!r}"
        raise TypeError(msg)
    canonical = ALIASES.get(name, name)
    if canonical not in CATALOG:
        raise ValueError(unknown("activation", name, [*CATALOG, *ALIASES]))
    return CATALOG[canonical]


def traits(phi: Elementwise | str) -> Traits:
    """The facts stated about an activation, given as itself or by name.

    Raises:
      ValueError: the catalogue has no such activation.
      TypeError: neither a function nor a name.
    """
    if isinstance(phi, str):
        phi = get(phi)
    if not callable(phi):
        msg = f"traits takes an activation or its name, got {type(phi).__name__} {phi!r}"
        raise TypeError(msg)
    if phi not in _TRAITS:
        raise ValueError(unknown("activation", phi, CATALOG))
    return _TRAITS[phi]
