"""Deep nets forward and backward by hand, in NumPy float64: the oracle of these tests."""

import dataclasses

import numpy as np

from jgrad.diagnosis import Profile

ACTIVATIONS = {
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: 0.25 / np.cosh(z / 2) ** 2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(float)),
    "identity": (lambda z: z, np.ones_like),
}


@dataclasses.dataclass(frozen=True)
class HandFlow:
    """What a probe would have measured, [runs, depth] each."""

    names: tuple
    values: dict

    def profile(self, name):
        return self.values[name]

    def profile_names(self):
        return self.names


def _log_norm(x):
    with np.errstate(divide="ignore"):
        return np.log(np.linalg.norm(x))


def _one(key, activation, depth, width, gain, inputs, output_scale, bias):
    random = np.random.default_rng(key)
    phi, slope = ACTIVATIONS[activation]
    a = random.normal(size=(64, width)) * inputs
    weights = [random.normal(size=(width, width)) * gain / np.sqrt(width) for _ in range(depth)]
    zs, posts = [], []
    for w in weights:
        z = a @ w + bias
        a = phi(z)
        zs.append(z)
        posts.append(a)
    readout = random.normal(size=(width, 10)) * output_scale / np.sqrt(width)
    da = (posts[-1] @ readout - random.normal(size=(64, 10))) @ readout.T / 64
    rows = []
    for i in reversed(range(depth)):
        dz = da * slope(zs[i])
        rows.append(
            {
                "log_da": _log_norm(da),
                "log_dz": _log_norm(dz),
                "z_second": np.mean(zs[i] ** 2),
                "slope_second": np.mean(slope(zs[i]) ** 2),
                "zero_slope_share": np.mean(slope(zs[i]) == 0),
                "dead_share": np.mean(((slope(zs[i]) == 0) | (dz == 0)).all(0)),
                "nonfinite": np.sum(~np.isfinite(zs[i])) + np.sum(~np.isfinite(dz)),
            }
        )
        da = dz @ weights[i].T
    rows.reverse()
    values = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    with np.errstate(invalid="ignore"):
        values["log_gain"] = values["log_dz"] - values["log_da"]
        linear = values["log_da"][:-1] - values["log_dz"][1:]
    values["linear_log_gain"] = np.concatenate([[np.nan], linear])
    return values


def hand(
    activation="tanh",
    *,
    depth=30,
    width=48,
    gain=1.0,
    seeds=1,
    inputs=1.0,
    output_scale=1.0,
    bias=0.0,
):
    """The flow of a plain net with weights N(0, gain²/width), per seed."""
    runs = [
        _one(s, activation, depth, width, gain, inputs, output_scale, bias) for s in range(seeds)
    ]
    values = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    return HandFlow(tuple(f"hidden[{i}]" for i in range(depth)), values)


def named(flow, activation):
    """The profile of a flow by hand, with its activation's name."""
    bare = Profile.of(flow)
    return dataclasses.replace(bare, activations=(activation,) * len(bare.names))
