"""A table of models of many styles, small, with the activations that their authors would name."""

import functools

import jax
import jax.numpy as jnp
import optax
from jax.nn import gelu, log_softmax, one_hot, relu, sigmoid, silu, softmax, softplus


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def weights(**shapes):
    """Normal numbers of the shapes given, over the root of the inputs of each."""
    return {
        name: normal(seed, *shape) / max(shape[-2:][0], 1) ** 0.5
        for seed, (name, shape) in enumerate(shapes.items())
    }


X, Y, LABELS = normal(90, 5, 6), normal(91, 5, 6), jnp.array([0, 2, 1, 0, 3])

#: name → (loss, arguments, activations with their shapes and steps, in program order)
STYLES = {}


def style(*sites, args):
    """Enters a model; a site is written as "tanh 5x6", or "tanh 5x6 in 4" for a scan of 4 steps."""

    def enter(loss):
        STYLES[loss.__name__] = (loss, args, list(sites))
        return loss

    return enter


def layer_normed(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def rms_normed(x):
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)


def convolved(x, kernel, groups=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@style(
    "gelu_tanh 2x6x8",
    "gelu_tanh 2x4x10",
    args=(
        weights(tokens=(4, 8), back=(8, 4), channels=(6, 10), out=(10, 6), head=(6, 4)),
        normal(8, 2, 4, 6),
        LABELS[:2],
    ),
)
def mlp_mixer(p, x, labels):
    mixed = jnp.swapaxes(layer_normed(x), 1, 2)
    x = x + jnp.swapaxes(gelu(mixed @ p["tokens"]) @ p["back"], 1, 2)
    x = x + gelu(layer_normed(x) @ p["channels"]) @ p["out"]
    return cross_entropy(layer_normed(x).mean(1) @ p["head"], labels)


@style(
    "gelu 2x6x6x16",
    "gelu 2x6x6x16",
    args=(
        {"scale": jnp.full((2, 4), 1e-2)}
        | weights(depthwise=(2, 3, 3, 1, 4), up=(2, 4, 16), down=(2, 16, 4), head=(4, 4)),
        normal(8, 2, 6, 6, 4),
        LABELS[:2],
    ),
)
def convnext(p, x, labels):
    for k in range(2):
        h = layer_normed(convolved(x, p["depthwise"][k], groups=4))
        x = x + p["scale"][k] * (gelu(h @ p["up"][k], approximate=False) @ p["down"][k])
    return cross_entropy(layer_normed(x.mean((1, 2))) @ p["head"], labels)


@style(
    "relu 2x8x8x4",
    "relu 2x4x4x8",
    "relu 2x8x8x4",
    "sigmoid 2x8x8x1",
    args=(
        weights(down=(3, 3, 1, 4), bottom=(3, 3, 4, 8), up=(3, 3, 12, 4), out=(1, 1, 4, 1)),
        normal(8, 2, 8, 8, 1),
        (normal(9, 2, 8, 8, 1) > 0).astype(jnp.float32),
    ),
)
def u_net(p, x, mask):
    top = relu(convolved(x, p["down"]))
    window = (1, 2, 2, 1)
    h = jax.lax.reduce_window(top, -jnp.inf, jax.lax.max, window, window, "VALID")
    h = jax.image.resize(relu(convolved(h, p["bottom"])), (2, 8, 8, 8), "nearest")
    h = relu(convolved(jnp.concatenate([top, h], -1), p["up"]))
    logits = convolved(h, p["out"])
    share = sigmoid(logits)
    dice = 1 - (2 * jnp.sum(share * mask) + 1) / (jnp.sum(share) + jnp.sum(mask) + 1)
    return dice + optax.sigmoid_binary_cross_entropy(logits, mask).mean()


# What a state keeps of itself, exp(ΔA), is a gate by another name.
@style(
    "silu 2x5x8",
    "softplus 2x5x8",
    "custom 2x5x8x3",
    "silu 2x5x8",
    args=(
        {"rates": jnp.log(jnp.arange(1.0, 4.0) * jnp.ones((8, 1))), "window": normal(7, 3, 8)}
        | weights(into=(6, 16), step=(8, 8), b=(8, 3), c=(8, 3), out=(8, 6)),
        normal(8, 2, 5, 6),
    ),
)
def selective_scan(p, x):
    u, gate = jnp.split(rms_normed(x) @ p["into"], 2, -1)
    padded = jnp.pad(u, ((0, 0), (2, 0), (0, 0)))
    u = silu(sum(padded[:, k : k + 5] * p["window"][k] for k in range(3)))
    step = softplus(u @ p["step"])
    kept = jnp.exp(step[..., None] * -jnp.exp(p["rates"]))
    added = (step * u)[..., None] * (u @ p["b"])[:, :, None]
    _, states = jax.lax.associative_scan(
        lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (kept, added), axis=1
    )
    y = jnp.sum(states * (u @ p["c"])[:, :, None], -1) + u
    return jnp.mean((x + (y * silu(gate)) @ p["out"] - 1) ** 2)


@style(
    "sigmoid 5x6",
    "sigmoid 5x6",
    "squared_relu 5x8",
    args=(
        {"decay": jnp.linspace(0.1, 1.0, 6), "bonus": normal(7, 6), "mix": jnp.full(6, 0.3)}
        | weights(r=(6, 6), k=(6, 6), v=(6, 6), o=(6, 6), up=(6, 8), down=(8, 6), gate=(6, 6)),
        X,
    ),
)
def rwkv(p, x):
    before = jnp.concatenate([jnp.zeros((1, 6)), x[:-1]])
    mixed = x * p["mix"] + before * (1 - p["mix"])

    def step(carry, key_and_value):
        above, below, largest = carry
        key, value = key_and_value
        raised = p["bonus"] + key
        top = jnp.maximum(largest, raised)
        old, new = jnp.exp(largest - top), jnp.exp(raised - top)
        out = (old * above + new * value) / (old * below + new)
        decayed = largest - p["decay"]
        top = jnp.maximum(decayed, key)
        old, new = jnp.exp(decayed - top), jnp.exp(key - top)
        return (old * above + new * value, old * below + new, top), out

    start = jnp.zeros(6), jnp.zeros(6), jnp.full(6, -1e30)
    _, out = jax.lax.scan(step, start, (mixed @ p["k"], mixed @ p["v"]))
    x = x + (sigmoid(mixed @ p["r"]) * out) @ p["o"]
    x = x + sigmoid(x @ p["gate"]) * (jnp.square(relu(x @ p["up"])) @ p["down"])
    return jnp.mean((x[:-1] - x[1:]) ** 2)


@style("elu 5x4", "elu 5x4", args=(weights(q=(6, 4), k=(6, 4), v=(6, 6)), X, Y))
def linear_attention(p, x, y):
    def step(carry, row):
        state, total = carry
        q, k, v = row
        state, total = state + jnp.outer(k, v), total + k
        return (state, total), (q @ state) / (q @ total + 1e-6)

    rows = jax.nn.elu(x @ p["q"]) + 1, jax.nn.elu(x @ p["k"]) + 1, x @ p["v"]
    _, out = jax.lax.scan(step, (jnp.zeros((4, 6)), jnp.zeros(4)), rows)
    return jnp.mean((out - y) ** 2)


@style(
    "silu 4x5x8",
    args=(weights(router=(6, 4), up=(4, 6, 8), gate=(4, 6, 8), down=(4, 8, 6)), X, Y),
)
def mixture_of_experts(p, x, y):
    logits = x @ p["router"]
    largest, which = jax.lax.top_k(logits, 2)
    shares = jnp.sum(one_hot(which, 4) * softmax(largest)[..., None], 1)
    h = silu(jnp.einsum("bi,eij->ebj", x, p["gate"])) * jnp.einsum("bi,eij->ebj", x, p["up"])
    out = jnp.einsum("ebj,ejk,be->bk", h, p["down"], shares)
    balance = jnp.sum(one_hot(which[:, 0], 4).mean(0) * softmax(logits).mean(0))
    return (
        jnp.mean((x + out - y) ** 2) + balance + 1e-3 * jnp.mean(jax.nn.logsumexp(logits, -1) ** 2)
    )


@style(
    "tanh 5x5",
    "silu 5x8",
    args=(weights(q=(6, 6), k=(6, 6), v=(6, 6), up=(6, 8), gate=(6, 8), down=(8, 6)), X, Y),
)
def rotary_transformer(p, x, y):
    angles = jnp.arange(5.0)[:, None] / 100 ** (jnp.arange(3.0) / 3)

    def turned(h):
        a, b, c, s = h[:, :3], h[:, 3:], jnp.cos(angles), jnp.sin(angles)
        return jnp.concatenate([a * c - b * s, b * c + a * s], -1)

    h = rms_normed(x)
    scores = turned(h @ p["q"]) @ turned(h @ p["k"]).T / 6**0.5
    scores = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), 30 * jnp.tanh(scores / 30), -jnp.inf)
    x = x + softmax(scores) @ (h @ p["v"])
    h = rms_normed(x)
    x = x + (silu(h @ p["gate"]) * (h @ p["up"])) @ p["down"]
    return jnp.mean((x - y) ** 2)


