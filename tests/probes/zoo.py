"""A table of programs with their sites: every construct that the probe must see through."""

import jax
import jax.numpy as jnp

from jgrad import probes


def normal(seed, *shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


# Eight rows, so that they can lie on eight devices.
X = normal(0, 8, 6)
W = normal(1, 6, 6) * 0.5
WS = normal(2, 4, 6, 6) * 0.4
B = normal(3, 6)

#: name → (loss, arguments, expected (activation, shape, steps) in program order)
ZOO = {}


def program(*sites, args=(W, X)):
    def enter(loss):
        ZOO[loss.__name__] = (loss, args, list(sites))
        return loss

    return enter


@program(("tanh", (8, 6), ()))
def dense(w, x):
    return jnp.sum(jnp.tanh(x @ w + B))


@program(("tanh", (1, 6), ()), args=(W, X[:1]))
def batch_of_one(w, x):
    return jnp.sum(jnp.tanh(x @ w + B))


@program(("tanh", (8, 1), ()), args=(W[:, :1], X))
def one_unit(w, x):
    return jnp.sum(jnp.tanh(x @ w) * jnp.arange(8.0)[:, None])


@program(("sigmoid", (8, 1), ()))
def one_unit_by_a_sum(w, x):
    return jnp.mean(jax.nn.sigmoid(jnp.sum(x @ w, axis=-1, keepdims=True)))


@program(("tanh", (), ()), args=(W, X[0]))
def a_scalar(w, x):
    return jnp.tanh(w[0] @ x) * 3.0


@program(("tanh", (8, 6), ()))
def square_of_tanh(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)


@program(("gelu_tanh", (8, 6), ()), ("sigmoid", (8, 6), ()))
def two_in_one_region(w, x):
    return jnp.sum(jax.nn.sigmoid(2 * jax.nn.gelu(x @ w)) * X)


@program(("relu", (8, 6), ()))
def skip(w, x):
    h = x @ w
    return jnp.sum((h + jax.nn.relu(h)) * X)


@program(("mish", (8, 6), ()))
def hand_written_mish(w, x):
    h = x @ w
    return jnp.sum(h * jnp.tanh(jnp.log1p(jnp.exp(h))) * X)


@program(("gelu", (8, 6), ()), ("elu", (8, 6), ()), ("selu", (8, 6), ()), ("silu", (8, 6), ()))
def library_functions(w, x):
    x = jax.nn.gelu(x @ w, approximate=False)
    x = jax.nn.elu(x @ w)
    x = jax.nn.selu(x @ w)
    return jnp.sum(jax.nn.silu(x @ w) * X)


@program(("custom", (8, 6), ()))
def something_new(w, x):
    h = x @ w
    h = h * jnp.exp(-(h**2)) + 0.1 * h
    return jnp.sum((h @ w) * X)


@program(("leaky_relu", (8, 6), ()), args=((W, jnp.float32(0.3)), X))
def prelu(params, x):
    w, slope = params
    h = x @ w
    return jnp.sum(jnp.where(h > 0, h, slope * h) * X)


@program(("leaky_relu", (8, 6), ()), args=((W, jnp.linspace(0.1, 0.4, 6)), X))
def prelu_by_channel(params, x):
    w, slope = params
    h = x @ w
    return jnp.sum(jnp.where(h > 0, h, slope * h) * X)


@program(("tanh", (8, 6), ()), args=((W, jnp.float32(0.7), B, B), X))
def dynamic_tanh(params, x):
    w, alpha, gamma, beta = params
    return jnp.sum((gamma * jnp.tanh(alpha * (x @ w)) + beta) * X)


@program(("silu", (8, 6), ()), args=((W, jnp.float32(1.3)), X))
def swish_beta(params, x):
    w, beta = params
    h = x @ w
    return jnp.sum(h * jax.nn.sigmoid(beta * h) * X)


@program(("silu", (8, 6), ()), ("sigmoid", (8, 3), ()))
def gated(w, x):
    h = jax.nn.silu(x @ w) * (x @ (2 * w))
    a, b = jnp.split(h @ w, 2, axis=-1)
    return jnp.sum(a * jax.nn.sigmoid(b))


@program(("sigmoid", (8, 6), (4,)), ("sigmoid", (8, 6), (4,)), ("tanh", (8, 6), (4,)))
def gru_over_time(w, x):
    def step(h, x_t):
        r = jax.nn.sigmoid(x_t @ w + h @ (0.5 * w))
        z = jax.nn.sigmoid(x_t @ (0.3 * w) - h @ w)
        n = jnp.tanh(x_t @ w + r * (h @ w))
        return (1 - z) * n + z * h, None

    h, _ = jax.lax.scan(step, x, jnp.stack([x, 2 * x, -x, x]))
    return jnp.sum(h**2)


@program(("tanh", (8, 6), (4,)), args=(WS, X))
def scan_over_depth(ws, x):
    h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, ws)
    return jnp.sum(h**2)


