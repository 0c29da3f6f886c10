"""What PyTorch users have: hooks that take the probe's statistics, and Cockpit.

Both on the MLP of `_probe_models`, with its weights, eager as they are used.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn


def net_of(weights: Any) -> nn.Sequential:
    """tanh(... tanh(x W)), without biases."""
    layers = []
    for w in weights:
        linear = nn.Linear(*w.shape, bias=False)
        linear.weight.data = torch.tensor(np.asarray(w).T.copy())
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def gradients(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The loss; its gradients are left in the parameters."""
    net.zero_grad()
    loss = (net(x) ** 2).mean()
    loss.backward()
    return loss.detach()


def hook(net: nn.Module) -> dict[nn.Module, dict[str, torch.Tensor]]:
    """Where full forward and backward hooks leave the default measures of every tanh.

    They are what `probes.MEASURES` has, but for a sum of squares that no gradient underflows and
    counts beyond float32: a user's hook would not think of these.
    """
    seen: dict[nn.Module, dict[str, torch.Tensor]] = {}

    def forward(module: nn.Module, inputs: Any, a: torch.Tensor) -> None:
        with torch.no_grad():
            (z,) = inputs
            slope = 1 - a * a
            seen[module] = {
                "z": z.sum(),
                "z2": z.square().sum(),
                "a": a.sum(),
                "a2": a.square().sum(),
                "slope": slope.sum(),
                "slope2": slope.square().sum(),
                "sloped": (slope != 0).sum(0),
                "nonfinite_z": (~z.isfinite()).sum(),
            }

    def backward(module: nn.Module, dzs: Any, das: Any) -> None:
        (dz,), (da,) = dzs, das
        seen[module] |= {
            "da2": da.square().sum(),
            "dz2": dz.square().sum(),
            "flowing": (dz != 0).sum(0),
            "nonfinite_dz": (~dz.isfinite()).sum(),
        }

    for module in net:
        if isinstance(module, nn.Tanh):
            module.register_forward_hook(forward)
            module.register_full_backward_hook(backward)
    return seen


def with_hooks(weights: Any, x: Any) -> dict[str, Callable[[], torch.Tensor]]:
    """Value and gradients in PyTorch, plain and with the hooks."""
    plain, hooked, inputs = net_of(weights), net_of(weights), torch.tensor(np.asarray(x))
    seen = hook(hooked)

    def run() -> torch.Tensor:
        seen.clear()
        return gradients(hooked, inputs)

    return {"torch": lambda: gradients(plain, inputs), "torch, hooks": run}


def with_cockpit(weights: Any, x: Any) -> dict[str, Callable[[], torch.Tensor]]:
    """Value and gradients under Cockpit's economy set, tracked every step.

    Schneider, Dangel & Hennig, 2021, arXiv:2102.06604.

    Raises:
      ImportError: it is not installed.
    """
    import backpack
    from cockpit import Cockpit
    from cockpit.utils.configuration import configuration

    net, inputs = backpack.extend(net_of(weights)), torch.tensor(np.asarray(x))
    measure = backpack.extend(nn.MSELoss(reduction="mean"))
    each = nn.MSELoss(reduction="none")
    target = torch.zeros_like(inputs)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)
    cockpit = Cockpit(list(net.parameters()), quantities=configuration("economy"))
    step = 0

    def run() -> torch.Tensor:
        nonlocal step
        optimizer.zero_grad()
        out = net(inputs)
        loss = measure(out, target)
        info = {
            "batch_size": len(inputs),
            "individual_losses": each(out, target).mean(1),
            "loss": loss,
            "optimizer": optimizer,
        }
        with cockpit(step, info=info):
            loss.backward(create_graph=cockpit.create_graph(step))
            optimizer.step()  # its quantities are of the way from point to point
        step += 1
        return loss.detach()

    return {"torch, Cockpit": run}
