"""Where the first NaN or infinity came from: the equation that made it of finite numbers.

The function is run equation by equation, and every value that is not finite carries with it where
that began. So an infinity that comes to nothing, as the -inf of an attention mask does, is not
blamed, and what made a result NaN is found however far from the result it lies.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jgrad import _jaxpr
from jgrad._jaxpr import Graph, Node

from . import _checks
from ._held import hold
from ._nnx import pure_call
from ._probe import trace_call


class Operand(NamedTuple):
    """What an equation was given.

    Attributes:
      shape: its shape.
      dtype: its dtype.
      least: its smallest element but for NaNs; NaN where there is no other, or none that is real.
      largest: its largest.
    """

    shape: tuple[int, ...]
    dtype: str
    least: float
    largest: float

    def __str__(self) -> str:
        ends = dict.fromkeys(f"{end:.4g}" for end in (self.least, self.largest))
        return f"{self.dtype}{list(self.shape)} {' to '.join(ends)}"


@dataclasses.dataclass(frozen=True)
class NonFinite:
    """Where a NaN or an infinity began, and what it spoils.

    Attributes:
      kind: "nan" where the equation's result holds a NaN, else "inf".
      primitive: the operation, by JAX's name; "argument" for what was given so, and "constant" for
        what stands so in the program.
      source: where it stands in the user's code, "file.py:12 function", or which argument it is.
      path: the named scopes it is in, joined by "/".
      direction: "backward" on a gradient's way back; the slopes that are needed there are computed
        on the way forward.
      steps: which step it was of each scan or while loop around it, outermost first.
      shape: of the result.
      dtype: of the result.
      count: how many of the result's elements are of this kind.
      operands: what the equation was given.
      cause: for a NaN made of infinities, where the first of them began.
      reached: what of the function's results it spoils, "the value" or a gradient; the first of
        several.
    """

    kind: Literal["nan", "inf"]
    primitive: str
    source: str
    path: str
    direction: Literal["forward", "backward"]
    steps: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str
    count: int
    operands: tuple[Operand, ...] = ()
    cause: "NonFinite | None" = None
    reached: str = ""

    def __str__(self) -> str:
        kind = "NaN" if self.kind == "nan" else "inf"
        head = f"the first {kind} that reaches {self.reached}" if self.reached else "made of"
        at = [self.primitive, self.source]
        at += [f"in {self.path}"] if self.path else []
        at += [f"at step {', '.join(map(str, self.steps))}"] if self.steps else []
        at += ["going backward"] if self.direction == "backward" else []
        size = f"{self.count} of {self.dtype}{list(self.shape)}"
        given = f", from {', '.join(map(str, self.operands))}" if self.operands else ""
        cause = f"\n  {self.cause}" if self.cause else ""
        return f"{head}: {' '.join(filter(None, at))}: {kind} in {size}{given}{cause}"


def first_nonfinite(
    fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., NonFinite | None]:
    """A function of fn's arguments that says where the first NaN or infinity began, or None.

    It is looked for in fn's results and then, if fn is a loss, in its gradients. This is for a bug
    and not for every step: each equation runs by itself, and so it can be neither jitted nor
    vmapped. Rounding may differ from the compiled program's. What the walk cannot enter, such as
    `shard_map` or a kernel, counts as one equation. Of an array with several troubles the earliest
    is named.

    Args:
      fn: any JAX function.
      argnums: with respect to which arguments, as of `jax.grad`, where the result is a real scalar.
      has_aux: fn returns (value, aux); what is in aux does not count.

    Raises:
      TypeError: fn is no function; what is differentiated holds integers.
      ValueError: it was called in a function that is being traced.

    Example:
      >>> def loss(w, x):
      ...     return jnp.sum(jnp.where(x > 0, jnp.sqrt(w * x), 0.0))
      >>> found = first_nonfinite(loss)(jnp.ones(2), jnp.array([0.0, 4.0]))
      >>> found.kind, found.direction, found.reached, found.count
      ('nan', 'backward', 'the gradient of argument 0', 1)
    """
    _checks.function(fn, "what is searched")
    _checks.flag(has_aux, "has_aux")

    def first_nonfinite_of_fn(*args: Any, **named: Any) -> NonFinite | None:
        _checks.concrete("first_nonfinite", (args, named))
        nums = _checks.positions(argnums, len(args))
        pure, args = pure_call(functools.partial(fn, **named), args)
        value, args, _ = hold(lambda *args: pure(*args)[0] if has_aux else pure(*args), args)

        def of_gradient(path):
            return f"the gradient of argument {nums[path[0].idx]}{keystr(path[1:])}"

        with jax.debug_nans(False), jax.debug_infs(False):
            found, results = _search(value, args, lambda path: f"the value{keystr(path)}")
            if found is None and _is_loss(results):
                _checks.differentiable(args, nums)
                found, _ = _search(jax.grad(value, nums), args, of_gradient)
        return found

    return first_nonfinite_of_fn


def _is_loss(results: Sequence[Any]) -> bool:
    return [jnp.shape(x) for x in results] == [()] and _is_of(results[0], jnp.floating)


def _search(
    fn: Callable[..., Any], args: Sequence[Any], name_of: Callable[[Any], str]
) -> tuple[NonFinite | None, Sequence[Any]]:
    """Where the first number that spoils a result of fn began; and the results.

    Args:
      fn: a pure function.
      args: its arguments.
      name_of: what a result is called, by its path.
    """
    graph, tree = trace_call(fn, args)
    walk = _Walk()
    leaves, born = [], []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tuple(args)):
        name = f"{path[0].idx}{keystr(path[1:])}"
        leaves.append(leaf)
        born.append(walk.birth("argument", name, leaf) if _spoiled(leaf) else None)
    results, of_results = walk.run(graph, leaves, born, ())
    first = _earliest(of_results)
    if first is None:
        return None, results
    with_paths = jax.tree_util.tree_leaves_with_path(jax.tree.unflatten(tree, results))
    path, _ = with_paths[of_results.index(first)]
    return dataclasses.replace(first.place, reached=name_of(path)), results


class _Birth(NamedTuple):
    """Where a value's trouble began, and its place in the order of the program."""

    order: int
    place: NonFinite


