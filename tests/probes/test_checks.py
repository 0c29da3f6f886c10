"""What is wrong with the arguments is said in one sentence that quotes them."""

import inspect

import jax
import jax.numpy as jnp
import optax
import pytest

from jgrad import probes

W, X = jnp.full((3, 2), 0.3), jnp.ones((5, 3))


def loss(w, x):
    return jnp.sum(jnp.tanh(x @ w))


def bare(name, *given, **options):
    """A function of probes without the type checks of the tests, which would say it first."""
    return inspect.unwrap(getattr(probes, name))(*given, **options)


def probed(**options):
    return bare("value_grad_and_flow", loss, **options)


def rewritten(rule):
    return bare("rewrite", loss, rule)(W, X)


def measured(terms, on="forward", order=0):
    return probed(measures=[probes.Measure._make((terms, on, order))])


#: name → (what is done, the error, what it says)
TABLE = {
    "loss": (lambda: bare("value_grad_and_flow", 3.0), TypeError, "loss must be a function.*3.0"),
    "sites": (lambda: bare("sites", W), TypeError, r"must be a function, got float32\[3, 2\]"),
    "nonfinite": (lambda: bare("first_nonfinite", 3.0), TypeError, "must be a function, got 3.0"),
    "layers": (lambda: bare("layer_jacobians", 3), TypeError, "must be a function, got 3"),
    "weights": (lambda: bare("weights", None), TypeError, "must be a function, got None"),
    "pure call": (lambda: bare("pure_call", 3, ()), TypeError, "must be a function, got 3"),
    "amend": (lambda: bare("sites", loss, amend=3), TypeError, "amend must be a function"),
    "steps": (lambda: probed(steps="all"), ValueError, "steps='all', wanted 'each' or 'sum'"),
    "opaque": (lambda: probed(opaque=True), ValueError, "opaque=True, wanted 'raise' or"),
    "has_aux": (lambda: probed(has_aux="yes"), TypeError, "has_aux='yes', wanted True or False"),
    "text": (lambda: probed(argnums="w")(W, X), TypeError, "argnums='w', wanted an integer or"),
    "none": (lambda: probed(argnums=None)(W, X), TypeError, "argnums=None, wanted an integer or"),
    "flag": (lambda: probed(argnums=True)(W, X), TypeError, "argnums=True, wanted an integer or"),
    "float": (lambda: probed(argnums=(0, 1.0))(W, X), TypeError, r"argnums=\(0, 1.0\), wanted an"),
    "far": (lambda: probed(argnums=(0, 2))(W, X), ValueError, r"\(0, 2\) for a call with 2 arg"),
    "twice": (lambda: probed(argnums=(1, -1))(W, X), ValueError, r"\(1, -1\), wanted.*each once"),
    "no place": (lambda: probed(argnums=())(W, X), ValueError, r"argnums=\(\), wanted one arg"),
    "a text": (lambda: probed(argnums=1)(W, "x"), TypeError, "argument 1 is 'x'"),
    "a layer": (
        lambda: probed()({"act": jnp.tanh}, X),
        TypeError,
        "argument 0 at act is.*into the function",
    ),
    "every 2.5": (lambda: probed(every=2.5), TypeError, "every=2.5, wanted a whole number"),
    "every True": (lambda: probed(every=True), TypeError, "every=True, wanted a whole number"),
    "every 0": (lambda: probed(every=0), ValueError, "every=0, wanted.*at least 1"),
    "no step": (lambda: probed(every=3)(W, X), TypeError, r"comes before.*got float32\[3, 2\]"),
    "half a step": (lambda: probed(every=3)(0.5, W, X), TypeError, "an integer.*got 0.5"),
    "no measures": (lambda: probed(measures=None), TypeError, "measures=None, wanted"),
    "a bare measure": (
        lambda: probed(measures=probes.saturated()),
        TypeError,
        "measures=Measure.*wanted.*a collection",
    ),
    "a function": (lambda: probed(measures=[jnp.tanh]), TypeError, "measures holds <"),
    "misspelt": (lambda: probed(measures=["moment"]), ValueError, "did you mean 'moments'"),
    "no such way": (
        lambda: measured(lambda view: {"q": view.z}, on="forwards"),
        ValueError,
        "on='forwards', wanted 'forward' or 'backward'",
    ),
    "reduced already": (
        lambda: measured(lambda view: {"q": probes.Units(view.z.sum())}),
        TypeError,
        r"'q' must be an array of z's shape.*got float32\[\]",
    ),
    "no names": (lambda: measured(lambda view: view.z), TypeError, r"mapping.*got float32\[2, 3\]"),
    "no order": (
        lambda: measured(lambda view: {"q": view.z}, order={"p": 1}),
        ValueError,
        r"order=\{'p': 1\} lacks some of its sums \['q'\]",
    ),
    "rule": (lambda: rewritten("relu"), TypeError, "the rule.*must be a function, got 'relu'"),
    "pattern": (lambda: rewritten({3: "relu"}), TypeError, "keys are names.*got 3"),
    "replacement": (lambda: rewritten({"tanh": 3}), TypeError, "gives 'tanh' 3, wanted"),
    "returned": (lambda: rewritten(lambda site: 3), TypeError, "gives '.*' 3, wanted"),
    "no such site": (lambda: rewritten({"tahn": "relu"}), ValueError, "did you mean 'tanh'"),
    "no array": (lambda: rewritten({"tanh": lambda z: 1.0}), ValueError, r"makes 1.0 of float32"),
    "skip itself": (
        lambda: rewritten({"tanh": lambda z: probes.skip()}),
        ValueError,
        "makes .*Around",
    ),
    "axis": (
        lambda: rewritten({"tanh": probes.normalise(axis=2)}),
        ValueError,
        r"axis=2\) at a site of shape \[5, 2\]",
    ),
    "tap": (lambda: bare("tap", X, 3), TypeError, r"tap\(x, name=3\), wanted"),
    "tapped the wrong way round": (lambda: bare("tap", "n", X), TypeError, r"name=float32\[5, 3\]"),
    "integers watched": (
        lambda: probes.watch(params={"a": jnp.arange(3)}),
        TypeError,
        r"param: 'a' is int32\[3\]",
    ),
    "nothing watched": (lambda: probes.watch(params={}), ValueError, r"param has no leaves: \{\}"),
    "others watched": (
        lambda: probes.watch(params={"a": W}, grads={"b": W}),
        ValueError,
        r"param has \{'a'.*grad has \{'b'",
    ),
    "other shapes watched": (
        lambda: probes.watch(params={"a": W}, updates={"a": X}),
        ValueError,
        r"param has \{'a': \[3, 2\]\}; update has \{'a': \[5, 3\]\}",
    ),
    "remembered": (lambda: bare("remember", optax.sgd), TypeError, "an optax transformation, got"),
    "remembered flow": (
        lambda: bare("remember", optax.sgd(0.1), flow=W),
        TypeError,
        r"flow=float32\[3, 2\]\), wanted a Flow",
    ),
    "prefix": (
        lambda: inspect.unwrap(probes.Flow.scalars)(probes.gradient_flow(loss)(W, X), None),
        TypeError,
        "prefix=None, wanted a text",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_said_in_a_sentence(name):
    do, error, says = TABLE[name]
    with pytest.raises(error, match=says) as raised:
        do()
    assert len(str(raised.value)) < 400


def test_nothing_wrong_with_these():
    listed = probes.value_grad_and_flow(loss, argnums=[-1], measures=iter(["moments"]), every=2)
    for _ in range(2):
        _, (gradient,), flow = jax.jit(listed)(jnp.int32(4), W, X)
        assert gradient.shape == X.shape
        assert float(next(iter(flow.values())).count) == 10
    assert float(probes.rewrite(loss, {"*": None})(W, X)) == float(loss(W, X))
