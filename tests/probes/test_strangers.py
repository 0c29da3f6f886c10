"""Models of other people's, which nobody here has seen: same values, and the sites that they have.

Random weights, small sizes. Each is skipped where its package is not installed.
"""

import collections

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgrad import probes

pytestmark = [pytest.mark.loose_promotion, pytest.mark.filterwarnings("ignore")]

KEY = jax.random.key(0)

#: name → (builder of (loss, parameters, batch), {(activation, shape, steps): count})
STRANGERS = {}


def stranger(**sites):
    def enter(build):
        STRANGERS[build.__name__] = (build, {tuple_of(k): n for k, n in sites.items()})
        return build

    return enter


def tuple_of(text):
    """ "relu_5x8_in_3" → ("relu", (5, 8), (3,)); the activation may have underscores too."""
    text, _, steps = text.partition("_in_")
    name, _, shape = text.rpartition("_")
    numbers = lambda part: tuple(int(n) for n in part.split("x") if n)  # noqa: E731
    return name, numbers(shape), numbers(steps)


def of_equinox(model, loss):
    params, static = eqx.partition(model, eqx.is_inexact_array)
    return lambda params, x: loss(eqx.combine(params, static), x), params


@stranger(gelu_tanh_5x48=2)
def vision_transformer():
    models = pytest.importorskip("equimo.models")
    model = models.VisionTransformer(
        img_size=8,
        in_channels=3,
        dim=12,
        patch_size=4,
        num_heads=[2],
        depths=[2],
        num_classes=3,
        reg_tokens=0,
        key=KEY,
    )
    loss, params = of_equinox(model, lambda m, x: jnp.sum(m(x, key=KEY) ** 2))
    return loss, params, jax.random.normal(KEY, (3, 8, 8))


def of_memax(layer):
    units = pytest.importorskip("memax.equinox.train_utils")

    def make(recurrent_size, key):
        sizes = {"recurrent_size": recurrent_size}
        if layer not in ("GRU", "LSTM"):
            sizes["hidden_size"] = recurrent_size
        return getattr(units, layer)(**sizes, key=key)

    model = units.ResidualModel(make, 3, 2, 4, num_layers=2, key=KEY)
    start = jnp.arange(6) == 0
    loss, params = of_equinox(
        model, lambda m, x: jnp.sum(m(m.initialize_carry(), (x, start))[1] ** 2)
    )
    return loss, params, jax.random.normal(KEY, (6, 3))


@stranger(sigmoid_4_in_6=4, tanh_4_in_6=2, leaky_relu_6x4=2)
def gated_recurrent_units():
    return of_memax("GRU")


@stranger(sigmoid_4_in_6=6, tanh_4_in_6=2, leaky_relu_6x4=2)
def long_short_term_memory():
    return of_memax("LSTM")


@stranger(softplus_6x4=2, custom_6x4=2, leaky_relu_6x4=2)
def selective_state_space():
    return of_memax("S6")


@stranger(silu_4x6=4, sigmoid_6x1=4, leaky_relu_6x4=2)
def gated_delta_network():
    return of_memax("GDN")


@stranger(softplus_3=1, relu_5x8_in_3=2, softplus_5x3_in_3=1)
def masked_autoregressive_flow():
    flows = pytest.importorskip("flowjax.flows")
    from flowjax.distributions import Normal
    from paramax import unwrap

    model = flows.masked_autoregressive_flow(
        KEY, base_dist=Normal(jnp.zeros(3)), nn_width=8, nn_depth=2, flow_layers=3
    )
    loss, params = of_equinox(model, lambda m, x: -unwrap(m).log_prob(x).mean())
    return loss, params, jax.random.normal(KEY, (5, 3))


def of_haiku(forward, x):
    model = hk.transform_with_state(forward)
    params, state = model.init(KEY, x)
    return lambda params, x: model.apply(params, state, None, x)[0], params, x


def graph():
    jraph = pytest.importorskip("jraph")
    return jraph, jraph.GraphsTuple(
        nodes=jax.random.normal(KEY, (4, 3)),
        edges=jnp.ones((5, 2)),
        senders=jnp.array([0, 1, 2, 3, 0]),
        receivers=jnp.array([1, 2, 3, 0, 2]),
        n_node=jnp.array([4]),
        n_edge=jnp.array([5]),
        globals=jnp.ones((1, 2)),
    )


@stranger(relu_5x4=1, tanh_5x4=1, relu_4x3=1, tanh_4x3=1, relu_1x2=1, tanh_1x2=1)
def graph_network():
    jraph, given = graph()

    def forward(given):
        def mlp(n):
            layers = [hk.Linear(n), jax.nn.relu, hk.Linear(n), jnp.tanh]
            return jraph.concatenated_args(hk.Sequential(layers))

        out = jraph.GraphNetwork(mlp(4), mlp(3), mlp(2))(given)
        return jnp.mean(out.globals**2) + jnp.mean(out.nodes**3)

    return of_haiku(forward, given)


@stranger(leaky_relu_5x1=1, elu_4x4=1)
def graph_attention():
    jraph, given = graph()

    def forward(given):
        net = jraph.GAT(
            attention_query_fn=lambda n: hk.Linear(4)(n),
            attention_logit_fn=lambda a, b, _: jax.nn.leaky_relu(
                hk.Linear(1)(jnp.concatenate([a, b], -1))
            ),
            node_update_fn=jax.nn.elu,
        )
        return jnp.mean(net(given).nodes ** 3)

    return of_haiku(forward, given._replace(edges=None))


@stranger(
    relu_2x8x8x64=1,
    relu_2x4x4x64=4,
    relu_2x2x2x128=4,
    relu_2x1x1x256=4,
    relu_2x1x1x512=4,
)
def resnet_18():
    def forward(x):
        return jnp.mean((hk.nets.ResNet18(3)(x, is_training=True) - 1) ** 2)

    return of_haiku(forward, jax.random.normal(KEY, (2, 16, 16, 3)))


LONG = ("resnet_18", "gated_delta_network", "long_short_term_memory")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in STRANGERS]
)
def test_a_strangers_model(name):
    build, expected = STRANGERS[name]
    loss, params, x = build()
    value, grads, flow = jax.jit(probes.value_grad_and_flow(loss))(params, x)
    plain_value, plain_grads = jax.jit(jax.value_and_grad(loss))(params, x)
    found = collections.Counter((s.activation, s.shape, s.steps) for s in flow.sites)
    assert found == expected
    np.testing.assert_array_equal(value, plain_value)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(plain_grads), strict=True):
        largest = np.max(np.abs(b), initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=8 * np.finfo(np.float32).eps * largest)
    assert all(np.isfinite(np.asarray(flow[key].slope_mean)).all() for key in flow)
