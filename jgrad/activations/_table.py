"""The catalogue as rows, for printing."""

import inspect
from typing import Any

from ._catalog import ALIASES, CATALOG, traits
from ._kinks import kinks


def table() -> tuple[dict[str, Any], ...]:
    """One row an activation, in the catalogue's order, of plain values only.

    Keys: name, aliases, params (keyword → default), lower, upper, slope_lower, slope_upper,
    lipschitz, monotone, convex, parity, smoothness, kinks (point → φ' there by jax.nn's
    convention), limits, slope_zeros, saturates, source.

    Example:
      >>> row = next(row for row in table() if row["name"] == "relu6")
      >>> row["lipschitz"], row["kinks"]
      (1.0, {0.0: 0.0, 6.0: 0.0})
    """
    return tuple(_row(name) for name in CATALOG)


def _row(name: str) -> dict[str, Any]:
    phi, facts = CATALOG[name], traits(name)
    keywords = [
        p
        for p in inspect.signature(phi).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "accuracy"
    ]
    return {
        "name": name,
        "aliases": tuple(alias for alias, canonical in ALIASES.items() if canonical == name),
        "params": {p.name: p.default for p in keywords},
        "lower": facts.lower,
        "upper": facts.upper,
        "slope_lower": facts.slope_lower,
        "slope_upper": facts.slope_upper,
        "lipschitz": facts.lipschitz,
        "monotone": facts.monotone,
        "convex": facts.convex,
        "parity": facts.parity,
        "smoothness": facts.smoothness,
        "kinks": dict(kinks(phi)),
        "limits": facts.limits,
        "slope_zeros": facts.slope_zeros,
        "saturates": facts.saturates,
        "source": facts.source,
    }
