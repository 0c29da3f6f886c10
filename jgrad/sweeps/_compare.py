"""Run a plan: program after program, each saved as it is done, into one dataset."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jgrad import results
from jgrad._names import unknown
from jgrad._trees import paths
from jgrad.data import Split

from ._layout import Spread, meet
from ._own import OwnStudy, Remedy
from ._progress import Clock, Progress
from ._runner import Runner
from ._study import Turns


@runtime_checkable
class Plan(Protocol):
    """What can be run: a `Study`, a `Comparison`, somebody's own loss with remedies."""

    @property
    def seeds(self) -> Sequence[int]:
        """Every configuration is trained with all of them."""
        ...

    @property
    def steps(self) -> int:
        """Training steps."""
        ...

    @property
    def trains_above(self) -> float:
        """The score on the test above which a training works; NaN where there is none."""
        ...

    @property
    def random(self) -> int:
        """How many of the last configurations are a random arm."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The configurations' names in the order of the results; None for that of training."""
        ...

    @property
    def programs(self) -> int:
        """How many compilations there will be at most."""
        ...

    def tasks(self) -> Mapping[str, Split]:
        """The data by name, looked over."""
        ...

    def turns(self, tasks: Any) -> Turns:
        """What to train next, given the results of what was trained last."""
        ...


def compare(
    plan: Any,
    params: Any = None,
    data: Any = None,
    *,
    output: str | Path | None = None,
    progress: Callable[[Progress], object] | None = None,
    devices: Sequence[Any] | None = None,
    memory: int | None = None,
    spread: Spread | None = None,
    test: Any = None,
    remedies: Sequence[Remedy] = (),
    **options: Any,
) -> xr.Dataset:
    """Train everything that a plan describes; the dataset of `jgrad.results.VARIABLES`.

    Two ways to call it: `compare(plan)` with a `Study` or a `Comparison`; and, on a model of one's
    own, `compare(loss, params, data, remedies=[...])`, whose loss is called as loss(params, batch)
    and is trained plain and with every remedy.

    Given an output folder, each program's results are saved there (whole or not at all) as soon as
    it is done, where the running one stands every half minute, and `results.nc` at the end; the
    same call made again, after whatever ended the first, trains only what is missing and returns
    the same numbers. In several processes
    (`jax.distributed`) each trains its share of the points and the folder must be one that all of
    them see.

    Args:
      plan: what to train; or a loss.
      params: for a loss, its initial parameters: arrays, an NNX or Equinox module, or a function
        from a key to either.
      data: for a loss, a pytree of arrays with the examples along axis 0.
      output: a new or empty folder, or that of the same plan.
      progress: called on the host with a `Progress`, before each compilation and after each chunk.
      devices: where to train; all there are by default.
      memory: bytes that one device may take; found out by default.
      spread: lay one large model over a mesh, in place of many points over the devices.
      test: for a loss, held-out examples; the training ones by default.
      remedies: for a loss, what to try.
      options: for a loss, the other fields of `OwnStudy`: chain, learning_rates, seeds, steps,
        chunk, batch, sharpness, stacked.

    Raises:
      ValueError: a data set is not known or not sound, batches are larger than it, or the folder
        holds something else; nothing has then been compiled or written.
      TypeError: neither a plan nor a loss with its parameters and data.
    """
    given = {"params": params, "data": data, "test": test, "remedies": remedies or None, **options}
    given = {name: value for name, value in given.items() if value is not None}
    plan = _plan(plan, given)
    tasks = plan.tasks()
    turns = plan.turns(tasks)
    turn = next(turns)  # what is wrong with the plan is said here, before a folder is made
    folder = None if output is None else _claimed(output, _identity(plan, tasks, devices))
    runner = Runner(
        seeds=tuple(plan.seeds),
        folder=folder,
        clock=Clock(progress, plan.programs),
        devices=devices,
        memory=memory,
        spread=spread,
    )
    parts: list[xr.Dataset] = []
    try:
        while turn is not None:
            name, entries = turn
            parts.append(runner.run(name, entries, len(parts)))
            turn = _after(turns, parts[-1])
    except Exception as error:  # a device was lost, the disk is full, the caller's progress failed
        if folder is not None:
            error.add_note(f"What was done is in {folder.path}; the same call goes on from there.")
        raise
    whole = results.merge(parts).assign_attrs(_attrs(plan, tasks, parts))
    if plan.labels is not None:  # as asked for, not as grouped
        found = whole.label.values.tolist()
        whole = whole.isel(config=[found.index(label) for label in plan.labels])
    if folder is not None and jax.process_index() == 0:
        results.save(whole, folder.results)
    meet("the results are saved")
    return whole


