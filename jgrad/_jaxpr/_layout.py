"""How JAX lays out the equations that hold other jaxprs, over the versions jgrad supports.

Equations are told apart by the parameters they carry, since primitives get renamed (`remat`,
`checkpoint`, `remat2`) more often than their parameters change. tests/_jaxpr/test_seam.py
fails loudly when a JAX release moves something.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.extend.core as jex

Kind = Literal[
    "plain",
    "call",
    "placed",
    "scan",
    "while",
    "cond",
    "remat",
    "custom_jvp",
    "custom_vjp",
    "shard_map",
    "opaque",
]


def kind(eqn: jex.JaxprEqn) -> Kind:
    """What sort of equation this is, as far as walking it goes."""
    params = eqn.params
    name = eqn.primitive.name
    if "branches" in params:
        return "cond"
    if "cond_jaxpr" in params and "body_jaxpr" in params:
        return "while"
    if "jaxpr" in params and "length" in params and "reverse" in params:
        return "scan"
    if "jaxpr" in params and "policy" in params and "prevent_cse" in params:
        return "remat"
    if "jaxpr" in params and "in_specs" in params and "out_specs" in params:
        return "shard_map"
    if "jaxpr" in params and "in_shardings" in params:
        return "placed" if any(_shardings(eqn)) else "call"
    if name.startswith("custom_jvp_call"):
        return "custom_jvp"
    if name.startswith("custom_vjp_call"):
        return "custom_vjp"
    if name in ("closed_call", "core_call"):
        return "call"
    if any(True for _ in jex.jaxprs_in_params(params)):
        return "opaque"
    return "plain"


def bodies(eqn: jex.JaxprEqn) -> tuple[jex.ClosedJaxpr, ...]:
    """The jaxprs an equation holds, closed, in the order in which `rebuild` takes them.

    A while loop's are its condition and its body; a cond's its branches.
    """
    params = eqn.params
    held = {
        "call": lambda: (params.get("jaxpr", params.get("call_jaxpr")),),
        "placed": lambda: (params["jaxpr"],),
        "scan": lambda: (params["jaxpr"],),
        "remat": lambda: (params["jaxpr"],),
        "shard_map": lambda: (params["jaxpr"],),
        "cond": lambda: tuple(params["branches"]),
        "while": lambda: (params["cond_jaxpr"], params["body_jaxpr"]),
        "custom_jvp": lambda: (params["call_jaxpr"],),
        "custom_vjp": lambda: (params.get("call_jaxpr", params.get("fun_jaxpr")),),
        "opaque": lambda: tuple(jex.jaxprs_in_params(params)),
        "plain": lambda: (),
    }[kind(eqn)]()
    return tuple(_closed(body) for body in held)


def _closed(jaxpr: Any) -> jex.ClosedJaxpr:
    return jaxpr if isinstance(jaxpr, jex.ClosedJaxpr) else jex.ClosedJaxpr(jaxpr, ())


def _shardings(eqn: jex.JaxprEqn) -> list[Any]:
    """A jit's shardings of its operands, then of its results; None where it names none."""
    given = (*eqn.params["in_shardings"], *eqn.params["out_shardings"])
    return [None if type(s).__name__ == "UnspecifiedValue" else s for s in given]


def varying_like(x: Any, like: Any) -> Any:
    """`x`, said to vary over the mesh axes that `like` varies over; itself outside shard_map."""
    axes = _varying(like) - _varying(x)
    return jax.lax.pcast(x, tuple(axes), to="varying") if axes else x


def whole(x: Any) -> Any:
    """`x`, whole on every device; itself unless it is split over axes of an explicit mesh."""
    spec = jax.typeof(x).sharding.spec
    split = any(axes is not None for axes in spec)
    return jax.sharding.reshard(x, jax.sharding.PartitionSpec()) if split else x


def _varying(x: Any) -> frozenset[Any]:
    aval = jax.typeof(x)
    kind_of_axes = getattr(aval, "manual_axis_type", None)
    return getattr(aval, "vma", frozenset()) if kind_of_axes is None else kind_of_axes.varying


def scan_split(eqn: jex.JaxprEqn) -> tuple[int, int]:
    """How many of a scan's operands are constants, and how many are carried."""
    params = eqn.params
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # JAX 0.11: flat trees in place of counts
    return len(consts), len(carry)


def rebuild(
    eqn: jex.JaxprEqn,
    runs: Sequence[Callable[..., Sequence[Any]]],
    operands: Sequence[Any],
    extra: Any,
    *,
    stepped: bool = True,
) -> Sequence[Any]:
    """The equation's outputs, computed with each body replaced by one that takes `extra` too.

    Args:
      eqn: a scan, cond, remat, shard_map or a jit that names shardings.
      runs: for each of `bodies(eqn)`, `run(extra, *operands) -> outputs`.
      operands: the equation's operands: arrays, or numbers that the program holds.
      extra: a pytree of arrays handed to every body. A scan hands each step its slice along the
        leading axis if `stepped`, else all of it to every step.
      stepped: see `extra`.
    """
    params = eqn.params
    match kind(eqn):
        case "scan":
            return _rebuild_scan(eqn, runs[0], operands, extra, stepped=stepped)
        case "cond":
            index, *rest = operands
            branches = [lambda extra, *args, run=run: tuple(run(extra, *args)) for run in runs]
            return jax.lax.switch(index, branches, extra, *rest)
        case "remat":
            remat = jax.checkpoint(
                lambda extra, *args: tuple(runs[0](extra, *args)),
                prevent_cse=params["prevent_cse"],
                policy=params["policy"],
            )
            return remat(extra, *operands)
        case "shard_map":
            whole = jax.sharding.PartitionSpec()
            flags = {k: params[k] for k in ("check_vma",) if k in params}
            for name in ("newly_manual_axes", "manual_axes"):
                if name in params:
                    flags["axis_names"] = set(params[name])
            mapped = jax.shard_map(
                lambda extra, *args: tuple(runs[0](extra, *args)),
                mesh=params["mesh"],
                in_specs=(whole, *params["in_specs"]),
                out_specs=tuple(params["out_specs"]),
                **flags,
            )
            return mapped(extra, *operands)
        case "placed":
            shardings = _shardings(eqn)
            places, out_places = shardings[: len(operands)], shardings[len(operands) :]
            return _place(runs[0](extra, *_place(operands, places)), out_places)
        case other:
            msg = f"an equation of kind {other!r} ({eqn.primitive}) is not rebuilt"
            raise TypeError(msg)


def _place(values: Sequence[Any], shardings: Sequence[Any]) -> list[Any]:
    return [
        value if sharding is None else jax.lax.with_sharding_constraint(value, sharding)
        for value, sharding in zip(values, shardings, strict=True)
    ]


def _rebuild_scan(eqn, run, operands, extra, *, stepped):
    num_consts, num_carry = scan_split(eqn)
    consts = operands[:num_consts]
    carry = operands[num_consts : num_consts + num_carry]
    xs = operands[num_consts + num_carry :]

    def body(carry, step):
        xs, mine = step
        outs = run(mine if stepped else extra, *consts, *carry, *xs)
        return tuple(outs[:num_carry]), tuple(outs[num_carry:])

    final, ys = jax.lax.scan(
        body,
        tuple(carry),
        (tuple(xs), extra if stepped else None),
        length=eqn.params["length"],
        reverse=eqn.params["reverse"],
        unroll=eqn.params["unroll"],
    )
    return (*final, *ys)
