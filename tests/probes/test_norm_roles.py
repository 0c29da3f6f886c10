"""Norm x activation x what is around them: the one activation is found, and all else is no site."""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx

from jgrad import probes

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (8, 6))
IMAGE = jax.random.normal(KEY, (4, 4, 4, 6))
WS = (jax.random.normal(KEY, (3, 6, 6)), jnp.ones((3, 6)), jnp.ones((3, 6)))


def standard(axes):
    def norm(h, scale, shift):
        centred = h - h.mean(axes, keepdims=True)
        return centred * jax.lax.rsqrt(h.var(axes, keepdims=True) + 1e-5) * scale + shift

    return norm


def by_moments(h, scale, shift):
    mean = h.mean(0)
    var = jnp.maximum(0.0, jnp.mean(h**2, 0) - mean**2)
    return (h - mean) * (jax.lax.rsqrt(var + 1e-5) * scale) + shift


def by_deviation(h, scale, shift):
    return (h - h.mean(-1, keepdims=True)) / (h.std(-1, keepdims=True) + 1e-5) * scale + shift


def root_mean_square(h, scale, shift):
    return h * jax.lax.rsqrt(jnp.mean(h**2, -1, keepdims=True) + 1e-6) * scale + shift


def of_length_one(h, scale, shift):
    length = jnp.sqrt(jnp.einsum("bd,bd->b", h, h))
    return h / length[:, None] * scale + shift


def by_group(count):
    """Group norm with its variance brought to h's shape before the root, as Flax has it."""

    def norm(h, scale, shift):
        grouped = h.reshape(*h.shape[:-1], count, -1)
        each = lambda v: jnp.repeat(v, h.shape[-1] // count, axis=-1)  # noqa: E731
        mean = grouped.mean(-1)
        var = jnp.maximum(0.0, (grouped**2).mean(-1) - mean**2)
        return (h - each(mean)) * (jax.lax.rsqrt(each(var) + 1e-5) * scale) + shift

    return norm


#: name → (norm, the names of what in it is no activation)
NORMS = {
    "none": (lambda h, scale, shift: h * scale + shift, []),
    "batch": (standard(0), ["custom"] * 3),
    "batch, by moments": (by_moments, ["custom"] * 3 + ["relu"]),
    "layer": (standard(-1), ["custom"] * 3),
    "layer, by deviation": (by_deviation, ["custom"] * 3),
    "root mean square": (root_mean_square, ["custom"] * 2),
    "length one": (of_length_one, ["custom"]),
    "groups of three": (by_group(2), ["custom"] * 3 + ["relu"]),
    "one group": (by_group(1), ["custom"] * 3 + ["relu"]),
}


def new(h):
    return h * jnp.exp(-(h**2)) + 0.1 * h


#: name → (activation, its name)
ACTIVATIONS = {
    "relu": (jax.nn.relu, "relu"),
    "gelu": (jax.nn.gelu, "gelu_tanh"),
    "new": (new, "custom"),
    "tap": (lambda h: probes.tap(h, "here"), "identity"),
}


def once(layer, ws, x):
    return layer(x, jax.tree.map(lambda w: w[0], ws))


def scanned(layer, ws, x):
    return jax.lax.scan(lambda h, w: (h + layer(h, w), None), x, ws)[0]


def mapped(layer, ws, x):
    return jax.vmap(lambda x: once(layer, ws, x))(jnp.stack([x, 2 * x]))


def in_parts(layer, ws, x):
    return jax.lax.map(lambda x: once(layer, ws, x), jnp.stack([x, 2 * x]))


#: what is around the layer: name → (network, the steps of the scan)
AROUND = {
    "once": (once, ()),
    "scan": (scanned, (3,)),
    "remat": (lambda layer, ws, x: once(jax.checkpoint(layer), ws, x), ()),
    "scan of remat": (lambda layer, ws, x: scanned(jax.checkpoint(layer), ws, x), (3,)),
    "vmap": (mapped, ()),
    "map": (in_parts, (2,)),
}


def seen(loss, *args):
    """Activations, and the names of all else by role."""
    found = probes.sites(loss, all=True)(*args)
    others = {}
    for site in found:
        if site.role != "activation":
            others.setdefault(site.role, []).append(site.activation)
    active = [(s.activation, s.steps) for s in found if s.role == "activation"]
    return active, {role: sorted(names) for role, names in others.items()}


def quick(table, *names):
    """The table's names; all but those given are marked slow."""
    return [pytest.param(n, marks=[] if n in names else [pytest.mark.slow]) for n in table]


@pytest.mark.parametrize("around", quick(AROUND, "once", "scan of remat"))
@pytest.mark.parametrize("norm", NORMS)
def test_roles_around_a_norm(norm, around):
    (normalise, inside), (network, steps) = NORMS[norm], AROUND[around]
    for phi, name in ACTIVATIONS.values():
        order = {"before": phi, "after": phi} if name == "custom" else {"before": phi}
        for where in order:

            def layer(h, w, phi=phi, where=where):
                h = h @ w[0]
                if where == "after":
                    return normalise(phi(h), *w[1:])
                return phi(normalise(h, *w[1:]))

            def loss(ws, layer=layer):
                return jnp.mean((network(layer, ws, X) @ WS[0][1] - 1) ** 2)

            active, others = seen(loss, WS)
            assert active == [(name, steps)]
            assert others.pop("loss") == ["custom"]
            assert others == ({"normaliser": inside} if inside else {})


def linen(norm, **options):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, h, _):
            h = norm(name="norm", **options)(nn.Dense(6)(h))
            return nn.gelu(h).astype(jnp.float32), None

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            axes = {"params": 0, "batch_stats": 0}
            many = nn.scan(nn.remat(Block), axes, split_rngs={"params": True}, length=3)
            return many()(Block()(x, None)[0], None)[0]

    def build(x):
        model = Net()
        state = model.init(KEY, x)
        params = state.pop("params")
        return lambda p: model.apply({"params": p, **state}, x, mutable=list(state))[0], params

    return build, [("gelu_tanh", ()), ("gelu_tanh", (3,))]


