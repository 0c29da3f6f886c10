"""The same function with other activations, and its code untouched."""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jgrad import activations
from jgrad._names import unknown
from jgrad._numerics import at_least_float32
from jgrad._types import Elementwise

from . import _checks
from ._held import hold
from ._interpret import run
from ._plan import Amend, Opaque, check_options, plan
from ._probe import trace_call
from ._sites import Site


@dataclasses.dataclass(frozen=True)
class Around:
    """Something put around a site's own φ.

    Attributes:
      wrap: `wrap(phi, z) -> a`, of z's shape and dtype.
    """

    wrap: Callable[[Elementwise, jax.Array], jax.Array]


def skip(scale: float = 1.0) -> Around:
    """A skip connection around a site's φ: z + scale·φ(z) (He et al., 2015, arXiv:1512.03385)."""
    return Around(lambda phi, z: z + jnp.asarray(scale, z.dtype) * phi(z))


def normalise(axis: int = -1, eps: float = 1e-5) -> Around:
    """φ of z brought to mean 0 and variance 1 along an axis, with no parameters.

    Layer normalisation (Ba et al., 2016, arXiv:1607.06450) without its gain and bias, in at least
    float32.
    """

    def wrap(phi: Elementwise, z: jax.Array) -> jax.Array:
        if not -z.ndim <= axis < z.ndim:
            msg = f"normalise(axis={axis}) at a site of shape {list(z.shape)}"
            raise ValueError(msg)
        wide = at_least_float32(z)
        centred = wide - jnp.mean(wide, axis=axis, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(centred**2, axis=axis, keepdims=True) + eps)
        return phi((centred * scale).astype(z.dtype))

    return Around(wrap)


#: What stands in for an activation: a catalogue name, a function of z, or something around φ.
Replacement = str | Elementwise | Around

#: Which sites get what: name, site key or glob → replacement, None to leave them; or a function of
#: the site.
Rule = Mapping[str, Replacement | None] | Callable[[Site], Replacement | None]


def rewrite(
    fn: Callable[..., Any],
    rule: Rule,
    *,
    opaque: Opaque = "raise",
    amend: Amend | None = None,
) -> Callable[..., Any]:
    """`fn` with other activations; its gradients are those of the model edited by hand.

    Args:
      fn: any JAX function.
      rule: what becomes of which sites. A mapping's keys are activation names ("relu"), site keys
        or globs over these ("encoder/*"), the first that matches counts; its values are catalogue
        names, functions of z, `skip()` and `normalise()`, which are put around a site's own φ, or
        None to leave the site. A function is handed each Site and returns such a value.
      opaque: "allow" to leave activations where the walk cannot go as they are.
      amend: as of `sites`.

    Raises:
      ValueError: nothing matches a key of the mapping; a name is not in the catalogue; a
        replacement changes shape or dtype.
      TypeError: the rule, one of its keys or a replacement is of another type.

    Example:
      >>> def f(x):
      ...     return jnp.sum(jax.nn.relu(x))
      >>> x = jnp.array([-1.0, 2.0])
      >>> float(rewrite(f, {"relu": "leaky_relu"})(x)), float(f(x))
      (1.99..., 2.0)
    """
    _checks.function(fn, "what is rewritten")
    check_options(opaque=opaque, amend=amend)
    _check_rule(rule)

    def rewritten(*args: Any, **named: Any) -> Any:
        pure, args, restore = hold(functools.partial(fn, **named) if named else fn, args)
        graph, out_tree = trace_call(pure, args)
        whole, sites, _ = plan(graph, [True] * len(graph.inputs), opaque=opaque, amend=amend)
        chosen = _choose(rule, sites)

        def at_site(index, found, phi, z, params, extra):
            del found, extra
            return _replaced(chosen.get(index), lambda z: phi(z, params), z, sites[index])

        results = run(whole, at_site, jax.tree.leaves(args), {})
        return restore(jax.tree.unflatten(out_tree, results))

    return rewritten


def _choose(rule: Rule, sites: tuple[Site, ...]) -> dict[int, Replacement | None]:
    """Place of a site → what becomes of it."""
    if not isinstance(rule, Mapping):
        choices = {k: rule(site) for k, site in enumerate(sites)}
        for k, choice in choices.items():
            _check_replacement(choice, f"the rule gives {sites[k].key!r}")
        return choices
    matched: dict[int, Replacement | None] = {}
    for pattern, choice in rule.items():
        hits = [k for k, site in enumerate(sites) if _matches(pattern, site)]
        if not hits:
            there = {name for site in sites for name in (site.key, site.activation)}
            msg = f"the rule matches no site: {unknown('site or activation', pattern, there)}"
            raise ValueError(msg)
        for k in hits:
            matched.setdefault(k, choice)
    return matched


def _matches(pattern: str, site: Site) -> bool:
    family = site.activation.partition("(")[0]
    names = (site.activation, family, site.key, site.path)
    canonical = activations.ALIASES.get(pattern, pattern)
    return canonical == family or any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _replaced(choice: Replacement | None, phi: Elementwise, z: jax.Array, site: Site) -> jax.Array:
    if choice is None:
        return phi(z)
    if isinstance(choice, Around):
        a = choice.wrap(phi, z)
    else:
        a = (activations.get(choice) if isinstance(choice, str) else choice)(z)
    if getattr(a, "shape", None) != z.shape or a.dtype != z.dtype:
        msg = (
            f"the replacement at {site.key!r} makes {_checks.quoted(a)} of {_checks.quoted(z)}; "
            "shape and dtype must stay"
        )
        raise ValueError(msg)
    return a


def _check_rule(rule: object) -> None:
    if not isinstance(rule, Mapping):
        _checks.function(rule, 'the rule, if it is no mapping such as {"relu": "gelu"},')
        return
    for pattern, choice in rule.items():
        if not isinstance(pattern, str):
            msg = f"the rule's keys are names, site keys and globs, got {_checks.quoted(pattern)}"
            raise TypeError(msg)
        _check_replacement(choice, f"the rule gives {pattern!r}")


def _check_replacement(choice: object, where: str) -> None:
    if choice is not None and not isinstance(choice, str | Around) and not callable(choice):
        msg = (
            f"{where} {_checks.quoted(choice)}, wanted the name of an activation, a function of z, "
            "skip(), normalise() or None"
        )
        raise TypeError(msg)
