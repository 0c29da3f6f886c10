"""Places marked by hand in a function's code."""

from typing import Any

from jax.ad_checkpoint import checkpoint_name

from ._graph import Node

# JAX's own way to name a value serves: it is the identity under every transformation.
_PREFIX = "jgrad.tap:"


def tap(x: Any, name: str) -> Any:
    """The value itself, marked as a site of that name."""
    return checkpoint_name(x, _PREFIX + name)


def tap_name(node: Node) -> str:
    """The name that a node marks its value with; "" for every other node."""
    name = str(node.eqn.params.get("name", ""))
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""