def of_nnx(norm, **options):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(6, 6, rngs=rngs), norm(6, rngs=rngs, **options)

        def __call__(self, x):
            return nnx.silu(self.norm(self.first(x)))

    return lambda x: (lambda net: net(x), Net(nnx.Rngs(0))), [("silu", ())]


def haiku(make):
    def build(x):
        net = hk.transform_with_state(lambda x: jax.nn.relu(make()(hk.Linear(6)(x))))
        params, state = net.init(KEY, x)
        return lambda p: net.apply(p, state, None, x)[0], params

    return build, [("relu", ())]


def equinox(norm, **options):
    def build(x):
        layer, linear = norm(**options), eqx.nn.Linear(6, 6, key=KEY)
        flat = lambda x: jax.nn.gelu(layer(linear(x)))  # noqa: E731
        return lambda x: jax.vmap(flat)(x.reshape(-1, 6)), x

    return build, [("gelu_tanh", ())]


class BatchInHaiku:
    def __call__(self, h):
        return hk.BatchNorm(True, True, 0.9)(h, is_training=True)


HALF = jnp.bfloat16

#: name → (builder of (function of parameters, parameters) from x, (activation, steps))
LAYERS = {
    "linen batch": linen(nn.BatchNorm, use_running_average=False),
    "linen batch, evaluated": linen(nn.BatchNorm, use_running_average=True),
    "linen batch, bfloat16": linen(nn.BatchNorm, use_running_average=False, dtype=HALF),
    "linen layer": linen(nn.LayerNorm),
    "linen layer, slow": linen(nn.LayerNorm, use_fast_variance=False),
    "linen root mean square, bfloat16": linen(nn.RMSNorm, dtype=HALF),
    "linen group": linen(nn.GroupNorm, num_groups=2),
    "linen group, slow": linen(nn.GroupNorm, num_groups=2, use_fast_variance=False),
    "linen one group": linen(nn.GroupNorm, num_groups=1),
    "linen groups of one": linen(nn.GroupNorm, num_groups=6),
    "linen instance": linen(nn.InstanceNorm),
    "nnx batch": of_nnx(nnx.BatchNorm),
    "nnx layer": of_nnx(nnx.LayerNorm),
    "nnx root mean square": of_nnx(nnx.RMSNorm),
    "nnx group": of_nnx(nnx.GroupNorm, num_groups=3),
    "haiku batch": haiku(BatchInHaiku),
    "haiku layer": haiku(lambda: hk.LayerNorm(-1, True, True)),
    "haiku root mean square": haiku(lambda: hk.RMSNorm(-1)),
    "haiku group": haiku(lambda: hk.GroupNorm(2)),
    "equinox layer": equinox(eqx.nn.LayerNorm, shape=6),
    "equinox root mean square": equinox(eqx.nn.RMSNorm, shape=6),
    "equinox group": equinox(eqx.nn.GroupNorm, groups=2, channels=6),
}


@pytest.mark.parametrize("shape", quick(["vectors", "images", "one vector"], "vectors"))
@pytest.mark.parametrize("name", LAYERS)
def test_roles_of_a_librarys_norm(name, shape):
    build, expected = LAYERS[name]
    fn, params = build({"vectors": X, "images": IMAGE, "one vector": X[:1]}[shape])
    active, others = seen(lambda p: jnp.mean((fn(p).reshape(-1, 6) @ WS[0][0]) ** 2), params)
    assert active == expected
    assert others.pop("loss") == ["custom"]
    assert set(others) <= {"normaliser"}


