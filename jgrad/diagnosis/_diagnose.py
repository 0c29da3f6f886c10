"""The criteria: when a flow is said to vanish, explode, be dead, saturated or non-finite.

State gradients are compared (δ at the activations), never gradients of weights: those are the same
in every layer where forward and backward shrink together, and scale freely in a ReLU net. No
criterion looks at the size of a gradient alone: every loss may be multiplied by a constant.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from . import _remedies
from ._compare import compare
from ._finding import Finding, History, as_history, in_how_many
from ._profile import Measured, Profile
from ._span import Span, extremes, span
from ._words import blame, factor, folds, percent

#: Fall or rise of the gradient norm along the path that counts as vanishing or exploding: 1000.
STEEP = math.log(1e3)

#: Share of a site's units with φ' = 0 on all examples that makes the site dead.
DEAD = 0.75

#: An input rms of so many half-widths of a bounded activation is far out.
FAR = 2.5


def vanishing(profile: Profile, suspects: np.ndarray) -> Finding | None:
    """The gradient norm falls at least 1000-fold over some stretch of the main path.

    A fall to exactly 0 counts here only where a linear map or underflow made it; where units with
    φ' = 0 did, it is `dead`, and at an input of nothing but zeros it is `unmeasured`.
    """
    fall, first, last = extremes(profile, -1)
    affected = suspects & (fall >= STEEP) & ~_blocked_by_zeros(profile)
    if not affected.any():
        return None
    stretch = _common(profile, affected, first, last)
    at = stretch.first
    if math.isinf(stretch.log_gain):
        if (_dead_share(profile)[affected, at] >= DEAD).any():
            return None
        evidence = f"the gradient becomes exactly 0 at {profile.names[at]}"
    else:
        evidence = _course(stretch)
    return Finding(
        "vanishing",
        _places(profile, stretch),
        evidence + in_how_many(int(affected.sum()), profile.runs),
        blame(stretch.activation, stretch.linear),
        _remedies.of_vanishing(profile, stretch),
        _numbers(stretch, affected),
    )


def exploding(profile: Profile, suspects: np.ndarray) -> Finding | None:
    """The gradient norm grows at least 1000-fold over some stretch of the main path."""
    rise, first, last = extremes(profile, +1)
    affected = suspects & (rise >= STEEP) & np.isfinite(rise)
    if not affected.any():
        return None
    stretch = _common(profile, affected, first, last)
    return Finding(
        "exploding",
        _places(profile, stretch),
        _course(stretch) + in_how_many(int(affected.sum()), profile.runs),
        blame(stretch.activation, stretch.linear),
        _remedies.of_exploding(profile, stretch),
        _numbers(stretch, affected),
    )


def dead(profile: Profile, suspects: np.ndarray) -> Finding | None:
    """At some site at least 75 % of the units have φ' = 0 on every example, at inputs not all zero.

    Half a layer of ReLUs is dead for good in healthy nets on positive inputs. A site whose input is
    exactly 0 throughout (zero biases and a batch of zeros) has not been seen at work, and is not
    called dead.
    """
    share = _dead_share(profile)
    hit = suspects[:, None] & (share >= DEAD)
    if not hit.any():
        return None
    affected = hit.any(1)
    sites = np.flatnonzero(hit.any(0))
    worst = sites[share[affected][:, sites].mean(0).argmax()]
    activation = profile.activations[worst]
    at_worst = share[affected, worst].mean()
    through = np.isneginf(profile["log_dz"][affected, worst]).all()
    where = "at 1 site" if len(sites) == 1 else f"at {len(sites)} sites"
    evidence = f"{percent(at_worst)} of the units at {profile.names[worst]} have slope 0"
    smooth = activation not in ("", "custom") and not _remedies.flat(activation)
    return Finding(
        "dead",
        tuple(profile.names[i] for i in sites),
        f"{evidence} on every example ({where} at least {percent(DEAD)})"
        + in_how_many(int(affected.sum()), profile.runs),
        (
            f"{activation} is so far in its tail that its slope is lost to rounding"
            if smooth
            else f"{activation or 'the activation'} passes nothing there"
        )
        + (", and no gradient gets below" if through else ""),
        _remedies.of_saturated(activation) if smooth else _remedies.of_dead(activation),
        {"dead_share": float(at_worst), "sites": len(sites), "runs": float(affected.mean())},
    )


def saturated(profile: Profile, suspects: np.ndarray) -> Finding | None:
    """At some site E φ'² is at most a tenth of (sup φ')², at inputs far out on the flat ends.

    A tenth is what z ~ N(0, 5.3²) does to tanh. Far out: rms z is at least 2.5 times φ's half-width
    (sup φ - inf φ) / (2 sup φ'), which is 1 for tanh and 2 for the sigmoid. Only for bounded
    catalogue entries, and where the site is not dead already.
    """
    sup = np.array([_remedies.sup_slope(name) for name in profile.activations])
    width = np.array([_remedies.half_width(name) for name in profile.activations])
    dead_already = _dead_share(profile) >= DEAD
    share = profile["slope_second"] / sup**2
    far = np.sqrt(profile["z_second"]) >= FAR * width
    hit = suspects[:, None] & (share <= _remedies.SATURATED) & far & ~dead_already
    if not hit.any():
        return None
    affected = hit.any(1)
    sites = np.flatnonzero(hit.any(0))
    worst = sites[share[affected][:, sites].mean(0).argmin()]
    slope = math.sqrt(profile["slope_second"][affected, worst].mean())
    spread = math.sqrt(profile["z_second"][affected, worst].mean())
    activation = profile.activations[worst]
    return Finding(
        "saturated",
        tuple(profile.names[i] for i in sites),
        f"{activation} at {profile.names[worst]} has rms slope {slope:.2g} where at most"
        f" {sup[worst]:.3g} is possible" + in_how_many(int(affected.sum()), profile.runs),
        f"its input has rms {spread:.3g}",
        _remedies.of_saturated(activation),
        {"rms_slope": slope, "rms_input": spread, "runs": float(affected.mean())},
    )


def nonfinite(profile: Profile, suspects: np.ndarray) -> Finding | None:
    """Any NaN or inf in a pre-activation or in a gradient on either side of its activation."""
    del suspects  # a run that learned before it broke is broken all the same
    hit = (profile["nonfinite"] > 0) | np.isposinf(profile["log_da"])
    if not hit.any():
        return None
    affected = hit.any(1)
    sites = np.flatnonzero(hit.any(0))
    forward = hit & ~np.isfinite(profile["z_second"])
    names = [profile.names[i] for i in sites]
    if forward.any():
        first = profile.names[int(np.flatnonzero(forward.any(0))[0])]
        cause = f"the forward pass is the first to break, at {first}"
    else:
        cause = f"the values are finite, the gradient breaks at or above {names[-1]}"
    return Finding(
        "non-finite",
        tuple(names),
        f"NaN or inf at {len(sites)} of {len(profile.names)} sites"
        + in_how_many(int(affected.sum()), profile.runs),
        cause,
        _remedies.of_nonfinite(),
        {"elements": float(profile["nonfinite"].sum()), "runs": float(affected.mean())},
    )


def unmeasured(profile: Profile, suspects: np.ndarray) -> Finding | None:
    """No fault: no gradient arrives at the last activation, or nothing but zeros goes in."""
    zeros = suspects & _blocked_by_zeros(profile)
    silent = suspects & np.isneginf(profile.path("log_da")[:, -1])
    if zeros.any():
        evidence, cause = "the gradient stops at a site", "every input it has seen is exactly 0"
    elif silent.any():
        evidence = "no gradient reaches the last activation"
        cause = "the output layer starts at zero, or the loss is at its minimum"
    else:
        return None
    silent |= zeros
    return Finding(
        "unmeasured",
        (profile.names[profile.depth - 1],),
        evidence + in_how_many(int(silent.sum()), profile.runs),
        cause,
        (
            "measure again after a training step",
            "measure on another batch, with the loss beside it",
        ),
        {"runs": float(silent.mean())},
    )


#: Symptom → its criterion: (profile, bool [runs] of runs not known to learn) → finding or None.
SYMPTOMS: dict[str, Callable[[Profile, np.ndarray], Finding | None]] = {
    "non-finite": nonfinite,
    "dead": dead,
    "vanishing": vanishing,
    "exploding": exploding,
    "saturated": saturated,
    "unmeasured": unmeasured,
}


def diagnose(
    flow: Measured | Profile,
    history: History | ArrayLike | None = None,
    forecast: object | None = None,
) -> tuple[Finding, ...]:
    """What is wrong with a flow and why, the gravest first; empty where nothing is.

    The criteria, each stated with its numbers at its function in this file:

    ===========  =====================================================================
    non-finite   any NaN or inf, also in the losses of `history`
    dead         ≥ 75 % of a site's units with φ' = 0 on every example
    vanishing    ‖δ‖ falls ≥ 1000-fold over a stretch of the main path
    exploding    ‖δ‖ grows ≥ 1000-fold over a stretch of the main path
    saturated    E φ'² ≤ 0.1 (sup φ')² at a site, at inputs beyond 2.5 half-widths of φ
    unmeasured   no gradient arrives at the last activation: no fault, nothing known
    ===========  =====================================================================

    Args:
      flow: one flow, or several with leading axes (seeds, batches): every finding then says in how
        many of them it holds, since many faults strike some seeds only.
      history: how the loss went (or the bare losses, [*runs, steps]). A run that has learned (see
        `History`) has no fault but a non-finite one, however its gradients look: a gradient of 0 is
        death at a high loss and success at a low one. Without it, what can only be told from the
        loss is not told.
      forecast: optional, as theory.forecast gives; its rate then stands beside the measured one.

    Raises:
      TypeError: `flow` is no flow.
      ValueError: history or forecast do not fit the flow.
    """
    profile = Profile.of(flow)
    history = as_history(history)
    suspects = np.ones(profile.runs, bool)
    found = []
    if history is not None:
        suspects = ~history.learned(profile.runs)
        found += _broken(history, profile.runs)
    found += [finding for tell in SYMPTOMS.values() if (finding := tell(profile, suspects))]
    if forecast is not None:
        found = [_beside(finding, forecast, profile) for finding in found]
    return tuple(found)


def _broken(history: History, runs: int) -> list[Finding]:
    """The finding that the loss itself is not finite."""
    at = history.broke(runs)
    if (at < 0).all():
        return []
    first = int(at[at >= 0].min())
    return [
        Finding(
            "non-finite",
            (),
            f"the loss is not finite from record {first} on"
            + in_how_many(int((at >= 0).sum()), runs),
            "the training diverged",
            _remedies.of_nonfinite(),
            {"record": float(first), "runs": float((at >= 0).mean())},
        )
    ]


def _beside(finding: Finding, forecast: object, profile: Profile) -> Finding:
    """A finding of a fall or rise with the forecast's rate in its evidence."""
    if finding.symptom not in ("vanishing", "exploding"):
        return finding
    rate = compare(forecast, profile).predicted_rate
    if not math.isfinite(rate):
        return finding
    return dataclasses.replace(
        finding,
        evidence=f"{finding.evidence} (theory: {folds(rate)})",
        numbers={**finding.numbers, "predicted_rate": rate},
    )


