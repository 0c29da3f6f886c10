"""A flow as a dataset and as a table holds what the flow says, place by place."""

import jax
import jax.numpy as jnp
import numpy as np

from jgrad import probes, results

WS = jax.random.normal(jax.random.key(0), (4, 3, 3))
X = jax.random.normal(jax.random.key(1), (5, 3))


def loss(ws, x):
    x, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, ws)
    return jnp.sum(jax.nn.relu(x))


def test_a_place_for_every_site_and_step():
    flow = jax.jit(probes.gradient_flow(loss))(WS, X)
    scanned, last = flow
    data = results.flow_dataset(flow)
    assert data["site"].values.tolist() == [scanned] * 4 + [last]
    assert data["step"].values.tolist() == ["0", "1", "2", "3", ""]
    assert data["activation"].values.tolist() == ["tanh"] * 4 + ["relu"]
    np.testing.assert_array_equal(data["log_gain"][:4], flow[scanned].log_gain)
    np.testing.assert_array_equal(data["z_second"][4], flow[last].z_second)
    assert "mean_log_slope" not in data  # was not asked for
    table = results.flow_dataframe(flow)
    assert table.shape[0] == 5
    np.testing.assert_array_equal(table["dead_share"], data["dead_share"])


def test_runs_come_first():
    flows = jax.jit(jax.vmap(probes.gradient_flow(loss), (0, None)))(jnp.stack([WS, 2 * WS]), X)
    data = results.flow_dataset(flows)
    assert data["log_da"].dims == ("run_0", "place")
    assert data["log_da"].shape == (2, 5)
    alone = results.flow_dataset(probes.gradient_flow(loss)(2 * WS, X))
    np.testing.assert_allclose(data["log_da"][1], alone["log_da"], rtol=1e-5)