# The sines of a time that is not trained are no activations; those of a trained one are.
@style(
    "silu 5x8",
    "silu 5x8",
    args=(weights(time=(8, 8), into=(6, 8), out=(8, 6)), X, jax.random.key(9)),
)
def diffusion(p, x, key):
    of_time, of_noise = jax.random.split(key)
    t, noise = jax.random.uniform(of_time, (5,)), jax.random.normal(of_noise, x.shape)
    angles = t[:, None] * jnp.exp(-jnp.log(1e4) * jnp.arange(4) / 4) * 1000
    embedded = silu(jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1) @ p["time"])
    kept = jnp.cos(t * jnp.pi / 2)[:, None] ** 2
    noisy = jnp.sqrt(kept) * x + jnp.sqrt(1 - kept) * noise
    return jnp.mean((silu(noisy @ p["into"] + embedded) @ p["out"] - noise) ** 2)


@style(
    "sin 5x4",
    "custom 5x4",
    "gelu_tanh 5x8",
    args=(weights(frequencies=(6, 4), w=(8, 8), out=(8, 6)), X, Y),
)
def learnt_fourier_features(p, x, y):
    angles = 2 * jnp.pi * x @ p["frequencies"]
    h = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
    return jnp.mean((gelu(h @ p["w"]) @ p["out"] - y) ** 2)