#: Of a value that is not finite, where that began; None for one that is.
_Born = _Birth | None


class _Walk:
    """Evaluates graphs, and keeps for each value that is not finite where that began."""

    def __init__(self) -> None:
        self._order = itertools.count()
        self._whole: dict[Graph, Callable[..., list[Any]]] = {}

    def birth(self, primitive: str, source: str, value: Any, **more: Any) -> _Birth:
        value = np.asarray(value)
        nans = int(np.isnan(value).sum())
        place = NonFinite(
            "nan" if nans else "inf",
            primitive,
            source,
            **({"path": "", "direction": "forward", "steps": ()} | more),
            shape=value.shape,
            dtype=str(value.dtype),
            count=nans or int(np.isinf(value).sum()),
        )
        return _Birth(next(self._order), place)

    def run(
        self, graph: Graph, args: Sequence[Any], born: Sequence[_Born], steps: tuple[int, ...]
    ) -> tuple[list[Any], list[_Born]]:
        """The graph's results, and where what is not finite in them began.

        Args:
          graph: what to evaluate.
          args: its arguments.
          born: theirs.
          steps: of the loops around it.
        """
        of = {v: b for v, arg, b in zip(graph.inputs, args, born, strict=True) if _spoiled(arg)}

        def at_node(k, operands, _):
            node = graph.nodes[k]
            outputs = _jaxpr.bind(node, operands)
            if any(map(_spoiled, outputs)):
                for v, operand in zip(node.inputs, operands, strict=True):
                    if v in graph.constants and v not in of and _spoiled(operand):
                        of[v] = self.birth("constant", node.source, operand, path=node.scope)
                before = [of.get(v) for v in node.inputs]
                inside = self._inside(node, operands, before, steps) or [None] * len(outputs)
                for v, output, birth in zip(node.outputs, outputs, inside, strict=True):
                    if _spoiled(output):
                        of[v] = birth or self._judged(node, operands, before, output, steps)
            return outputs

        results = _jaxpr.evaluate(graph, args, at_node)
        return results, [of.get(v) for v in graph.outputs]

    def _judged(
        self,
        node: Node,
        operands: Sequence[Any],
        before: Sequence[_Born],
        output: Any,
        steps: tuple[int, ...],
    ) -> _Birth:
        """Where an output's trouble began: at an operand, or here."""
        cause = _earliest(before)
        if np.isnan(output).any():
            nans = [b for b, x in zip(before, operands, strict=True) if b and np.isnan(x).any()]
            inherited = _earliest(nans)
        else:
            inherited = cause
        return inherited or self.birth(
            node.name,
            node.source,
            output,
            path=node.scope,
            direction="backward" if node.is_transposed else "forward",
            steps=steps,
            operands=tuple(map(_operand, operands)),
            cause=cause and cause.place,
        )

    def _inside(
        self,
        node: Node,
        operands: Sequence[Any],
        born: Sequence[_Born],
        steps: tuple[int, ...],
    ) -> Sequence[_Born] | None:
        """Where the outputs' trouble began inside the node, if it can be entered."""
        match node.kind:
            case "scan":
                return self._scan(node, operands, born, steps)
            case "while":
                return self._while(node, operands, born, steps)
            case "cond":
                branch = node.bodies[np.clip(operands[0], 0, len(node.bodies) - 1)]
                return self.run(branch, operands[1:], born[1:], steps)[1]
            case "remat" | "placed" | "custom_jvp" | "custom_vjp":
                return self.run(node.bodies[0], operands, born, steps)[1]
            case _:
                return None

    def _scan(self, node, operands, born, steps):
        (body,) = node.bodies
        num_consts, num_carry = _jaxpr.scan_split(node.eqn)
        carried = num_consts + num_carry
        consts, carry, xs = operands[:num_consts], operands[num_consts:carried], operands[carried:]
        of_consts, of_carry, of_xs = born[:num_consts], born[num_consts:carried], born[carried:]
        of_ys: list[_Born] = [None] * (len(body.outputs) - num_carry)
        turns = range(node.eqn.params["length"])
        for k in reversed(turns) if node.eqn.params["reverse"] else turns:
            out, of_out = self._step(
                body,
                [*consts, *carry, *(x[k] for x in xs)],
                [*of_consts, *of_carry, *of_xs],
                (*steps, k),
            )
            carry, of_carry = out[:num_carry], of_out[:num_carry]
            of_ys = list(map(_earlier, of_ys, of_out[num_carry:]))
        return [*of_carry, *of_ys]

    def _while(self, node, operands, born, steps):
        cond, body = node.bodies
        in_cond, in_body = (node.eqn.params[f"{part}_nconsts"] for part in ("cond", "body"))
        consts, carry = operands[in_cond : in_cond + in_body], operands[in_cond + in_body :]
        of_consts, of_carry = born[in_cond : in_cond + in_body], born[in_cond + in_body :]
        turns = itertools.count()
        while _jaxpr.evaluate(cond, [*operands[:in_cond], *carry])[0]:
            carry, of_carry = self._step(
                body, [*consts, *carry], [*of_consts, *of_carry], (*steps, next(turns))
            )
        return of_carry

    def _step(self, body, args, born, steps):
        """One step of a loop, equation by equation only if something is not finite after it."""
        if body not in self._whole:
            self._whole[body] = jax.jit(lambda *args: _jaxpr.evaluate(body, args))
        out = self._whole[body](*args)
        if not any(map(_spoiled, out)):
            return out, [None] * len(out)
        return self.run(body, args, born, steps)


def _earliest(born: Sequence[_Born]) -> _Born:
    return min((b for b in born if b), default=None)


def _earlier(one: _Born, other: _Born) -> _Born:
    return _earliest([one, other])


def _spoiled(x: Any) -> bool:
    """Whether a number in it is not finite."""
    return _is_of(x, jnp.inexact) and not np.isfinite(x).all()


def _is_of(x: Any, kind: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), kind)


def _operand(x: Any) -> Operand:
    real = _is_of(x, jnp.floating) or _is_of(x, jnp.integer)
    numbers = np.asarray(x, float) if real else np.empty(0)
    numbers = numbers[~np.isnan(numbers)]
    least, largest = (numbers.min(), numbers.max()) if numbers.size else (np.nan, np.nan)
    return Operand(jnp.shape(x), str(jnp.result_type(x)), float(least), float(largest))