def spectral(w):
    left = jnp.ones(6)
    for _ in range(2):
        right = w @ left / jnp.linalg.norm(w @ left)
        left = right @ w / jnp.linalg.norm(right @ w)
    return w / (right @ w @ left)


WEIGHTS = {
    "standardised": lambda w: (w - w.mean(0)) / jnp.sqrt(w.var(0) + 1e-5),
    "normed": lambda w: w / jnp.linalg.norm(w, axis=0),
    "spectrally normed": spectral,
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("network", [once, scanned])
def test_norms_of_weights(name, network):
    def loss(ws):
        h = network(lambda h, w: jnp.tanh(h @ WEIGHTS[name](w)), ws, X)
        return jnp.mean((h @ WS[0][1]) ** 2)

    active, others = seen(loss, WS[0])
    assert [name for name, _ in active] == ["tanh"]
    assert others.pop("loss") == ["custom"]
    assert set(others) == {"normaliser"}


def exponentials(z):
    return jnp.exp(z) / jnp.sum(jnp.exp(z), -1, keepdims=True)


SOFTMAXES = {
    "softmax": jax.nn.softmax,
    "in bfloat16": lambda z: jax.nn.softmax(z.astype(HALF)).astype(z.dtype),
    "by hand": exponentials,
    "of its logarithm": lambda z: jnp.exp(jax.nn.log_softmax(z)),
    "with its logarithm taken off": lambda z: jnp.exp(z - jax.nn.logsumexp(z, -1, keepdims=True)),
    "at a temperature": lambda z: jax.nn.softmax(z / 0.5),
}
LABELS = jnp.arange(8) % 6
WANTED = jax.nn.one_hot(LABELS, 6)

LOSSES = {
    "cross-entropy": lambda z: optax.softmax_cross_entropy_with_integer_labels(z, LABELS).mean(),
    "smoothed": lambda z: optax.softmax_cross_entropy(z, optax.smooth_labels(WANTED, 0.1)).mean(),
    "of the logarithm": lambda z: -jnp.mean(jnp.sum(jax.nn.log_softmax(z) * WANTED, -1)),
    "squares": lambda z: jnp.mean((z - WANTED) ** 2),
    "their root": lambda z: jnp.sqrt(jnp.mean((z - WANTED) ** 2)),
    "cosine": lambda z: optax.cosine_distance(z, WANTED, epsilon=1e-8).mean(),
    "divergence": lambda z: optax.kl_divergence(jax.nn.log_softmax(z), WANTED).mean(),
    "contrast": lambda z: optax.ntxent(z, LABELS).mean(),
    "logistic": lambda z: optax.sigmoid_binary_cross_entropy(z, WANTED).mean(),
    "Gaussian": lambda z: jnp.mean((z - WANTED) ** 2 * jnp.exp(-z) + z),
    "Poisson": lambda z: jnp.mean(jnp.exp(z) - WANTED * z),
    "entropy": lambda z: (lambda p: -jnp.sum(p * jnp.log(p)))(jax.nn.softmax(z)),
}


@pytest.mark.parametrize("network", [once, scanned])
@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax_is_no_site(name, network):
    def loss(ws):
        h = network(lambda h, w: SOFTMAXES[name](jnp.tanh(h @ w) @ w), ws, X)
        return jnp.mean((h @ WS[0][1]) ** 2)

    active, others = seen(loss, WS[0])
    assert [name for name, _ in active] == ["tanh"]
    assert set(others) >= {"loss", "softmax"}


@pytest.mark.parametrize("norm", quick(["none", "layer", "root mean square"], "layer"))
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_no_site(name, norm):
    def loss(ws):
        h = once(lambda h, w: NORMS[norm][0](jnp.tanh(h @ w[0]), *w[1:]), ws, X)
        return LOSSES[name](h @ WS[0][1])

    for fn in (loss, lambda ws: jnp.sum(jax.lax.map(lambda c: loss((ws[0] * c, *ws[1:])), X[0]))):
        active, _ = seen(fn, WS)
        assert [name for name, _ in active] == ["tanh"]


def test_a_new_function_that_is_repeated_is_an_activation():
    def pairs(w, x):
        return jnp.mean((new(x @ w)[:, None] * x @ w) ** 2)

    def squeezed(w, x):
        h = jnp.tanh(x @ w)
        return jnp.mean((h * new(h.mean(0) @ w) @ w) ** 2)

    assert seen(pairs, WS[0][0], X)[0] == [("custom", ())]
    assert [name for name, _ in seen(squeezed, WS[0][0], X)[0]] == ["tanh", "custom"]
