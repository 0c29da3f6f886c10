"""Remedies on somebody's own loss: its code is not touched, its parameters may be rescaled."""

import dataclasses
import fnmatch
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import data, probes
from jgrad._trees import paths
from jgrad._types import PyTree
from jgrad.optim import Chain
from jgrad.results import Yardstick

from ._axes import axis, seed_axis
from ._entry import Entry
from ._objective import Own
from ._parted import names, parted
from ._program import Program, check_batch
from ._rates import checked_rates, family
from ._step import Examples
from ._study import Turns, by_program
from ._trial import words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remedy:
    """One change to try on a loss of one's own; what is left out stays as it is.

    Attributes:
      label: its name in the results.
      rewrite: what `jgrad.probes.rewrite` takes: {"relu": "gelu"}, a site's name or glob → an
        activation, `probes.normalise()`, `probes.skip()`.
      scale: pattern → factor on the initial parameters whose path ("dense_1/kernel") matches it;
        or a function params -> params.
      chain: the optimiser chain, as a `Chain` or the string that `Chain.parse` reads.

    Raises:
      ValueError: it changes nothing, or a factor is no finite number.
    """

    label: str
    rewrite: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scale: Mapping[str, float] | Callable[[PyTree], PyTree] = dataclasses.field(
        default_factory=dict
    )
    chain: Chain | str | None = None

    def __post_init__(self):
        if not self.rewrite and not self.scale and self.chain is None:
            msg = f"remedy {self.label!r} changes nothing: give it rewrite, scale or chain"
            raise ValueError(msg)
        for pattern, factor in {} if callable(self.scale) else self.scale.items():
            if not (isinstance(factor, numbers.Real) and math.isfinite(factor)):
                msg = f"remedy {self.label!r}: {pattern!r} wants a finite factor, got {factor!r}"
                raise ValueError(msg)

    def rescaled(self, params: PyTree) -> PyTree:
        """The initial parameters with this remedy's factors.

        Raises:
          ValueError: a pattern matches no parameter; says what there is.
        """
        if callable(self.scale):
            return self.scale(params)
        known = names(params)
        for pattern in self.scale:
            if not fnmatch.filter(known, pattern):
                msg = f"no parameter matches {pattern!r}; there are {', '.join(known)}"
                raise ValueError(msg)
        factors = [
            np.prod([f for p, f in self.scale.items() if fnmatch.fnmatchcase(name, p)])
            for name in known
        ]
        leaves, structure = jax.tree.flatten(params)
        scaled = [
            (leaf * factor).astype(leaf.dtype) for leaf, factor in zip(leaves, factors, strict=True)
        ]
        return structure.unflatten(scaled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnStudy:
    """A loss of one's own, plain and with every remedy, at every learning rate and seed.

    Attributes:
      loss: (params, batch) -> scalar.
      params: the initial parameters, a pytree of arrays; or a model: a Flax NNX module, whose
        `nnx.Param`s are trained, or an Equinox one, whose arrays of floats are, while what it holds
        besides stays as it is; or a function key -> any of these, called with every seed's key.
      train: pytree of arrays with the examples along axis 0; a batch is some of them.
      test: the same for held-out examples.
      remedies: what to try, each by itself.
      chain: the optimiser chain of those that name none.
      learning_rates: rates for all, or optimiser → rates, as of `Study`.
      seeds: each decides the batches, and the parameters where these are a function.
      steps: training steps, a multiple of `chunk`.
      chunk: steps between records.
      batch: examples in a step.
      sharpness: record the largest Hessian eigenvalue too.
      stacked: a pattern of the paths of parameters that hold a layer at each index of axis 0, as a
        scan over layers keeps them ("blocks/*"): what a chain does to single arrays it then does to
        single layers.

    Raises:
      ValueError: remedies of the same name, a number out of its range, arrays of unequal length,
        with a NaN in them, or with fewer examples than a batch.
      TypeError: a remedy that is no `Remedy`, or parameters without an array of floats.
    """

    loss: Callable[..., Any]
    params: PyTree
    train: PyTree
    test: PyTree
    remedies: Sequence[Remedy] = ()
    chain: Chain | str = Chain()
    learning_rates: Sequence[float] | Mapping[str, Sequence[float]] = dataclasses.field(
        default_factory=dict
    )
    seeds: Sequence[int] = (0, 1, 2)
    steps: int = 200
    chunk: int = 20
    batch: int = 32
    sharpness: bool = False
    stacked: str = ""
    #: The loss as a function of what is trained, and what that is, by seed.
    _pure: Callable[..., Any] = dataclasses.field(init=False, repr=False, compare=False)
    _drawn: Callable[[int], PyTree] = dataclasses.field(init=False, repr=False, compare=False)
    #: There is no accuracy, so nothing is trained or not by it.
    trains_above = math.nan
    random = 0

    def __post_init__(self):
        object.__setattr__(self, "seeds", seed_axis(self.seeds))
        pure, drawn = parted(self.loss, self.params, self.train, self.seeds[0])
        object.__setattr__(self, "_pure", pure)
        object.__setattr__(self, "_drawn", drawn)
        # By its arrays a module is known again in another process.
        _, (params, _) = probes.pure_call(self.loss, (self.params, self.train))
        object.__setattr__(self, "params", params)
        if isinstance(self.remedies, Remedy | Mapping):
            msg = f"remedies must be a sequence of them, got {self.remedies!r}"
            raise TypeError(msg)
        for remedy in self.remedies:
            if not isinstance(remedy, Remedy):
                msg = f"remedies are each a jgrad.sweeps.Remedy, got {remedy!r}"
                raise TypeError(msg)
        axis("labels", self.labels)
        used = tuple(dict.fromkeys(family(self._chain(r)) for r in (None, *self.remedies)))
        object.__setattr__(self, "learning_rates", checked_rates(self.learning_rates, used))
        for name in ("train", "test"):
            _check_examples(name, getattr(self, name))
        check_batch(self.batch, len(jax.tree.leaves(self.train)[0]))

    @property
    def programs(self) -> int:
        """How many compilations there will be at most."""
        return 1 + len(self.remedies)

    @property
    def labels(self) -> tuple[str, ...]:
        """The configurations' names, the plain one first."""
        return ("plain", *(remedy.label for remedy in self.remedies))

    def _chain(self, remedy: Remedy | None) -> Chain:
        chain = self.chain if remedy is None or remedy.chain is None else remedy.chain
        return Chain.parse(chain) if isinstance(chain, str) else chain

    def tasks(self) -> dict[str, data.Split]:
        """No data set of jgrad's."""
        return {}

    def entries(self) -> list[Entry]:
        """The plain loss and its remedies."""
        return [self._entry(remedy) for remedy in (None, *self.remedies)]

    def turns(self, tasks: Any) -> Turns:
        """Everything, a program at a time."""
        del tasks
        entries = self.entries()
        for entry in entries:
            self._try(entry)
        yield from by_program(entries)

    def _try(self, entry: Entry) -> None:
        """Trace a step, so that what is wrong with any remedy is said before one is trained.

        Raises:
          ValueError: its rewriting or `stacked` matches nothing, or its rescaling changes the tree.
          TypeError: the loss gives no single number.
        """
        objective = entry.program.objective
        batch = jax.tree.map(lambda leaf: leaf[: self.batch], self.train)

        def loss(params: PyTree) -> Any:
            return objective.loss(params, {}, batch, jax.random.key(0))[0]

        params = jax.tree.map(lambda leaf: leaf[0], entry.draw(self.seeds[:1])[0])
        known = paths(params)
        if self.stacked and not fnmatch.filter(known, self.stacked):
            msg = f"stacked: no parameter matches {self.stacked!r}; there are {', '.join(known)}"
            raise ValueError(msg)
        given = jax.eval_shape(self._pure, params, batch)
        if not isinstance(given, jax.ShapeDtypeStruct) or given.shape:
            msg = f"the loss must give one number for a batch, got {given}"
            raise TypeError(msg)
        jax.eval_shape(jax.grad(loss), params)

    def _entry(self, remedy: Remedy | None) -> Entry:
        chain, rewrite = self._chain(remedy), dict(remedy.rewrite) if remedy else {}
        rates: Any = self.learning_rates

        def draw(seeds: Sequence[int]) -> tuple[PyTree, PyTree]:
            each = []
            for seed in seeds:
                params = self._drawn(seed)
                scaled = remedy.rescaled(params) if remedy else params
                if jax.tree.map(np.shape, scaled) != jax.tree.map(np.shape, params):
                    msg = (
                        f"remedy {remedy and remedy.label!r}: scale gave parameters of other shapes"
                    )
                    raise ValueError(msg)
                each.append(scaled)
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), {}

        return Entry(
            label=remedy.label if remedy else "plain",
            program=Program(
                objective=Own(self._pure, tuple(rewrite.items()), self.stacked),
                chain=chain,
                batch=self.batch,
                steps=self.steps,
                chunk=self.chunk,
                sharpness=self.sharpness,
            ),
            rates=rates[family(chain)],
            draw=draw,
            examples=Examples(self.train, self.test),
            settings={
                "model": words(self.loss),
                "optimizer": chain.optimizer,
                "clip": chain.clip,
                "schedule": chain.schedule,
                "rewrite": ", ".join(f"{k} to {words(v)}" for k, v in rewrite.items()),
                "batch": self.batch,
            },
            yardstick=Yardstick("loss", math.nan, math.nan, ""),
            remedy=remedy.label if remedy else "",
            baseline="plain" if remedy else "",
        )


def _check_examples(name: str, tree: PyTree) -> None:
    """Raise a ValueError where these cannot be examples, along axis 0 of every array."""
    leaves = jax.tree.leaves(tree)
    if not leaves:
        msg = f"{name} holds no arrays: a loss is compared on data, its examples along axis 0"
        raise ValueError(msg)
    lengths = {np.shape(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or () in lengths or (0,) in lengths:
        said = ", ".join(
            f"{path} {np.shape(leaf)}" for path, leaf in zip(paths(tree), leaves, strict=True)
        )
        msg = f"{name} wants arrays with equally many examples along axis 0, got {said}"
        raise ValueError(msg)
    for path, leaf in zip(paths(tree), leaves, strict=True):
        broken = int(np.isnan(leaf).sum()) if jnp.issubdtype(leaf.dtype, jnp.inexact) else 0
        if broken:
            msg = f"{name}: {broken} of the {leaf.size} numbers of {path!r} are NaN"
            raise ValueError(msg)