@program(("tanh", (8, 6), (4,)), args=(WS, X))
def scan_in_reverse_unrolled(ws, x):
    h, hs = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), h), x, ws, reverse=True, unroll=2)
    return jnp.sum(h**2) + jnp.sum(hs)


@program(("tanh", (8, 6), (3, 4)), ("relu", (8, 6), (3,)), args=(WS, X))
def nested_scans(ws, x):
    def outer(h, _):
        h, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), h, ws)
        return jax.nn.relu(h @ ws[0]), None

    h, _ = jax.lax.scan(outer, x, None, length=3)
    return jnp.sum(h**2)


@program(("tanh", (6,), (8,)))
def mapped_in_turn(w, x):
    return jnp.sum(jax.lax.map(lambda row: jnp.tanh(row @ w), x) ** 2)


@program(("tanh", (8, 6), ()), ("relu", (8, 6), ()))
def one_branch(w, x):
    h = x @ w
    h = jax.lax.cond(h.sum() > 0, lambda h: jax.nn.relu(h @ w), lambda h: jnp.tanh(h @ w), h)
    return jnp.sum(h**2)


@program(("tanh", (8, 6), ()), ("sin", (8, 6), ()), args=(W, X, 1))
def one_of_several(w, x, which):
    branches = [lambda h: jnp.tanh(h), lambda h: jnp.sin(h), lambda h: 2 * h]
    return jnp.sum(jax.lax.switch(which, branches, x @ w) ** 2)


@program(("tanh", (8, 6), ()))
def loop_beside(w, x):
    n = jax.lax.while_loop(lambda n: n < 3, lambda n: n + 1, 0)
    return jnp.sum(jnp.tanh(x @ w)) * n


@program(("relu", (8, 6), ()), ("tanh", (8, 6), ()))
def rematerialised(w, x):
    @jax.checkpoint
    def block(h):
        return jnp.tanh(jax.nn.relu(h @ w) @ w)

    return jnp.sum(block(x) ** 2)


@program(("tanh", (8, 6), (4,)), args=(WS, X))
def rematerialised_scan(ws, x):
    policy = jax.checkpoint_policies.dots_saveable
    body = jax.checkpoint(lambda h, w: (jnp.tanh(h @ w), None), policy=policy)
    h, _ = jax.lax.scan(body, x, ws)
    return jnp.sum(h**2)


@program(("tanh", (8, 6), ()))
def vmapped_inside(w, x):
    return jnp.sum(jax.vmap(lambda row: jnp.tanh(row @ w))(x) ** 2)


@program(("relu", (8, 6), ()), ("tanh", (8, 6), ()))
def jits_inside(w, x):
    @jax.jit
    def layer(h):
        return jax.jit(jax.nn.relu)(h @ w)

    return jnp.sum(jax.jit(jnp.tanh)(layer(x) @ w))


@jax.custom_vjp
def straight_through(x):
    return jnp.round(x)


straight_through.defvjp(lambda x: (jnp.round(x), None), lambda _, g: (g,))


@program(("custom", (8, 6), ()))
def elementwise_custom_vjp(w, x):
    return jnp.sum((straight_through(x @ w) @ w) * X)


@program(("tanh", (8, 6), ()))
def beside_a_softmax(w, x):
    scores = jax.nn.softmax(jnp.tanh(x @ w) @ w, axis=-1)
    return -jnp.mean(jnp.log(jnp.sum(scores * jax.nn.one_hot(jnp.arange(8) % 6, 6), axis=-1)))


@program(("gelu_tanh", (8, 6), ()))
def layer_norm(w, x):
    h = x @ w
    h = (h - h.mean(-1, keepdims=True)) * jax.lax.rsqrt(h.var(-1, keepdims=True) + 1e-5) * B
    return jnp.mean((jax.nn.gelu(h) - X) ** 2)


@program(("gelu_tanh", (8, 6), ()))
def layer_norm_by_moments(w, x):
    h = x @ w
    mean = h.mean(-1)
    var = jnp.maximum(jnp.mean(h**2, -1) - mean**2, 0.0)[:, None]
    h = (h - mean[:, None]) * (jax.lax.rsqrt(var + 1e-5) * B[None])
    return jnp.sum(jax.nn.gelu(h) * X)