@style("sin 5x8", "sin 5x8", args=(weights(a=(6, 8), b=(8, 8), c=(8, 6)), X, Y))
def siren(p, x, y):
    return jnp.mean((jnp.sin(30 * (jnp.sin(30 * (x @ p["a"])) @ p["b"])) @ p["c"] - y) ** 2)


@style(*["relu 5x8", "tanh 5x3", "custom 5x3"] * 2, args=(weights(up=(2, 3, 8), out=(2, 8, 6)), X))
def coupling_flow(p, x):
    log_det = 0.0
    for k in range(2):
        held, moved = jnp.split(x, 2, -1)
        scale, shift = jnp.split(relu(held @ p["up"][k]) @ p["out"][k], 2, -1)
        scale = jnp.tanh(scale)
        log_det = log_det + jnp.sum(scale, -1)
        x = jnp.concatenate([moved * jnp.exp(scale) + shift, held], -1)
    return jnp.mean(jnp.sum(x**2, -1) / 2 - log_det)


@style(
    "elu 5x8",
    "custom 5x3",
    "elu 5x8",
    args=(
        weights(encode=(6, 8), mean=(8, 3), spread=(8, 3), decode=(3, 8), out=(8, 6)),
        (X > 0).astype(jnp.float32),
        jax.random.key(9),
    ),
)
def variational_autoencoder(p, x, key):
    h = jax.nn.elu(x @ p["encode"])
    mean, log_variance = h @ p["mean"], h @ p["spread"]
    z = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
    logits = jax.nn.elu(z @ p["decode"]) @ p["out"]
    divergence = -jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), -1) / 2
    return jnp.mean(jnp.sum(optax.sigmoid_binary_cross_entropy(logits, x), -1) + divergence)


@style(
    "relu 5x8",
    "relu 5x8",
    args=({"temperature": jnp.float32(0.3)} | weights(up=(6, 8), out=(8, 4)), X, Y),
)
def contrastive(p, x, y):
    def embedded(x):
        h = relu(x @ p["up"]) @ p["out"]
        return h / jnp.linalg.norm(h, axis=-1, keepdims=True)

    logits = embedded(x) @ embedded(y).T * jnp.exp(p["temperature"])
    return -jnp.mean(jnp.diag(log_softmax(logits, 0)) + jnp.diag(log_softmax(logits, 1)))


@style(
    "relu 5x8",
    "leaky_relu(negative_slope=0.2) 5x8",
    "leaky_relu(negative_slope=0.2) 5x8",
    args=(weights(up=(6, 8), out=(8, 6), judge=(6, 8), score=(8, 1)), X, Y),
)
def adversarial(p, noise, x):
    def score(x):
        return (jax.nn.leaky_relu(x @ p["judge"], 0.2) @ p["score"])[:, 0]

    made = relu(noise @ p["up"]) @ p["out"]
    return jnp.mean(softplus(score(made))) + jnp.mean(softplus(-score(x)))


# The network runs for its value and twice more for its first and second derivatives. The slopes of
# its first layer, which meet no tangents but weights, are functions of its tanh: sites as well.
@style(
    *["tanh 5x8", *["custom 5x8"] * 3, *["tanh 5x8"] * 3, "custom 5x8", "tanh 5x8", "tanh 5x8"],
    args=(weights(a=(2, 8), b=(8, 8), c=(8, 1)), X[:, :2]),
)
def physics_informed(p, points):
    def u(q):
        return (jnp.tanh(jnp.tanh(q @ p["a"]) @ p["b"]) @ p["c"])[0]

    def residual(q):
        along = jnp.array([1.0, 0.0])
        curvature = jax.jvp(lambda q: jax.jvp(u, (q,), (along,))[1], (q,), (along,))[1]
        slope = jax.grad(u)(q)
        return slope[1] + u(q) * slope[0] - 0.01 * curvature

    return jnp.mean(jax.vmap(residual)(points) ** 2)


