"""Remedies on a loss of one's own, against the edited loss trained by hand."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import xarray as xr
from flax import nnx

from jgrad import results
from jgrad.sweeps import Remedy, compare
from jgrad.sweeps._batches import batches

pytestmark = pytest.mark.loose_promotion

STEPS, CHUNK, BATCH, RATE = 6, 3, 8, 0.3


def own_loss(params, batch, phi=jax.nn.sigmoid):
    h, y = batch["x"], batch["y"]
    for w in params["layers"]:
        h = phi(h @ w)
    return jnp.mean((h @ params["out"] - y) ** 2)


def own_params(key):
    keys = jax.random.split(key, 4)
    layers = [jax.random.normal(k, (5, 5)) / 2 for k in keys[:3]]
    return {"layers": layers, "out": jax.random.normal(keys[3], (5, 1))}


def own_data(seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(30, 5)).astype(np.float32)
    return {"x": x, "y": x[:, :1] - x[:, 1:2]}


REMEDIES = (
    Remedy(label="tanh", rewrite={"sigmoid": "tanh"}),
    Remedy(label="wider", scale={"layers/*": 2.0}),
    Remedy(label="adam", chain="adam | clip=global_norm:1.0"),
)
SETTINGS = {
    "remedies": REMEDIES,
    "steps": STEPS,
    "chunk": CHUNK,
    "batch": BATCH,
    "seeds": (1, 4),
    "learning_rates": (RATE,),
}


@pytest.fixture(scope="module")
def compared():
    return compare(own_loss, own_params, own_data(0), test=own_data(9), **SETTINGS)


def by_hand(seed, loss, params, chain):
    @jax.jit
    def step(params, memory, batch):
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, memory = chain.update(grads, memory, params)
        return optax.apply_updates(params, updates), memory, value

    memory, losses = chain.init(params), []
    for drawn in batches(seed, first=0, steps=STEPS, batch=BATCH, examples=30):
        batch = {name: jnp.asarray(leaf[drawn]) for name, leaf in own_data(0).items()}
        params, memory, value = step(params, memory, batch)
        losses.append(float(value))
    return np.reshape(losses, (-1, CHUNK)).mean(1), float(jax.jit(loss)(params, own_data(9)))


CASES = {
    "plain": (own_loss, lambda p: p, optax.sgd(RATE)),
    "tanh": (lambda p, b: own_loss(p, b, jnp.tanh), lambda p: p, optax.sgd(RATE)),
    "wider": (own_loss, lambda p: p | {"layers": [2 * w for w in p["layers"]]}, optax.sgd(RATE)),
    "adam": (own_loss, lambda p: p, optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))),
}


@pytest.mark.parametrize("label", CASES)
def test_each_remedy_is_the_edited_training(compared, label):
    loss, rescale, chain = CASES[label]
    config = compared.isel(config=compared.label.values.tolist().index(label), rate=0)
    for k, seed in enumerate((1, 4)):
        losses, test = by_hand(seed, loss, rescale(own_params(jax.random.key(seed))), chain)
        np.testing.assert_allclose(config.train_loss.isel(seed=k), losses, rtol=2e-4)
        assert float(config.test_loss.isel(seed=k, step=-1)) == pytest.approx(test, rel=1e-3)


def test_what_is_written_down(compared):
    assert compared.label.values.tolist() == list(CASES)
    assert compared.baseline.values.tolist() == ["", "plain", "plain", "plain"]
    assert compared.model.values.tolist() == ["own_loss"] * 4
    assert compared.rewrite.values.tolist() == ["", "sigmoid to tanh", "", ""]
    assert compared.sizes["depth"] == 3
    assert np.isfinite(compared.log_gain).all()
    assert np.isnan(compared.test_accuracy).all()


def test_the_activations_slopes_are_those_of_the_remedy(compared):
    """Measured at the first step: sigmoid's slope is at most 1/4, tanh's is not."""
    slope = compared.slope_mean.isel(record=0, rate=0).mean(("seed", "depth"))
    slope = dict(zip(compared.label.values.tolist(), slope.values, strict=True))
    assert slope["plain"] <= 0.25 < slope["tanh"]


def test_verdicts_compare_by_test_loss(compared):
    for verdict in results.verdicts(compared):
        assert verdict.score == "test loss"
        assert verdict.seeds == 2
        at = [compared.label.values.tolist().index(name) for name in (verdict.label, "plain")]
        mine, plain = (compared.test_loss.isel(step=-1, rate=0, config=k).values for k in at)
        assert verdict.difference == pytest.approx(float((plain - mine).mean()), rel=1e-5)


def test_a_folder_of_ones_own_is_resumed(compared, tmp_path):
    told = []
    for _ in range(2):
        told.clear()
        again = compare(
            own_loss,
            own_params,
            own_data(0),
            test=own_data(9),
            output=tmp_path,
            progress=told.append,
            **SETTINGS,
        )
    assert {p.stage for p in told} == {"resume"}
    np.testing.assert_array_equal(again.train_loss, compared.train_loss)


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(5, 6, rngs=rngs)
        self.out = nnx.Linear(6, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.sigmoid(self.hidden(x)))


class EqxNet(eqx.Module):
    """Holds what is no array of floats, and can be called."""

    hidden: eqx.nn.Linear
    out: eqx.nn.Linear
    phi: Callable
    order: jax.Array
    dropped: float = 0.0

    def __init__(self, key):
        self.hidden = eqx.nn.Linear(5, 6, key=key)
        self.out = eqx.nn.Linear(6, 1, key=key)
        self.phi, self.order = jax.nn.sigmoid, jnp.arange(5)

    def __call__(self, x):
        return self.out(self.phi(self.hidden(x[self.order])))


def by_module(net, batch):
    forward = jax.vmap(net) if isinstance(net, eqx.Module) else net
    return jnp.mean((forward(batch["x"]) - batch["y"]) ** 2)


def by_arrays(p, batch):
    h = jax.nn.sigmoid(batch["x"] @ p["hidden"]["kernel"] + p["hidden"]["bias"][None])
    return jnp.mean((h @ p["out"]["kernel"] + p["out"]["bias"][None] - batch["y"]) ** 2)


def made(kind, key):
    """The module of that key, and the same as arrays."""
    if kind == "nnx":
        net = NnxNet(nnx.Rngs(key))
        return net, nnx.to_pure_dict(nnx.state(net, nnx.Param))
    net = EqxNet(key)
    parts = {"hidden": net.hidden, "out": net.out}
    return net, {k: {"kernel": part.weight.T, "bias": part.bias} for k, part in parts.items()}


@pytest.mark.parametrize("kind", ["nnx", "eqx"])
def test_a_module_is_trained_as_its_parameters_are(kind, tmp_path):
    remedies = [REMEDIES[0], Remedy(label="wider", scale={"out/[kw]e*": 2.0})]
    settings = SETTINGS | {"remedies": remedies, "seeds": (1,)}
    net, arrays = made(kind, jax.random.key(0))
    found = compare(by_module, net, own_data(0), output=tmp_path, **settings)
    expected = compare(by_arrays, arrays, own_data(0), **settings)
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol=1e-5)
    assert found.label.values.tolist() == ["plain", "tanh", "wider"]
    # The same module, made again, finds its results; another one does not.
    told = []
    again, _ = made(kind, jax.random.key(0))
    compare(by_module, again, own_data(0), output=tmp_path, progress=told.append, **settings)
    assert {p.stage for p in told} == {"resume"}
    other, _ = made(kind, jax.random.key(1))
    with pytest.raises(ValueError, match="another run's results"):
        compare(by_module, other, own_data(0), output=tmp_path, **settings)


@pytest.mark.parametrize("kind", ["nnx", "eqx"])
def test_a_function_may_make_a_module_for_every_seed(kind):
    settings = SETTINGS | {"remedies": (), "seeds": (1, 4)}
    found = compare(by_module, lambda key: made(kind, key)[0], own_data(0), **settings)
    expected = compare(by_arrays, lambda key: made(kind, key)[1], own_data(0), **settings)
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol=1e-5)
    assert np.ptp(found.train_loss.isel(step=0).values) > 1e-3


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": None}, ValueError, "train holds no arrays"),
        (
            {"data": {"x": np.ones((3, 1)), "y": np.ones(4)}},
            ValueError,
            r"axis 0, got x \(3, 1\), y \(4,\)",
        ),
        (
            {"data": own_data(0) | {"x": np.full((30, 5), np.nan)}},
            ValueError,
            "150 of the 150 numb",
        ),
        ({"batch": 31}, ValueError, "batch=31 is more than the 30"),
        ({"seeds": (0, -1)}, ValueError, "at least 0 and below 2³², got -1"),
        ({"remedies": REMEDIES[:1] * 2}, ValueError, "holds 'tanh' twice"),
        ({"chain": "adma"}, ValueError, "did you mean 'adam'"),
        ({"stepz": 3}, TypeError, "unknown option of compare 'stepz'; did you mean 'steps'"),
        (
            {"remedies": (Remedy(label="x", scale={"layer/*": 2.0}),)},
            ValueError,
            "no parameter matches 'layer/\\*'; there are layers/0",
        ),
        ({"remedies": (Remedy(label="x", rewrite={"relu": "gelu"}),)}, ValueError, "relu"),
        (
            {"remedies": (Remedy(label="x", scale=lambda params: params["out"]),)},
            ValueError,
            "remedy 'x': scale gave parameters of other shapes",
        ),
    ],
)
def test_wrong_input(changes, error, words, tmp_path):
    arguments = {"data": own_data(0), "output": tmp_path / "run"} | SETTINGS | changes
    with pytest.raises(error, match=words):
        compare(own_loss, own_params, arguments.pop("data"), **arguments)
    assert not (tmp_path / "run").exists()


def test_labels_alike_as_file_names_stay_apart_and_half_precision_is_saved(tmp_path):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), own_params(jax.random.key(3)))
    named = ("α", "β", "Tanh " + 300 * "x")
    remedies = [
        Remedy(label=label, scale={"*": factor})
        for label, factor in zip(named, (2.0, 3.0, 4.0), strict=True)
    ]
    settings = {**SETTINGS, "remedies": remedies, "seeds": (0, 1), "output": tmp_path}
    dataset = compare(own_loss, half, own_data(0), **settings)
    assert dataset.label.values.tolist() == ["plain", *named]
    assert len(np.unique(dataset.train_loss.isel(step=0, rate=0, seed=0))) == 4
    saved = results.load(tmp_path / "results.nc")
    assert saved.gradient_norm.dtype == np.float32
    xr.testing.assert_equal(saved, compare(own_loss, half, own_data(0), **settings))


def test_parameters_without_an_array_of_floats_are_refused():
    for params in ("relu", {"phi": "relu", "size": 3}, lambda key: {"size": np.ones(3, int)}):
        with pytest.raises(TypeError, match="wants arrays of floats to train, got "):
            compare(own_loss, params, own_data(0))


def test_a_loss_must_give_one_number():
    for loss in (lambda p, batch: (own_loss(p, batch), 3), lambda p, batch: batch["x"] @ p["out"]):
        with pytest.raises(TypeError, match="must give one number for a batch, got "):
            compare(loss, own_params, own_data(0), **SETTINGS)


def test_a_factor_must_be_finite():
    with pytest.raises(ValueError, match="remedy 'x': 'out' wants a finite factor, got nan"):
        Remedy(label="x", scale={"out": float("nan")})


def test_neither_plan_nor_loss():
    with pytest.raises(TypeError, match="compare wants a plan"):
        compare(3)
    with pytest.raises(ValueError, match="remedy 'nothing' changes nothing"):
        Remedy(label="nothing")
