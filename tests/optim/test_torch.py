"""Optimisers against PyTorch's, in float64, where the two mean the same thing.

Where their definitions differ, the options that make them agree stand in the table: optax's
Adagrad starts its sum at 0.1 and has ε under the root, its RMSprop decays by 0.9 and has ε there
too; PyTorch's NAdam warms its momentum up, which a large `momentum_decay` ends at once (and keeps
a product of momenta in float32), and its RAdam adds ε before the bias correction.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jgrad import optim

pytestmark = pytest.mark.loose_promotion
torch = pytest.importorskip("torch")

RATE, STEPS = 0.03, 12
SAME = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adagrad:initial_accumulator_value=0.2,eps=0.0": (
        "Adagrad",
        {"initial_accumulator_value": 0.2, "eps": 0.0},
    ),
    "rmsprop:decay=0.97,eps=1e-6,eps_in_sqrt=False": ("RMSprop", {"alpha": 0.97, "eps": 1e-6}),
    "adam:b2=0.98,eps=1e-6": ("Adam", {"betas": (0.9, 0.98), "eps": 1e-6}),
    "nadam:eps=1e-6": ("NAdam", {"eps": 1e-6, "momentum_decay": 1e9}),
    "radam:b2=0.98,eps=0.0": ("RAdam", {"betas": (0.9, 0.98), "eps": 0.0}),
}
DECAYED = {
    "adamw": ("AdamW", {}),
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "adam": ("Adam", {}),
}


def start():
    generator = np.random.default_rng(5)
    return generator.normal(size=(3, 4)), generator.normal(size=4)


def loss(kernel, bias, sine):
    """The same function of JAX's or PyTorch's arrays, with a gradient that keeps changing."""
    return (sine(1.3 * kernel + bias) * kernel).sum() + (bias**2).sum()


def ours(chain):
    with jax.enable_x64(True):
        params = tuple(map(jnp.asarray, start()))
        transformation = chain.transformation(RATE, STEPS)

        def step(carry, _):
            params, state = carry
            grads = jax.grad(lambda p: loss(*p, jnp.sin))(params)
            updates, state = transformation.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, transformation.init(params)), length=STEPS)
        return [np.asarray(p) for p in params]


def theirs(name, options, clip=None):
    params = [torch.nn.Parameter(torch.tensor(p)) for p in start()]
    optimizer = getattr(torch.optim, name)(params, lr=RATE, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(*params, torch.sin).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(params, clip)
        optimizer.step()
    return [p.detach().numpy() for p in params]


@pytest.mark.parametrize("optimizer", SAME)
def test_optimiser(optimizer):
    for a, b in zip(ours(optim.Chain(optimizer=optimizer)), theirs(*SAME[optimizer]), strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-6 if "nadam" in optimizer else 1e-9)


@pytest.mark.parametrize("optimizer", DECAYED)
def test_weight_decay(optimizer):
    name, options = DECAYED[optimizer]
    expected = theirs(name, {**options, "weight_decay": 0.07})
    chain = optim.Chain(optimizer=optimizer, weight_decay=0.07)
    for a, b in zip(ours(chain), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)


def test_clipping_comes_before_weight_decay():
    expected = theirs("SGD", {"weight_decay": 0.07}, clip=0.5)
    chain = optim.Chain(weight_decay=0.07, clip="global_norm:0.5")
    # PyTorch divides by norm + 1e-6.
    for a, b in zip(ours(chain), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
