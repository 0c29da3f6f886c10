"""A whole optimiser chain as one hashable value.

A `Chain` is the static part of an optimiser: it holds names and numbers that choose a program. The
learning rate, over which many trainings vmap, comes when the transformation is made. The order is:
loss scale, accumulation, clipping, weight decay, optimiser with its schedule.
"""

import dataclasses
import inspect
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float

from jgrad._names import described, known_options, lookup, unknown
from jgrad._types import PyTree

from ._call import Call, Code, in_layers, named
from ._clip import clip_call
from ._rate import rate
from ._scale import ScaledState, dynamic_loss_scale
from ._schedule import schedule_call


class Recipe(NamedTuple):
    """How an optimiser is made.

    Attributes:
      function: of optax; takes the learning rate, or a schedule, first.
      keywords: what the name says about its keywords.
      decays: whether it decays weights itself, apart from the gradient.
      by_array: whether it goes by whole arrays, or their axes, and not by elements alone.
    """

    function: str
    keywords: Mapping[str, Any] = {}
    decays: bool = False
    by_array: bool = False


#: Name → how it is made.
OPTIMIZERS: dict[str, Recipe] = {
    "sgd": Recipe("optax.sgd"),
    "momentum": Recipe("optax.sgd", {"momentum": 0.9}),
    "nesterov": Recipe("optax.sgd", {"momentum": 0.9, "nesterov": True}),
    "adagrad": Recipe("optax.adagrad"),
    "rmsprop": Recipe("optax.rmsprop"),
    "adam": Recipe("optax.adam"),
    "adamw": Recipe("optax.adamw", decays=True),
    "nadam": Recipe("optax.nadam"),
    "radam": Recipe("optax.radam"),
    "lion": Recipe("optax.lion", decays=True),
    "lamb": Recipe("optax.lamb", decays=True, by_array=True),
    "adafactor": Recipe("optax.adafactor", by_array=True),
    "schedule_free": Recipe("optax.contrib.schedule_free_sgd"),
    "schedule_free_adamw": Recipe("optax.contrib.schedule_free_adamw", decays=True),
}

