"""A flow as people see it: in plain text, in a terminal, in a notebook."""

import html.parser

import jax
import jax.numpy as jnp
import pytest
import rich.console

from jgrad import probes

X = jax.random.normal(jax.random.key(1), (5, 3))


def loss(ws, x):
    with jax.named_scope("a<b>[bold]"):
        x, _ = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, ws)
    return jnp.sum(jax.nn.relu(x))


@pytest.fixture(scope="module")
def flow():
    return probes.gradient_flow(loss)(jax.random.normal(jax.random.key(0), (4, 3, 3)), X)


def test_all_ways_show_the_same_cells(flow):
    console = rich.console.Console(width=200)
    with console.capture() as captured:
        console.print(flow)
    cells = html.parser.HTMLParser()
    seen = []
    cells.handle_data = seen.append
    cells.feed(flow._repr_html_())
    text, terminal, notebook = str(flow), captured.get(), "\n".join(seen)
    (slope,) = (f"{float(flow[key].slope_mean):.3g}" for key in list(flow)[1:])
    words = ["a<b>[bold]", "tanh", "relu", "4×5×3", "ln gain W", slope]
    for shown in (text, terminal, notebook):
        assert all(word in shown for word in words)
        assert "Along the main path (5 activations)" in " ".join(shown.split())
