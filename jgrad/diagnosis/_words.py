"""How numbers are said: the same words in findings, in the terminal and in the report."""

import math


def folds(log_gain: float) -> str:
    """A gain a layer in words: its direction and its size as a power of e.

    Example:
      >>> folds(-0.314)
      'falls by e^0.31 a layer'
      >>> folds(0.02)
      'grows by e^0.02 a layer'
      >>> folds(0.001), folds(math.nan)
      ('keeps its size', 'is not finite')
    """
    if not math.isfinite(log_gain):
        return "becomes exactly 0" if log_gain == -math.inf else "is not finite"
    if abs(log_gain) < 0.005:
        return "keeps its size"
    verb = "falls" if log_gain < 0 else "grows"
    return f"{verb} by e^{_short(abs(log_gain))} a layer"


def signed(log_gain: float) -> str:
    """A log-gain as a number with its sign; a dash where there is none.

    Example:
      >>> signed(-0.347), signed(0.0021), signed(math.nan)
      ('−0.35', '+0.00', '–')
    """
    if math.isnan(log_gain):
        return "–"
    return f"{log_gain:+.2f}".replace("-", "−")


def factor(log_gain: float) -> str:
    """The exponential of a log-gain, in digits; a power of ten where digits would not fit.

    Example:
      >>> factor(-0.7), factor(-9.43), factor(-230.0), factor(-math.inf)
      ('0.50', '8.0e-05', '1e-100', 'exactly 0')
    """
    if log_gain == -math.inf:
        return "exactly 0"
    if not math.isfinite(log_gain):
        return "nothing finite"
    tens = log_gain / math.log(10)
    if abs(tens) >= 30:
        return f"1e{tens:+.0f}"
    value = math.exp(log_gain)
    if 0.01 <= value < 1000:
        return f"{value:.3g}" if value >= 1 else f"{value:.2f}"
    return f"{value:.1e}"


def blame(activation: float, linear: float) -> str:
    """Who did it: the shares of a total log-gain that activation and linear maps have.

    Example:
      >>> blame(-9.0, -1.0)
      'the activation does 90 % of it'
      >>> blame(-10.0, 4.0)
      'the activation takes e^10, of which the linear maps give back e^4'
      >>> blame(1.0, 5.0)
      'the linear maps do 83 % of it'
    """
    total = activation + linear
    if not math.isfinite(total):
        who = "the activation" if activation == total else "the linear maps"
        return f"{who} let nothing through" if "maps" in who else f"{who} lets nothing through"
    if activation * linear >= 0:
        share = activation / total if total else 0.0
        if share >= 0.5:
            return f"the activation does {100 * share:.0f} % of it"
        return f"the linear maps do {100 * (1 - share):.0f} % of it"
    larger, smaller = sorted((abs(activation), abs(linear)), reverse=True)
    by_activation = abs(activation) > abs(linear)
    takes, gives = ("takes", "give back") if by_activation else ("take", "gives back")
    if total > 0:
        takes, gives = ("adds", "take away") if by_activation else ("add", "takes away")
    one, other = "the activation", "the linear maps"
    if not by_activation:
        one, other = other, one
    return f"{one} {takes} e^{_short(larger)}, of which {other} {gives} e^{_short(smaller)}"


def percent(share: float) -> str:
    """A share between 0 and 1, as a whole percentage, never rounded up to 100 or down to 0.

    Example:
      >>> percent(0.9), percent(0.9996), percent(1.0)
      ('90 %', 'over 99 %', '100 %')
    """
    if 0 < share < 0.005:
        return "under 1 %"
    if 0.995 <= share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"


def _short(size: float) -> str:
    return f"{size:.2f}" if size < 1 else f"{size:.3g}"