_DECAYED = ("all", "matrices")
_SCALES = ("none", "static", "dynamic")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chain:
    """An optimiser and all that stands around it, without its learning rate.

    `str` gives the optax expression that it stands for; `description` the short form that `parse`
    reads. Chains described alike are equal and hash alike.

    Attributes:
      optimizer: a name in `OPTIMIZERS`, with options of optax's: "adam:b2=0.95,eps=1e-6".
      clip: "none" or "kind:threshold", as in `clip`.
      schedule: a name in `SCHEDULES` with options, as "warmup_cosine:warmup=0.1". Its steps are
        updates: with `accumulate=4` one for every four gradients.
      weight_decay: None for the optimiser's own default, which is 0 but in "adamw" (1e-4) and
        "lion" (1e-3). Those two, "lamb" and "schedule_free_adamw" shrink the weights beside the
        gradient; with the others it is added to the gradient, after clipping (as in PyTorch).
      decay: what decays: "all", or "matrices" only: arrays of two or more axes.
      accumulate: so many gradients are averaged into one update.
      loss_scale: "none", "static:1024", or "dynamic", "dynamic:initial=1024,interval=500"; the
        training multiplies its loss by `jgrad.optim.loss_scale(chain, state)`.

    Raises:
      ValueError: an unknown name or option (quotes the nearest), a number out of its range.

    Example:
      >>> chain = Chain(optimizer="adam:b2=0.95", clip="global_norm:1.0", schedule="cosine")
      >>> print(chain.description)
      adam:b2=0.95 | clip=global_norm:1.0 | schedule=cosine
      >>> print(chain.expression(1e-3, 500))
      optax.chain(optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(0.001, 500), b2=0.95))
    """

    optimizer: str = "sgd"
    clip: str = "none"
    schedule: str = "constant"
    weight_decay: float | int | None = None
    decay: str = "all"
    accumulate: int = 1
    loss_scale: str = "none"

    def __post_init__(self):
        if self.decay not in _DECAYED:
            raise ValueError(unknown("choice of what decays", self.decay, _DECAYED))
        if isinstance(self.accumulate, bool) or not (
            isinstance(self.accumulate, int) and self.accumulate >= 1
        ):
            msg = (
                f"accumulate must be a whole number of gradients, at least 1, got {self.accumulate}"
            )
            raise ValueError(msg)
        if self.weight_decay is not None:
            rate(self.weight_decay, "weight_decay")
        self.clip_transformation()
        self._call(Code("learning_rate"), Code("steps"), "")

    @classmethod
    def parse(cls, description: str) -> "Chain":
        """The chain of a description: parts between "|", the optimiser or "field=value" each.

        Raises:
          ValueError: an unknown field, one twice, or what `Chain` refuses.

        Example:
          >>> Chain.parse("clip=norm:0.5 | momentum | weight_decay=1e-4 | decay=matrices")
          Chain(optimizer='momentum', clip='norm:0.5', ..., weight_decay=0.0001, ...)
        """
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        given: dict[str, Any] = {}
        for part in description.split("|"):
            match = re.fullmatch(r"\s*(?:(\w+)\s*=)?\s*(.*?)\s*", part)
            name, value = match.groups() if match else (None, part)
            name = name or "optimizer"
            if name not in types:
                raise ValueError(unknown("part of a chain", name, types))
            if name in given:
                msg = f"chain {description!r} gives {name} twice"
                raise ValueError(msg)
            given[name] = value if types[name] is str else _number(name, value)
        return cls(**given)

    @property
    def description(self) -> str:
        """The optimiser, and every field that is not as by default; what `parse` reads."""
        others = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)[1:]
            if getattr(self, field.name) != field.default
        ]
        return " | ".join([self.optimizer, *others])

    def transformation(
        self, learning_rate: Any, steps: int | None = None, *, stacked: str = "", **keywords: Any
    ) -> optax.GradientTransformation:
        """The optax transformation.

        Args:
          learning_rate: a number, a traced number, or (with a constant schedule) an optax schedule.
          steps: how many gradients the training will hand over; schedules are as long as that.
          stacked: a pattern of the paths of parameters that hold a layer at each index of axis 0,
            as a scan keeps them: "layers/*". What goes by arrays (a clip of each one's norm, LAMB,
            weight decay of matrices) then goes by their layers.
          keywords: more of the optimiser's own, for what has no text: traced numbers, dtypes.

        Raises:
          ValueError: a learning rate that is negative or not finite, or a schedule that needs to
            know of how many steps, or does not fit into them.
        """
        return self._call(rate(learning_rate), steps, stacked, keywords).made()

    def clip_transformation(self, *, stacked: str = "") -> optax.GradientTransformation:
        """The clipping alone, to see what it does: see `clipped_share`."""
        call = clip_call(self.clip, stacked)
        return optax.identity() if call is None else call.made()

    @property
    def clips_above(self) -> float | None:
        """The norm of the whole gradient above which clipping acts; None where that does not tell.

        Example:
          >>> Chain(clip="global_norm:1.5").clips_above, Chain(clip="value:1.5").clips_above
          (1.5, None)
        """
        kind, numbers, _ = described(self.clip, "clipping")
        return float(numbers[0]) if kind == "global_norm" else None

    def expression(
        self,
        learning_rate: float | int | None = None,
        steps: int | None = None,
        *,
        stacked: str = "",
    ) -> str:
        """The transformation as text that Python reads, once optax and jgrad are imported.

        What is not given is written `learning_rate` and `steps`.

        Example:
          >>> print(Chain(clip="block:0.1").expression(0.1, stacked="layers/*"))
          optax.chain(jgrad.optim.per_layer(optax.clip_by_block_rms(0.1), 'layers/*'),
            optax.sgd(0.1))
        """
        return str(
            self._call(
                Code("learning_rate") if learning_rate is None else rate(float(learning_rate)),
                Code("steps") if steps is None else steps,
                stacked,
            )
        )

    def __str__(self) -> str:
        return self.expression()

    def _call(
        self, learning_rate: Any, steps: Any, stacked: str, keywords: Mapping[str, Any] = {}
    ) -> Call:
        """The call that makes the transformation."""
        updates = steps
        if self.accumulate > 1 and steps is not None:
            updates = (
                Code(f"({steps} // {self.accumulate})")
                if isinstance(steps, Code)
                else steps // self.accumulate
            )
        clip = clip_call(self.clip, stacked)
        decay, optimizer = self._optimizer(
            schedule_call(self.schedule, learning_rate, updates), stacked, keywords
        )
        call = _in_turn(*filter(None, (clip, decay)), optimizer)
        if self.accumulate > 1:
            call = Call(
                "optax.MultiSteps", (call, self.accumulate), method="gradient_transformation"
            )
        kind, numbers, options = _scale(self.loss_scale)
        if kind == "dynamic":
            return Call("jgrad.optim.dynamic_loss_scale", (call,), options)
        return _in_turn(Call("optax.scale", (1 / numbers[0],)), call) if numbers else call

    def _optimizer(
        self, learning_rate: Any, stacked: str, keywords: Mapping[str, Any]
    ) -> tuple[Call | None, Call]:
        """The weight decay that goes before the optimiser, if one does, and the optimiser."""
        name, numbers, options = described(self.optimizer, "optimiser")
        recipe = lookup(OPTIMIZERS, name, "optimiser")
        _, *parameters = inspect.signature(named(recipe.function)).parameters
        known_options(options, parameters, f"optimiser {name!r}")
        if numbers:
            msg = f"{self.optimizer!r}: write every number with its name, out of {parameters}"
            raise ValueError(msg)
        given = {**recipe.keywords, **options, **keywords}
        masks = {"mask": Code("jgrad.optim.matrices")} if self.decay == "matrices" else {}
        before = None
        if recipe.decays:
            if masks and "mask" not in parameters:
                msg = f"optimiser {name!r} decays all weights: decay='matrices' cannot hold"
                raise ValueError(msg)
            given |= masks
            if self.weight_decay is not None:
                given["weight_decay"] = float(self.weight_decay)
        elif self.weight_decay:
            before = Call("optax.add_decayed_weights", (float(self.weight_decay),), masks)
            before = in_layers(before, stacked if masks else "")
        by_array = recipe.by_array or (recipe.decays and masks)
        call = Call(recipe.function, (learning_rate,), given)
        return before, in_layers(call, stacked if by_array else "")