def _plan(what: Any, given: Mapping[str, Any]) -> Plan:
    """The plan that was handed over, or that of a loss and what was given beside it.

    Raises:
      TypeError: neither, something beside a plan, or an option that there is none of.
    """
    if callable(what):
        rest = {name: value for name, value in given.items() if name not in ("data", "test")}
        known = [field.name for field in dataclasses.fields(OwnStudy) if field.init]
        for name in rest.keys() - known:
            raise TypeError(unknown("option of compare", name, known))
        data = given.get("data")
        return OwnStudy(
            loss=what, train=data, test=given.get("test", data), **{"params": None, **rest}
        )
    if not isinstance(what, Plan) or given:
        beside = f" and {', '.join(given)}" if given else ""
        msg = (
            "compare wants a plan (Study, Comparison) alone, or a loss with params and data; "
            f"got {type(what).__name__}{beside}"
        )
        raise TypeError(msg)
    return what


def _claimed(output: str | Path, identity: Mapping[str, Any]) -> results.Folder:
    """The folder of this run; where there are several processes, the first one makes it."""
    if jax.process_index() == 0:
        results.claim(output, identity)
    meet("the folder is claimed")
    return results.claim(output, identity)


def _after(turns: Turns, part: xr.Dataset) -> tuple[str, Any] | None:
    """What comes after these results; None for nothing."""
    try:
        return turns.send(part)
    except StopIteration:
        return None


def _identity(
    plan: Any, tasks: Mapping[str, Split], devices: Sequence[Any] | None
) -> dict[str, Any]:
    """What decides the bits: every field, the data's own bytes, the software, who computes."""
    used = list(devices or jax.devices())
    given = [field.name for field in dataclasses.fields(plan) if field.init]
    fields = {name: _plain(getattr(plan, name)) for name in given}
    return {
        "plan": type(plan).__name__,
        **fields,
        "data_digest": {name: task.digest() for name, task in tasks.items()},
        "software": results.software(),
        "devices": f"{len(used)} x {used[0].device_kind}",
        "processes": jax.process_count(),
        "schema": results.SCHEMA,
    }


def _plain(value: Any) -> Any:
    """A field as JSON holds it; functions by name and code, arrays by their bytes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        named = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **named}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        host = np.ascontiguousarray(value)
        return f"{host.dtype}{list(host.shape)} {hashlib.sha256(host.tobytes()).hexdigest()[:16]}"
    if value is None:
        return None
    if not jax.tree_util.all_leaves([value]):  # such as NNX's variables, which can be called too
        held = zip(paths(value), jax.tree.leaves(value), strict=True)
        return {"kind": type(value).__name__, **{path: _plain(leaf) for path, leaf in held}}
    if callable(value):
        name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
        return f"{name} {_code(getattr(value, '__code__', None))[:8]}"
    return value


def _code(code: Any) -> str:
    """A hash of a function's own code; of "" where it has none, as a compiled one."""
    if code is None:
        return hashlib.sha256(b"").hexdigest()
    inner = [_code(const) if hasattr(const, "co_code") else repr(const) for const in code.co_consts]
    return hashlib.sha256(code.co_code + repr((inner, code.co_names)).encode()).hexdigest()


def _attrs(plan: Plan, tasks: Mapping[str, Split], parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    def total(name: str) -> float:
        return float(sum(part.attrs[name] for part in parts))

    attrs = {
        **results.provenance(),
        "seeds": list(plan.seeds),
        "steps": plan.steps,
        "trains_above": plan.trains_above,
        "random": plan.random,
        "n_programs": len(parts),
        "n_points": sum(part.train_loss.isel(step=0).size for part in parts),
        "compile_seconds": total("compile_seconds"),
        "train_seconds": total("train_seconds"),
    }
    if tasks:
        attrs["examples"] = "; ".join(
            f"{task.name}: {len(task.y_train)} to train on, {len(task.y_test)} to test, "
            f"digest {task.digest()}"
            for task in tasks.values()
        )
    if len(tasks) == 1:  # what the coordinates say of each configuration, in short
        (task,) = tasks.values()
        attrs |= {"data": task.name, "chance": task.chance, "baseline_loss": task.baseline}
    return attrs