def _course(stretch: Span) -> str:
    over = "activation" if stretch.layers == 1 else "activations"
    return (
        f"the gradient {folds(stretch.rate)} over {stretch.layers} {over}, "
        f"to {factor(stretch.log_gain)} of itself"
    )


def _common(profile: Profile, affected: np.ndarray, first: np.ndarray, last: np.ndarray) -> Span:
    """The span that stands for all affected runs: the middle one's, gains averaged over them."""
    chosen = np.flatnonzero(affected)
    middle = chosen[np.argsort(last[chosen] - first[chosen], kind="stable")[len(chosen) // 2]]
    arrives = np.isfinite(profile.path("log_da")[:, last[middle]])
    return span(profile, int(first[middle]), int(last[middle]), affected & arrives)


def _places(profile: Profile, stretch: Span) -> tuple[str, ...]:
    return profile.names[stretch.first : stretch.last + 1]


def _numbers(stretch: Span, affected: np.ndarray) -> dict[str, float]:
    return {
        "log_gain": stretch.log_gain,
        "rate": stretch.rate,
        "activation": stretch.activation,
        "linear": stretch.linear,
        "layers": stretch.layers,
        "runs": float(affected.mean()),
    }


def _blocked_by_zeros(profile: Profile) -> np.ndarray:
    """Bool [runs]: the gradient becomes exactly 0 at a site whose input is exactly 0 throughout.

    There φ' is φ'(0), which for relu is a convention: nothing is known of the net at work.
    """
    stops = np.isneginf(profile.path("log_dz")) & np.isfinite(profile.path("log_da"))
    return (stops & (profile.path("z_second") == 0)).any(-1)


def _dead_share(profile: Profile) -> np.ndarray:
    """[runs, positions]: share of units dead by φ' = 0, at sites whose input is not all zero.

    A flow also calls a unit dead whose δz is 0 because no gradient came; the share of exactly zero
    slopes bounds those dead by their slope.
    """
    share = np.minimum(profile["dead_share"], profile["zero_slope_share"])
    return np.where(profile["z_second"] > 0, share, 0.0)
