"""A chain must not see whether the layers are one scanned stack or arrays of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import optim, sweeps
from jgrad.models import MLP, STACKED, build

pytestmark = pytest.mark.loose_promotion

LAYERS = 3
CHAINS = (
    *optim.OPTIMIZERS,
    "lion | weight_decay=0.2 | decay=matrices",
    "adamw | weight_decay=0.2 | decay=matrices",
    "lamb | weight_decay=0.2 | decay=matrices",
    "momentum | weight_decay=0.2 | decay=matrices",
    "adafactor:min_dim_size_to_factor=2",
    "sgd | clip=value:0.7",
    "sgd | clip=norm:1.3",
    "sgd | clip=global_norm:1.3",
    "sgd | clip=block:0.4",
    "sgd | clip=adaptive:0.02",
    "sgd | clip=percentile:30",
    "sgd | clip=adaptive:0.02 | accumulate=2",
    "lamb | loss_scale=dynamic",
)


def tree(seed):
    """Layers [in 4, out 5], drawn so that no two have the same norm."""
    generator = np.random.default_rng(seed)

    def layer(size, *shape):
        return jnp.asarray(size * generator.normal(size=shape), jnp.float32)

    return {
        "layers": [{"kernel": layer(k + 1, 4, 5), "bias": layer(k + 1, 5)} for k in range(LAYERS)],
        "head": {"kernel": layer(1, 5, 2), "bias": layer(1, 2)},
    }


def stack(params):
    return {**params, "layers": jax.tree.map(lambda *each: jnp.stack(each), *params["layers"])}


def trained(chain, change, stacked, steps=4):
    transformation = chain.transformation(0.03, steps, stacked=stacked)
    params = change(tree(0))
    state = transformation.init(params)
    for step in range(steps):
        updates, state = transformation.update(change(tree(step + 1)), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("description", CHAINS)
def test_stacked_layers_are_treated_as_the_layers_they_are(description):
    chain = optim.Chain.parse(description)
    alone = stack(trained(chain, lambda t: t, ""))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-6, atol=1e-7),
        trained(chain, stack, "layers/*"),
        alone,
    )


@pytest.mark.parametrize("description", ["lamb", "sgd | clip=adaptive:0.02"])
def test_without_the_pattern_they_are_not(description):
    """So the test above can fail."""
    chain = optim.Chain.parse(description)
    told, untold = (trained(chain, stack, pattern) for pattern in ("layers/*", ""))
    kernels = [np.asarray(t["layers"]["kernel"]) for t in (told, untold)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_the_models_say_which_they_stack():
    _, params, _ = build(MLP(depth=3).sized((4,), 2), jax.random.key(0))
    optimizer = optim.chain(optimizer="sgd", clip="norm:1.0", learning_rate=1.0, stacked=STACKED)
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    kernel = updates["layers"]["linear"]["kernel"]
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=(1, 2)), 1.0, rtol=1e-6)


def test_a_pattern_that_names_nothing_is_refused():
    def loss(params, batch):
        return jnp.mean((jnp.tanh(batch @ params["w"])) ** 2)

    with pytest.raises(ValueError, match=r"stacked.*'block/\*'.*there are w"):
        sweeps.compare(loss, {"w": jnp.ones((3, 2))}, jnp.ones((8, 3)), batch=4, stacked="block/*")