def chain(
    *,
    optimizer: str = "sgd",
    learning_rate: Any = 1e-2,
    clip: str = "none",
    schedule: str = "constant",
    steps: int | None = None,
    weight_decay: float | int | None = None,
    decay: str = "all",
    accumulate: int = 1,
    loss_scale: str = "none",
    stacked: str = "",
    **keywords: Any,
) -> optax.GradientTransformation:
    """A `Chain`'s transformation in one call: `Chain(...).transformation(learning_rate, steps)`.

    Args:
      optimizer: as in `Chain`, like all that is not named here.
      learning_rate: a number, a traced number (so that many trainings vmap over it), or an optax
        schedule.
      clip: "none", "value:0.5" (each element), "norm:1.0" (each array), "global_norm:1.0" (all).
      schedule: see `SCHEDULES`.
      steps: how many gradients the training will hand over, where the schedule needs it.
      weight_decay: None for the optimiser's own default.
      decay: "all" or "matrices".
      accumulate: gradients in one update.
      loss_scale: "none", "static:1024" or "dynamic".
      stacked: the pattern of parameters that hold a layer at each index of axis 0.
      keywords: the optimiser's own, such as `momentum=0.95` or `b2=0.95`.

    Raises:
      ValueError: an unknown optimiser or clipping, a negative or non-finite learning rate, a
        clipping threshold not above zero.
      TypeError: a keyword that the optimiser does not take.

    Example:
      >>> import jax.numpy as jnp
      >>> tx = chain(optimizer="sgd", learning_rate=0.1, clip="value:1.0")
      >>> updates, _ = tx.update(jnp.array([0.5, -9.0]), tx.init(jnp.zeros(2)))
      >>> updates
      Array([-0.05,  0.1 ], dtype=float32)
    """
    described_chain = Chain(
        optimizer=optimizer,
        clip=clip,
        schedule=schedule,
        weight_decay=weight_decay,
        decay=decay,
        accumulate=accumulate,
        loss_scale=loss_scale,
    )
    return described_chain.transformation(learning_rate, steps, stacked=stacked, **keywords)


