"""What numbers must be, said in one way everywhere."""

import math
from collections.abc import Iterable
from typing import Any

from jgrad import _names


def wanted(holds: object, name: str, what: str, given: object) -> None:
    """Nothing where `holds` is true.

    Raises:
      ValueError: it is not; says what was wanted, and what was given.

    Example:
      >>> wanted(-1.0 >= 0, "σ_w", "a finite number ≥ 0", -1.0)
      Traceback (most recent call last):
      ValueError: σ_w: wanted a finite number ≥ 0, got -1.0
    """
    if not holds:
        msg = f"{name}: wanted {what}, got {given!r}"
        raise ValueError(msg)


def scale(name: str, sigma: int | float) -> None:
    """A standard deviation is finite and not negative."""
    wanted(0 <= sigma < math.inf, name, "a standard deviation, a finite number ≥ 0", sigma)


def positive(name: str, value: int | float) -> None:
    """A variance or a second moment is finite and above zero."""
    wanted(0 < value < math.inf, name, "a finite number > 0", value)


def whole(name: str, count: int | float, least: int) -> None:
    """A count is a whole number, no fewer than `least`."""
    wanted(
        count >= least and math.isfinite(count) and count == int(count),
        name,
        f"a whole number ≥ {least}",
        count,
    )


def one_of(name: str, given: str, known: Iterable[str]) -> None:
    """A choice is among those there are."""
    known = list(known)
    if given not in known:
        raise ValueError(_names.unknown(name, given, known))


def network(described: Any) -> None:
    """The numbers and choices of a network's description, each by its field's name.

    Raises:
      ValueError: one is out of range.
    """
    fields: dict[str, Any] = vars(described)
    for name, value in fields.items():
        if name in ("depth", "steps", "tokens"):
            whole(name, value, 1)
        elif name in ("sigma_w", "sigma_v"):
            positive(f"σ_{name[-1]}", value)
        elif name in ("sigma_b", "sigma_u"):
            scale(f"σ_{name[-1]}", value)
        elif name == "scale":
            wanted(math.isfinite(value), name, "a finite number", value)
        elif name == "q0":
            positive("q0, a second moment", 1.0 if value is None else value)
        elif name == "c0":
            wanted(-1 <= value <= 1, "c0, a correlation", "-1 ≤ c0 ≤ 1", value)
        elif name == "keep":
            wanted(0 < value <= 1, "keep, a probability", "0 < keep ≤ 1", value)
        elif name == "width":
            wanted(value >= 1, "width, in units", "a number ≥ 1", value)
        elif name in _CHOICES:
            one_of(name, value, _CHOICES[name])


_CHOICES = {
    "weights": ("gaussian", "orthogonal"),
    "branch": ("one", "two"),
    "norm": ("pre", "post"),
}