@program(
    ("sigmoid", (8, 2), (3,)),
    ("sigmoid", (8, 2), (3,)),
    ("tanh", (8, 2), (3,)),
    ("sigmoid", (8, 2), (3,)),
    ("tanh", (8, 2), (3,)),
)
def lstm_over_time(w, x):
    def step(carry, x_t):
        h, c = carry
        z = x_t @ w + jnp.tile(h, (1, 3))
        i, g, f = jnp.split(z, 3, axis=-1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(z[:, 1:3]) * jnp.tanh(c)
        return (h, c), None

    (h, _), _ = jax.lax.scan(step, (x[:, :2], x[:, 2:4]), jnp.stack([x, -x, 2 * x]))
    return jnp.sum(h**2)


@program(("relu", (8, 6), ()), args=(W, X, jax.random.key(9)))
def dropout(w, x, key):
    h = jax.nn.relu(x @ w)
    kept = jax.random.bernoulli(key, 0.8, h.shape)
    return jnp.sum(jnp.where(kept, h / 0.8, 0.0) * X)


@program(("tanh", (8, 6), ()), args=(W, jnp.array([1, 0, 3, 3, 2, 5, 4, 4])))
def embedding(w, tokens):
    return jnp.sum(jnp.tanh(w[tokens] @ w) * X)


@program(("silu", (8, 6), ()), ("tanh", (8, 6), ()), args=(W, X))
def mixed_precision(w, x):
    half = w.astype(jnp.bfloat16)
    h = jax.nn.silu(x.astype(jnp.bfloat16) @ half)
    return jnp.sum(jnp.tanh((h @ half).astype(jnp.float32)))


@program(("relu", (2, 4, 4, 3), ()), args=(normal(4, 3, 3, 2, 3), normal(5, 2, 4, 4, 2)))
def convolution(kernel, image):
    dims = ("NHWC", "HWIO", "NHWC")
    h = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=dims)
    return jnp.sum(jax.nn.relu(h) ** 2)


@program(("tanh", (8, 6), ()), ("tanh", (8, 6), ()))
def accumulated(w, x):
    return jnp.sum(jnp.tanh(x @ w)) + jnp.sum(jnp.tanh((2 * x) @ w))


@program(("tanh", (8, 6), ()))
def associative(w, x):
    return jnp.sum(jax.lax.associative_scan(jnp.add, jnp.tanh(x @ w)) ** 2)


# Pairs first, then pairs of pairs; no pair is left over for one of its calls.
@program(*(("tanh", (n, 6), ()) for n in (4, 2, 1, 0, 1, 3)))
def associative_with_an_activation(w, x):
    return jnp.sum(jax.lax.associative_scan(lambda a, b: jnp.tanh(a + b), x @ w)[:4] * X[:4])


@program(("relu", (8, 6), ()))
def loop_with_an_activation(w, x):
    h = x @ w
    still = jax.lax.while_loop(
        lambda h: jnp.sum(h**2) > 1.0, lambda h: 0.5 * jnp.tanh(h), jax.lax.stop_gradient(h)
    )
    return jnp.sum(jax.nn.relu(h) * still)


@program(("sin", (8, 6), ()), ("tanh", (8, 6), ()), ("relu", (8, 6), ()))
def branches_under_a_vmap(w, x):
    def one(row):
        return jax.lax.cond(
            row.sum() > 0, lambda row: jax.nn.relu(row @ w), lambda row: jnp.tanh(row @ w), row
        )

    return jnp.sum(jax.vmap(one)(jnp.sin(x @ w)) * X)


@program(("tanh", (8, 6), ()), ("relu", (8, 6), ()), ("sigmoid", (8, 6), ()))
def two_behind_one(w, x):
    h = jnp.tanh(x @ w)
    return jnp.sum(jax.nn.relu(h) * X + jax.nn.sigmoid(-h) * (1 - X))


@program(("tanh", (2, 5, 4, 6), ()), args=(W, normal(6, 2, 5, 4, 6)))
def nested_vmaps(w, x):
    return jnp.sum(jax.vmap(jax.vmap(jax.vmap(lambda row: jnp.tanh(row @ w))))(x) ** 2)


@program(("identity", (8, 6), ()), ("tanh", (8, 6), ()))
def tapped(w, x):
    return jnp.sum(jnp.tanh(probes.tap(x @ w, "logits") @ w))
