"""Which learning rates an optimiser is tried at."""

from collections.abc import Mapping, Sequence

from jgrad import optim
from jgrad._names import lookup

from ._axes import axis

#: Optimiser → the learning rates tried with it where the caller names none: three, a decade or so
#: around its authors' or its library's default.
LEARNING_RATES: Mapping[str, tuple[float, ...]] = {
    "sgd": (0.01, 0.05, 0.25),
    "momentum": (0.001, 0.01, 0.1),
    "nesterov": (0.001, 0.01, 0.1),
    "adagrad": (0.003, 0.03, 0.3),
    "rmsprop": (0.0001, 0.001, 0.01),
    "adam": (0.0001, 0.001, 0.01),
    "adamw": (0.0001, 0.001, 0.01),
    "nadam": (0.0001, 0.001, 0.01),
    "radam": (0.0001, 0.001, 0.01),
    "lion": (0.00003, 0.0003, 0.003),
    "lamb": (0.001, 0.01, 0.1),
    "adafactor": (0.001, 0.01, 0.1),
    "schedule_free": (0.0003, 0.003, 0.03),
    "schedule_free_adamw": (0.00025, 0.0025, 0.025),
}


def checked_rates(
    given: Sequence[float] | Mapping[str, Sequence[float]], used: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Rates for each of the optimisers that are used: those given, else `LEARNING_RATES`.

    Given as a plain sequence they are for all of them.

    Raises:
      ValueError: a rate that is no finite number of at least 0, an optimiser that is not known or
        has no rates, or not equally many for all that are used.
    """
    if not isinstance(given, Mapping):
        given = dict.fromkeys(used, tuple(given))
    rates = {**LEARNING_RATES, **given}
    for name, values in rates.items():
        lookup(optim.OPTIMIZERS, name, "optimiser")
        for value in axis(f"learning_rates[{name!r}]", values):
            optim.rate(value)
    for name in used:
        lookup(rates, name, "optimiser with learning rates")
    if len({len(rates[name]) for name in used}) > 1:
        msg = f"every optimiser needs as many learning rates: { ({n: rates[n] for n in used}) }"
        raise ValueError(msg)
    return {name: tuple(map(float, rates[name])) for name in used}


def family(chain: optim.Chain) -> str:
    """The name of the chain's optimiser without its options.

    Example:
      >>> family(optim.Chain(optimizer="adam:b2=0.95"))
      'adam'
    """
    return chain.optimizer.partition(":")[0]
