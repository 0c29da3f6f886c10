"""What jgrad relies on in JAX's jaxprs. A failure here says what a JAX release has moved."""

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from jgrad import _jaxpr
from jgrad._jaxpr import _layout

X = jnp.linspace(-1.0, 2.0, 12).reshape(3, 4)


def last_equation(fn, *args):
    return jax.make_jaxpr(fn)(*args).eqns[-1]


@jax.custom_vjp
def doubled(x):
    return jnp.sin(x)


doubled.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (2 * g * jnp.cos(x),))


def sharded(x):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("i")
    return jax.shard_map(jnp.tanh, mesh=mesh, in_specs=spec, out_specs=spec)(x)


def scanned(x, ws, b):
    return jax.lax.scan(lambda c, w: (jnp.tanh(c * w) + b, c.sum()), x, ws, reverse=True)


KINDS = {
    "plain": (jnp.tanh, (X,)),
    "call": (jax.jit(jnp.tanh), (X,)),
    "scan": (scanned, (X, jnp.stack([X, 2 * X]), X)),
    "cond": (lambda i, x: jax.lax.switch(i, [jnp.tanh, jnp.sin], x), (1, X)),
    "while": (lambda x: jax.lax.while_loop(lambda y: y.sum() < 3, jnp.exp, x), (X,)),
    "remat": (jax.checkpoint(jnp.tanh), (X,)),
    "custom_jvp": (jax.nn.relu, (X,)),
    "custom_vjp": (doubled, (X,)),
    "shard_map": (sharded, (X,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_told_apart(kind):
    fn, args = KINDS[kind]
    equation = last_equation(fn, *args)
    assert _layout.kind(equation) == kind
    assert all(isinstance(body, jex.ClosedJaxpr) for body in _layout.bodies(equation))


def test_a_scan_says_what_it_carries():
    assert _layout.scan_split(last_equation(scanned, *KINDS["scan"][1])) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_evaluates_to_the_function(kind):
    fn, args = KINDS[kind]
    graph, tree = _jaxpr.trace(fn, *args)
    out = jax.tree.unflatten(tree, _jaxpr.evaluate(graph, jax.tree.leaves(args)))
    jax.tree.map(lambda a, b: (a == b).all() or pytest.fail(kind), out, fn(*args))


@pytest.mark.parametrize("kind", ["scan", "cond", "remat", "shard_map"])
def test_a_rebuilt_equation_is_the_same_function(kind):
    fn, args = KINDS[kind]
    graph, _ = _jaxpr.trace(fn, *args)
    node = graph.nodes[-1]
    assert node.kind == kind

    seen = {}

    def rebuilt(k, operands, values):
        if k != len(graph.nodes) - 1:
            return None
        runs = [lambda extra, *a, body=body: _jaxpr.evaluate(body, a) for body in node.bodies]
        seen["outputs"] = _jaxpr.rebuild(node.eqn, runs, operands, {})
        return seen["outputs"]

    leaves = jax.tree.leaves(args)
    again, plain = _jaxpr.evaluate(graph, leaves, rebuilt), _jaxpr.evaluate(graph, leaves)
    assert len(seen["outputs"]) == len(node.outputs)
    assert all((a == b).all() for a, b in zip(again, plain, strict=True))


def test_custom_derivatives_survive_a_bind():
    graph, _ = _jaxpr.trace(doubled, X)
    slope = jax.grad(lambda x: _jaxpr.bind(graph.nodes[-1], [x])[0].sum())(X)
    assert jnp.allclose(slope, 2 * jnp.cos(X), atol=1e-6)


ELEMENTWISE = {
    "tanh": (jnp.tanh, True),
    "power": (lambda x: x**3, True),
    "cast": (lambda x: x.astype(jnp.bfloat16), True),
    "broadcast operand": (lambda x: jax.lax.mul(x, x.sum()), True),
    "relu": (jax.nn.relu, True),
    "square product": (lambda x: x[:3, :3] @ x[:3, :3], False),
    "cumulative sum": (lambda x: jnp.cumsum(x, 0), False),
    "reversal": (lambda x: x[::-1], False),
    "sort": (lambda x: jnp.sort(x, 0), False),
    "transpose": (lambda x: x[:3, :3].T, False),
    "softmax": (jax.nn.softmax, True),  # its last equation divides by a sum
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_is_found_by_structure(name):
    fn, expected = ELEMENTWISE[name]
    graph, _ = _jaxpr.trace(fn, X)
    assert _jaxpr.is_elementwise(graph, graph.nodes[-1]) is expected


def test_named_scopes_and_lines_are_kept():
    def f(x):
        with jax.named_scope("outer"), jax.named_scope("inner"):
            return jax.nn.gelu(x) + jax.jit(jnp.sin)(x)

    graph, _ = _jaxpr.trace(f, X)
    assert {node.scope for node in graph.nodes} == {"outer/inner"}
    lines = {node.source for node in graph.nodes}
    assert len(lines) == 1
    assert next(iter(lines)).startswith("test_seam.py:")
    assert next(iter(lines)).endswith(" f")


def test_a_line_belongs_to_its_own_caller():
    # gelu is jitted, and traced once: the second call's equations still point to the second line.
    def first(x):
        return jax.nn.gelu(x)

    def second(x):
        return jax.nn.gelu(x)

    graph, _ = _jaxpr.trace(lambda x: second(first(x)), X)
    assert {node.source.split()[-1] for node in graph.nodes} == {"first", "second"}


def test_a_vmapped_cond_shows_where_its_branches_begin_and_end():
    def f(x):
        return jnp.cos(jax.vmap(lambda r: jax.lax.cond(r.sum() > 0, jnp.tanh, jnp.sin, r))(x))

    graph, _ = _jaxpr.trace(f, X)
    inside = _jaxpr.selected(graph)
    marks = {node.name: node.outputs[0] in inside for node in graph.nodes}
    assert (marks["tanh"], marks["sin"], marks["cos"]) == (True, True, False)
    assert not _jaxpr.selected(_jaxpr.trace(jnp.tanh, X)[0])


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (lambda x: x.sum(0), True),
        (lambda x: x.max(), True),
        (lambda x: x[:1], False),
        (lambda x: jnp.cumsum(x, 0), False),
        (lambda x: x.reshape(-1), False),
    ],
)
def test_reductions_are_told_from_slices(fn, expected):
    graph, _ = _jaxpr.trace(fn, X)
    assert _jaxpr.is_reduction(graph, graph.nodes[-1]) is expected


def test_lines_inside_bodies_fall_back_on_the_equation_that_holds_them():
    graph, _ = _jaxpr.trace(lambda x: jax.nn.softplus(x), X)
    (body,) = graph.nodes[-1].bodies
    assert {node.source for node in body.nodes} == {graph.nodes[-1].source}
