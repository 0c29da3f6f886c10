"""The losses that the probe is timed on: each a function of (params, x), and its arguments."""

import jax
import jax.numpy as jnp


def normal(seed, *shape, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), shape)


def mlp(depth=20, width=512, batch=256):
    def loss(ws, x):
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.mean(x**2)

    ws = [normal(k, width, width, scale=1.2 * width**-0.5) for k in range(depth)]
    return loss, (ws, normal(99, batch, width))


def scanned_mlp(depth=20, width=512, batch=256):
    def loss(ws, x):
        x, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, ws)
        return jnp.mean(x**2)

    (ws, x) = mlp(depth, width, batch)[1]
    return loss, (jnp.stack(ws), x)


def transformer(layers=6, width=512, heads=8, batch=4, length=64):
    def norm(x):
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5)

    def block(x, p):
        h = norm(x)
        q, k, v = jnp.split((h @ p["qkv"]).reshape(batch, length, heads, -1), 3, -1)
        x = x + jax.nn.dot_product_attention(q, k, v).reshape(batch, length, width) @ p["out"]
        return x + jax.nn.gelu(norm(x) @ p["up"]) @ p["down"]

    def loss(params, x):
        for p in params:
            x = block(x, p)
        return jnp.mean(norm(x) ** 3)

    s = width**-0.5
    params = [
        {
            "qkv": normal(k, width, 3 * width, scale=s),
            "out": normal(k + 50, width, width, scale=s),
            "up": normal(k + 100, width, 4 * width, scale=s),
            "down": normal(k + 150, 4 * width, width, scale=s / 2),
        }
        for k in range(layers)
    ]
    return loss, (params, normal(7, batch, length, width))


def resnet18(batch=8):
    stages = [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)]
    dims = ("NHWC", "HWIO", "NHWC")

    def conv(x, w, stride=1):
        return jax.lax.conv_general_dilated(x, w, (stride,) * 2, "SAME", dimension_numbers=dims)

    def norm(x):
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (x - mean) * jax.lax.rsqrt(var + 1e-5)

    def loss(params, x):
        x = jax.nn.relu(norm(conv(x, params["stem"])))
        for (_, stride), p in zip(stages, params["blocks"], strict=True):
            h = jax.nn.relu(norm(conv(x, p["one"], stride)))
            h = norm(conv(h, p["two"]))
            x = jax.nn.relu(h + (conv(x, p["skip"], stride) if "skip" in p else x))
        return jnp.mean(jax.nn.log_softmax(x.mean((1, 2)) @ params["head"]) ** 2)

    blocks, width = [], 64
    for k, (out, stride) in enumerate(stages):
        block = {
            "one": normal(k, 3, 3, width, out, scale=(2 / (9 * width)) ** 0.5),
            "two": normal(k + 20, 3, 3, out, out, scale=(2 / (9 * out)) ** 0.5),
        }
        if stride > 1:
            block["skip"] = normal(k + 40, 1, 1, width, out, scale=width**-0.5)
        blocks.append(block)
        width = out
    params = {"stem": normal(60, 3, 3, 3, 64, scale=0.2), "blocks": blocks}
    params["head"] = normal(61, 512, 10, scale=0.04)
    return loss, (params, normal(62, batch, 32, 32, 3))


MODELS = {"mlp": mlp, "scanned_mlp": scanned_mlp, "transformer": transformer, "resnet18": resnet18}
