"""A made-up sweep with the fields and the sizes of a real one."""

import numpy as np
import xarray as xr

DEPTH, SEEDS, RECORDS = 30, 3, 4
ACTIVATIONS = ("sigmoid", "tanh", "relu", "gelu")
INITS = ("xavier", "he")

#: (activation, linear) log-gain a layer at initialisation.
GAINS = {
    ("sigmoid", "xavier"): (-1.45, 0.0),
    ("sigmoid", "he"): (-1.47, 0.35),
    ("tanh", "xavier"): (-0.04, -0.01),
    ("tanh", "he"): (-0.29, 0.35),
    ("relu", "xavier"): (-0.35, 0.0),
    ("relu", "he"): (-0.35, 0.35),
    ("gelu", "xavier"): (-0.62, 0.0),
    ("gelu", "he"): (-0.45, 0.35),
}
REMEDIES = {
    "layer norm": ({"norm": "layer"}, True),
    "batch norm": ({"norm": "batch"}, True),
    "skip": ({"skip": True}, True),
    "clip": ({"clip": "global_norm:1"}, False),
    "adam": ({"optimizer": "adam"}, False),
    "rmsprop": ({"optimizer": "rmsprop"}, False),
}


def _configurations():
    plain = {"norm": "none", "skip": False, "optimizer": "sgd", "clip": "none", "baseline": ""}
    for activation in ACTIVATIONS:
        for init in INITS:
            gains = GAINS[activation, init]
            base = {"activation": activation, "init": init, **plain}
            label = f"{activation} + {init}"
            trains = abs(sum(gains)) * DEPTH < 5
            yield {**base, "label": label}, gains, trains
            if trains:
                continue
            for name, (changes, helps) in REMEDIES.items():
                mended = (0.05, -0.07) if helps else gains
                trains = helps or (name == "adam" and activation == "relu")
                named = {"label": f"{label} + {name}", "baseline": label}
                yield {**base, **changes, **named}, mended, trains


def _sweep():
    random = np.random.default_rng(3)
    made = list(_configurations())
    n, rates, steps = len(made), 3, np.arange(0, 301, 10)
    records = np.array([0, 50, 100, 200])
    loss = np.empty((n, rates, SEEDS, len(steps)))
    accuracy = np.empty_like(loss)
    gain = np.empty((n, rates, SEEDS, RECORDS, DEPTH))
    linear, log_da, log_dz = np.empty_like(gain), np.empty_like(gain), np.empty_like(gain)
    forecast = np.full((2, n, DEPTH), np.nan)
    for c, (config, (activation, between), trains) in enumerate(made):
        if config["norm"] == "none" and not config["skip"]:
            forecast[0, c], forecast[1, c] = activation, between
            forecast[1, c, 0] = np.nan
        for r in range(rates):
            for s in range(SEEDS):
                pace = random.uniform(0.01, 0.03) * (r + 1) if trains else 1e-4
                loss[c, r, s] = 2.3 * np.exp(-pace * steps) + 0.02 * random.random(len(steps))
                accuracy[c, r, s] = 0.97 - 0.87 * np.exp(-pace * steps)
                drift = np.linspace(0, 0.03 if trains else 0.0, RECORDS)[:, None]
                noise = random.normal(size=(2, RECORDS, DEPTH)) * 0.03
                gain[c, r, s] = activation - drift + noise[0]
                linear[c, r, s] = between + drift + noise[1]
                linear[c, r, s, :, 0] = np.nan
                down = np.nancumsum((gain[c, r, s] + np.nan_to_num(linear[c, r, s]))[:, ::-1], 1)
                log_dz[c, r, s] = -3.0 + (down - np.nan_to_num(linear[c, r, s])[:, ::-1])[:, ::-1]
                log_da[c, r, s] = log_dz[c, r, s] - gain[c, r, s]
    by_site = ("config", "rate", "seed", "record", "depth")
    curve = ("config", "rate", "seed", "step")
    shape = gain.shape
    return xr.Dataset(
        {
            "train_loss": (curve, loss, {"units": "nats", "long_name": "training loss"}),
            "test_accuracy": (curve, accuracy, {"units": "1", "long_name": "test accuracy"}),
            "diverged": (("config", "rate", "seed"), np.zeros((n, rates, SEEDS), bool)),
            "learning_rate": (("config", "rate"), np.tile([0.01, 0.03, 0.1], (n, 1))),
            "log_gain": (by_site, gain),
            "linear_log_gain": (by_site, linear),
            "log_da": (by_site, log_da),
            "log_dz": (by_site, log_dz),
            "slope_mean": (by_site, np.full(shape, 0.5)),
            "slope_second": (by_site, np.full(shape, 0.4)),
            "z_second": (by_site, np.full(shape, 1.1)),
            "a_second": (by_site, np.full(shape, 0.5)),
            "zero_slope_share": (by_site, np.zeros(shape)),
            "dead_share": (by_site, np.zeros(shape)),
            "forecast_log_gain": (("config", "depth"), forecast[0]),
            "forecast_linear_log_gain": (("config", "depth"), forecast[1]),
        },
        coords={
            "step": steps,
            "record": records,
            "seed": np.arange(SEEDS),
            "site": (("config", "depth"), [[f"layers/act[{i}]" for i in range(DEPTH)]] * n),
            **{
                name: ("config", [value] * n)
                for name, value in {
                    "data": "digits",
                    "score": "accuracy",
                    "chance": 0.1,
                    "baseline_loss": np.log(10),
                    "loss_unit": "nat",
                }.items()
            },
            **{
                name: ("config", [config[name] for config, _, _ in made])
                for name in ("label", "baseline", "activation", "init", "norm", "skip")
            },
            "optimizer": ("config", [config["optimizer"] for config, _, _ in made]),
            "clip": ("config", [config["clip"] for config, _, _ in made]),
            "layers": ("config", [DEPTH] * n),
            "width": ("config", [64] * n),
            "program": ("config", ["p"] * n),
        },
        attrs={
            "schema": 3,
            "jgrad": "0.1.0",
            "jax": "0.10.2",
            "python": "3.11",
            "device": "cpu",
            "command": "jgrad compare --out report",
            "created": "2020-01-02T03:04:05+00:00",
            "compile_seconds": 40.0,
            "train_seconds": 70.0,
            "n_programs": 9,
        },
    )


#: A Dataset as a sweep leaves it; tests change copies of it.
SWEEP = _sweep()
