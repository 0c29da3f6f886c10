"""Residual models against the equation in NumPy and PyTorch, and how their branches start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from generic_place import built
from jax import lax

from jgrad.models import BRANCHES, CNN, ResidualMLP, ResNet, build
from jgrad.models._layers import convolution

pytestmark = pytest.mark.loose_promotion

RESNET_50 = ResNet(stages=(3, 4, 6, 3), block="bottleneck", width=64, stem="imagenet")
RESNET_18 = ResNet(stages=(2, 2, 2, 2), width=64, stem="imagenet")


def of_step(tree, k):
    return jax.tree.map(lambda leaf: leaf[k], tree)


def linear(p, h):
    return h @ p["kernel"] + p["bias"]


@pytest.mark.parametrize("branch", ["plain", "scaled", "rezero", "fixup"])
def test_residual_mlp_is_the_equation(branch):
    depth, layers = 4, 3
    config = ResidualMLP(depth=depth, width=6, layers=layers, branch=branch, activation="tanh")
    apply, params, state = built(config.sized((2, 3), 5))
    x = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    h = linear(params["first"], x.reshape(7, 6))
    for k in range(depth):
        p, f = of_step(params["layers"], k), h
        for j in range(layers):
            f = linear(p[f"linear_{j}"], np.tanh(f))
        if branch in ("rezero", "fixup"):
            f = f * p["added"]["multiplier"]
        h = h + f / (np.sqrt(depth) if branch == "scaled" else 1)
    expected = linear(params["head"], np.tanh(h))
    np.testing.assert_allclose(apply(params, state, x)[0], expected, rtol=2e-5, atol=1e-5)


def test_how_branches_start():
    depth, layers = 9, 3

    def params(branch):
        config = ResidualMLP(depth=depth, width=6, layers=layers, branch=branch)
        return build(config.sized((5,), 3), jax.random.key(0)).params

    plain, fixup = params("plain"), params("fixup")
    for j in range(layers - 1):  # L^(-1/(2m-2)) with L = 9, m = 3
        kernels = [p["layers"][f"linear_{j}"]["kernel"] for p in (plain, fixup)]
        np.testing.assert_allclose(kernels[1], kernels[0] * 9**-0.25, rtol=1e-6)
    assert not fixup["layers"]["linear_2"]["kernel"].any()
    assert not fixup["head"]["kernel"].any()
    assert (fixup["layers"]["added"]["multiplier"] == 1).all()
    for branch in ("rezero", "skipinit"):
        assert not params(branch)["layers"]["added"]["multiplier"].any()
    assert set(plain["layers"]) == {f"{part}_{j}" for part in ("linear",) for j in range(3)}


@pytest.mark.parametrize("branch", sorted({*BRANCHES} - {"plain", "scaled"}))
def test_blocks_that_start_at_zero_are_the_identity(branch):
    config = ResidualMLP(depth=3, width=6, branch=branch, activation="tanh").sized((5,), 3)
    apply, params, state = build(config, jax.random.key(0))
    params["head"]["kernel"] = jax.random.normal(jax.random.key(1), (6, 3))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    expected = linear(params["head"], np.tanh(linear(params["first"], x)))
    found, _ = jax.jit(apply)(params, state, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("config", "count"), [(RESNET_50, 25_557_032), (RESNET_18, 11_689_512)])
def test_imagenets_parameter_counts(config, count):
    """Torchvision's resnet50 and resnet18 have as many."""
    config = config.sized((224, 224, 3), 1000)
    params = jax.eval_shape(lambda key: build(config, key).params, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


class Torch:
    """The parts of a convolutional net in PyTorch, from our arrays, channels first."""

    def __init__(self, train):
        self.torch = pytest.importorskip("torch")
        self.train = train

    def tensor(self, array):
        return self.torch.tensor(np.array(array, np.float64))

    def conv(self, p, h, stride=1, mode="constant"):
        kernel = self.tensor(p["kernel"]).permute(3, 2, 0, 1)
        before, after = (kernel.shape[-1] - 1) // 2, kernel.shape[-1] // 2
        h = self.torch.nn.functional.pad(h, (before, after) * 2, mode=mode)
        bias = self.tensor(p["bias"]) if "bias" in p else None
        return self.torch.nn.functional.conv2d(h, kernel, bias, stride)

    def norm(self, p, s, h):
        if not p:
            return h
        p, s = p["norm"], s["norm"]
        leaves = (s["mean"], s["var"], p["scale"], p["bias"])
        return self.torch.nn.functional.batch_norm(
            h, *map(self.tensor, leaves), training=self.train, eps=1e-5
        )

    def block(self, p, s, h, stride, order, windows):
        relu = self.torch.relu
        strides = [stride if k == windows.index(3) else 1 for k in range(len(windows))]
        f, trunk = h, h
        for k in range(len(windows)):
            norm = p.get(f"norm_{k}"), s.get(f"norm_{k}")
            if order == "pre":
                a = relu(self.norm(*norm, f))
                if k == 0 and "shortcut" in p:
                    trunk = self.conv(p["shortcut"], a, stride)
                f = self.conv(p[f"conv_{k}"], a, strides[k])
            else:
                f = self.norm(*norm, self.conv(p[f"conv_{k}"], relu(f) if k else f, strides[k]))
        if order == "post" and "shortcut" in p:
            shortcut = self.conv(p["shortcut"], h, stride)
            trunk = self.norm(p.get("shortcut_norm"), s.get("shortcut_norm"), shortcut)
        return trunk + f if order == "pre" else relu(trunk + f)


@pytest.mark.parametrize(
    ("order", "block", "norm", "stem", "train"),
    [
        ("post", "basic", "batch", "small", True),
        ("post", "bottleneck", "batch", "imagenet", False),
        ("pre", "bottleneck", "none", "small", False),
    ],
)
def test_resnet_equals_pytorchs(order, block, norm, stem, train):
    torch = Torch(train)
    config = ResNet(stages=(1, 3), width=2, order=order, block=block, norm=norm, stem=stem)
    apply, params, state = built(config.sized((9, 12, 2), 3))
    x = np.random.default_rng(0).normal(size=(4, 9, 12, 2)).astype(np.float32)
    windows = (3, 3) if block == "basic" else (1, 3, 1)

    h = torch.conv(params["stem"], torch.tensor(x).permute(0, 3, 1, 2), 2 if stem != "small" else 1)
    if order == "post":
        h = torch.torch.relu(torch.norm(params.get("norm"), state.get("norm"), h))
    if stem == "imagenet":
        h = torch.torch.nn.functional.max_pool2d(h, 3, 2, 1)
    for stage, stride in (("stage_0", 1), ("stage_1", 2)):
        p, s = params[stage], state.get(stage, {})
        h = torch.block(p["first"], s.get("first", {}), h, stride, order, windows)
        if stage == "stage_1":
            for k in range(2):
                deeper = of_step(s.get("layers", {}), k)
                h = torch.block(of_step(p["layers"], k), deeper, h, 1, order, windows)
    if order == "pre":
        h = torch.torch.relu(torch.norm(params.get("norm"), state.get("norm"), h))
    expected = linear(params["head"], h.mean((2, 3)).numpy())
    found, _ = apply(params, state, x, train=train)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_cnn_equals_pytorchs(padding):
    torch = Torch(train=False)
    config = CNN(depth=5, stages=2, width=3, padding=padding, window=3, skip=True)
    apply, params, state = built(config.sized((5, 8, 2), 3))
    x = np.random.default_rng(0).normal(size=(4, 5, 8, 2)).astype(np.float32)
    mode = "constant" if padding == "zeros" else "circular"
    h = torch.tensor(x).permute(0, 3, 1, 2)
    for stage, stride, scanned in (("stage_0", 1, 2), ("stage_1", 2, 1)):
        h = torch.torch.relu(torch.conv(params[stage]["first"]["linear"], h, stride, mode))
        for k in range(scanned):
            p = of_step(params[stage]["layers"], k)
            h = h + torch.torch.relu(torch.conv(p["linear"], h, 1, mode))
    expected = linear(params["head"], h.mean((2, 3)).numpy())
    np.testing.assert_allclose(apply(params, state, x)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [2, 3, 4])
def test_padding_keeps_the_size_as_xlas_own_does(window):
    """At a stride of 1 XLA's "SAME" is symmetric where it can be, and one more at the end."""
    conv = convolution(
        CNN(), 2, 3, jax.nn.initializers.normal(), nnx.Rngs(window), window=window, bias=False
    )
    x = jnp.asarray(np.random.default_rng(window).normal(size=(2, 4, 7, 2)), jnp.float32)
    expected = lax.conv_general_dilated(
        x, conv.kernel[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert expected.shape == (2, 4, 7, 3)
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-6)
