"""Learning rates over the steps of a training, written as "name:key=value".

Every schedule is a factor on the learning rate, which may be traced: no branch looks at its value.
A length is a whole number of updates, or a share of the training's, below 1.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from jgrad._names import described, known_options, lookup

from ._call import Call, Code


def constant(learning_rate: Any, total: Any) -> Any:
    """The learning rate itself."""
    del total
    return learning_rate


def warmup(learning_rate: Any, total: Any, *, steps: float | int = 0.1) -> Call:
    """From 0 in the first update linearly to the learning rate, after `steps`; then constant."""
    return Call("optax.linear_schedule", (0.0, learning_rate, _length(steps, total)))


def cosine(learning_rate: Any, total: Any, *, end: float | int = 0.0) -> Call:
    """Half a cosine from the learning rate to `end` times it.

    Loshchilov & Hutter, 2016, arXiv:1608.03983, without restarts.
    """
    return Call("optax.cosine_decay_schedule", (learning_rate, _known(total)), _end(end))


def warmup_cosine(
    learning_rate: Any, total: Any, *, warmup: float | int = 0.1, end: float | int = 0.0
) -> Call:
    """`warmup` updates as in "warmup", then "cosine" over those that are left."""
    rising = _length(warmup, total)
    # Not optax.warmup_cosine_decay_schedule: it asks whether the peak is 0, which a traced one
    # cannot answer.
    return Call(
        "optax.join_schedules",
        (
            [
                Call("optax.linear_schedule", (0.0, learning_rate, rising)),
                Call(
                    "optax.cosine_decay_schedule", (learning_rate, _rest(total, rising)), _end(end)
                ),
            ],
            [rising],
        ),
    )


def one_cycle(
    learning_rate: Any,
    total: Any,
    *,
    pct_start: float | int = 0.3,
    div_factor: float | int = 25.0,
    final_div_factor: float | int = 1e4,
) -> Call:
    """Up to the learning rate and down again, in half cosines; the options are optax's.

    Smith & Topin, 2017, arXiv:1708.07120.
    """
    if not (0 < pct_start < 1 and 0 < div_factor < math.inf and 0 < final_div_factor < math.inf):
        msg = (
            f"one_cycle needs 0 < pct_start < 1 and finite factors above 0, got "
            f"{pct_start=}, {div_factor=}, {final_div_factor=}"
        )
        raise ValueError(msg)
    return Call(
        "optax.cosine_onecycle_schedule",
        (_known(total), learning_rate, pct_start, div_factor, final_div_factor),
    )


def exponential(
    learning_rate: Any, total: Any, *, rate: float | int = 0.9, every: float | int = 100
) -> Call:
    """The learning rate times `rate` for every `every` updates, smoothly."""
    if not 0 < rate < math.inf:
        msg = f"exponential needs a finite rate above 0, got {rate!r}"
        raise ValueError(msg)
    return Call("optax.exponential_decay", (learning_rate, _length(every, total), rate))


#: Name → function (learning rate, number of updates, options) giving the rate over the updates.
SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": constant,
    "warmup": warmup,
    "cosine": cosine,
    "warmup_cosine": warmup_cosine,
    "one_cycle": one_cycle,
    "exponential": exponential,
}


def schedule_call(description: str, rate: Any, total: int | Code | None) -> Any:
    """What "name:key=value" makes of a learning rate: the rate itself, or the call of a schedule.

    Raises:
      ValueError: an unknown name or option, a number out of range, a length that does not fit.
    """
    name, numbers, options = described(description, "schedule")
    function = lookup(SCHEDULES, name, "schedule")
    _, _, *known = inspect.signature(function).parameters
    if numbers:
        msg = f"schedule {description!r}: write every number with its name, out of {known}"
        raise ValueError(msg)
    known_options(options, known, f"schedule {name!r}")
    if name != "constant" and callable(rate):
        msg = f"the learning rate is a schedule already; schedule={description!r} cannot hold too"
        raise ValueError(msg)
    return function(rate, total, **options)


def _known(total: int | Code | None) -> int | Code:
    """The number of updates, given and at least 1."""
    if total is None or (isinstance(total, int) and total < 1):
        msg = f"this schedule needs to know of how many updates it is part, at least 1; got {total}"
        raise ValueError(msg)
    return total


def _length(value: float | int, total: int | Code | None) -> int | Code:
    """`value` updates, or that share of them all, at least one."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if not (isinstance(value, float) and 0 < value < 1):
        msg = f"a length is a whole number of updates or a share between 0 and 1, got {value!r}"
        raise ValueError(msg)
    total = _known(total)
    if isinstance(total, Code):
        return Code(f"max(1, round({value} * {total}))")
    return max(1, round(value * total))


def _rest(total: int | Code | None, taken: int | Code) -> int | Code:
    """The updates that are left."""
    total = _known(total)
    if isinstance(total, Code) or isinstance(taken, Code):
        return Code(f"{total} - {taken}")
    if taken >= total:
        msg = f"a warm-up of {taken} updates leaves none of {total}"
        raise ValueError(msg)
    return total - taken


def _end(share: float | int) -> dict[str, float | int]:
    if not 0 <= share <= 1:
        msg = f"end is a share of the learning rate, from 0 to 1, got {share!r}"
        raise ValueError(msg)
    return {"alpha": share} if share else {}