@style("tanh 5x8", "tanh 5x8", args=(weights(a=(6, 8), b=(8, 6)), X, Y))
def inner_gradient_step(p, x, y):
    def inner(p):
        return jnp.mean((jnp.tanh(x @ p["a"]) @ p["b"] - y) ** 2)

    return inner(jax.tree.map(lambda w, g: w - 0.1 * g, p, jax.grad(inner)(p)))


@style(
    "tanh 5x8",
    args=(weights(body=(6, 8), policy=(8, 4), value=(8, 1)), X, LABELS, Y[:, 0], Y[:, 1]),
)
def actor_critic(p, x, actions, advantage, returns):
    h = jnp.tanh(x @ p["body"])
    log_policy, value = log_softmax(h @ p["policy"]), (h @ p["value"])[:, 0]
    ratio = jnp.exp(log_policy[jnp.arange(5), actions] + 1.3)
    gained = jnp.minimum(ratio * advantage, jnp.clip(ratio, 0.8, 1.2) * advantage)
    entropy = -jnp.sum(jnp.exp(log_policy) * log_policy, -1)
    return jnp.mean((value - returns) ** 2 - gained - 0.01 * entropy)


@style("gelu_tanh 5x8", args=(weights(a=(6, 2), b=(2, 8)), normal(8, 6, 8), normal(9, 8, 6), X))
def low_rank_adaptation(p, w, out, x):
    return jnp.mean((gelu(x @ w + 2 * (x @ p["a"]) @ p["b"]) @ out - x) ** 2)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def fixed_point(f, p, x):
    return jax.lax.fori_loop(0, 30, lambda _, z: f(p, x, z), jnp.zeros_like(x))


def _fixed_forward(f, p, x):
    z = fixed_point(f, p, x)
    return z, (p, x, z)


def _fixed_backward(f, kept, g):
    p, x, z = kept
    _, of_z = jax.vjp(lambda z: f(p, x, z), z)
    solved = jax.lax.fori_loop(0, 30, lambda _, u: g + of_z(u)[0], g)
    return jax.vjp(lambda p, x: f(p, x, z), p, x)[1](solved)


fixed_point.defvjp(_fixed_forward, _fixed_backward)


# What is within has a derivative of its own and is passed over, on request.
@style("relu 5x4", args=(weights(w=(6, 6), out=(6, 4)), X))
def deep_equilibrium(p, x):
    z = fixed_point(lambda p, x, z: jnp.tanh(0.3 * z @ p["w"] + x), p, x)
    return jnp.mean(relu(z @ p["out"]) ** 2)


@style(*["tanh 5x8 in 4"] * 4, args=(weights(w=(7, 8), out=(8, 6)), X, Y))
def neural_ode(p, x, y):
    def field(x, t):
        return jnp.tanh(jnp.concatenate([x, jnp.full((5, 1), t)], -1) @ p["w"]) @ p["out"]

    def step(x, t):
        a = field(x, t)
        b = field(x + 0.05 * a, t + 0.05)
        c = field(x + 0.05 * b, t + 0.05)
        d = field(x + 0.1 * c, t + 0.1)
        return x + 0.1 / 6 * (a + 2 * b + 2 * c + d), None

    return jnp.mean((jax.lax.scan(step, x, jnp.arange(4) * 0.1)[0] - y) ** 2)


@style("relu 5x8", "sigmoid 5x6", args=(weights(up=(6, 8), out=(8, 6)), X, (Y > 0) * 1.0))
def focal(p, x, y):
    logits = relu(x @ p["up"]) @ p["out"]
    share = sigmoid(logits)
    missed = share * (1 - y) + (1 - share) * y
    return jnp.mean(missed**2 * optax.sigmoid_binary_cross_entropy(logits, y))


@style("tanh 5x8", args=(weights(up=(6, 8), mean=(8, 6), spread=(8, 6)), X, Y))
def gaussian_likelihood(p, x, y):
    h = jnp.tanh(x @ p["up"])
    spread = softplus(h @ p["spread"]) + 1e-3
    return jnp.mean(((y - h @ p["mean"]) / spread) ** 2 / 2 + jnp.log(spread))


@style("tanh 5x8", args=(weights(up=(6, 8), out=(8, 4)), X, jax.random.key(9)))
def gumbel_softmax(p, x, key):
    logits = jnp.tanh(x @ p["up"]) @ p["out"]
    soft = softmax((logits + jax.random.gumbel(key, logits.shape)) / 0.5)
    hard = one_hot(soft.argmax(-1), 4)
    return jnp.mean((soft + jax.lax.stop_gradient(hard - soft)) @ normal(8, 4))