def matrices(params: PyTree) -> PyTree:
    """A tree like `params`: True for arrays of two or more axes, the usual mask of weight decay.

    In a stack of scanned layers a bias has two axes, and counts, unless `per_layer` parts them.

    Example:
      >>> import jax.numpy as jnp
      >>> matrices({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
      {'bias': False, 'kernel': True}
    """
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def evaluation_params(chain: Chain, opt_state: Any, params: PyTree) -> PyTree:
    """The parameters to evaluate at: the average of the "schedule_free" ones, else `params`.

    Defazio et al., 2024, arXiv:2405.15682.
    """
    if not chain.optimizer.startswith("schedule_free"):
        return params
    return optax.contrib.schedule_free_eval_params(
        _found(opt_state, optax.contrib.ScheduleFreeState), params
    )


def loss_scale(chain: Chain, opt_state: Any) -> float | Float[Array, ""]:
    """What the training has to multiply its loss by: 1 but for a chain with a loss scale."""
    kind, numbers, _ = _scale(chain.loss_scale)
    if kind == "dynamic":
        return _found(opt_state, ScaledState).scale
    return float(numbers[0]) if numbers else 1.0


def _found(state: Any, kind: type) -> Any:
    """The one part of that type in a chain's state."""
    leaves = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    return next(leaf for leaf in leaves if isinstance(leaf, kind))


def _in_turn(*calls: Call) -> Call:
    """`optax.chain` of several, one by itself; a chain within a chain is unpacked."""
    flat = [
        part for call in calls for part in (call.args if call.function == "optax.chain" else [call])
    ]
    return flat[0] if len(flat) == 1 else Call("optax.chain", tuple(flat))


def _scale(description: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Kind, numbers (of "static", one) and options (of "dynamic")."""
    kind, numbers, options = described(description, "loss scale")
    if kind not in _SCALES:
        raise ValueError(unknown("loss scale", kind, _SCALES))
    allowed = ("initial", "factor", "interval") if kind == "dynamic" else ()
    known_options(options, allowed, f"loss scale {kind!r}")
    wanted = int(kind == "static")
    if len(numbers) != wanted or not all(
        isinstance(n, int | float) and math.isfinite(n) and n > 0 for n in numbers
    ):
        msg = (
            f"a loss scale is 'none', 'static:1024' with a finite number above 0, or 'dynamic'; "
            f"got {description!r}"
        )
        raise ValueError(msg)
    if kind == "dynamic":
        dynamic_loss_scale(optax.identity(), **options)
    return kind, numbers, options


def _number(name: str, value: str) -> float | int | None:
    """The number that is written for that field."""
    numbers = described(f"{name}:{value}", "chain").numbers
    kinds = int if name == "accumulate" else float | int | None
    if len(numbers) != 1 or isinstance(numbers[0], bool) or not isinstance(numbers[0], kinds):
        msg = f"chain: {name} must be a {'whole ' * (kinds is int)}number, got {value!r}"
        raise ValueError(msg)
    return numbers[0]
