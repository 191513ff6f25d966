"""What the tests of the binary networks share: costs, narrow models with every number moved, two training steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netsuke
from netsuke.analyze import Cost, cost
from netsuke.nn import BinaryConv2d

MIB = 2**20


def costs(name: str, **arguments: Any) -> Cost:
    """Of one image of 224x224. No memory is taken."""
    with torch.device("meta"):
        model = netsuke.create_model(name, **arguments)
    return cost(model, torch.empty(1, 3, 224, 224))


def images(name: str, count: int, size: int) -> Tensor:
    """Noise (count, 3, H, W): AlexNet has one size."""
    size = 224 if "alexnet" in name else size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


def moved(name: str, x: Tensor, **arguments: Any) -> nn.Module:
    """A narrow model in eval mode, learned numbers away from where they start, with the statistics of x."""
    return settled(netsuke.create_model(name, **{"num_classes": 10, "width": 0.25, **arguments}), x)


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """The model in eval mode, as `moved` leaves it."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, tensor in model.named_parameters():
            spread = torch.randn(tensor.shape, generator=generator)
            if tensor.dim() < 2 or len(tensor) == 1:
                tensor.add_(0.2 * spread)
            elif "conv" in path or "binary" in path:
                tensor.copy_(spread * tensor.std())  # some start with one sign only
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(x)
    return model.eval()


def train_two_steps(name: str, size: int = 64, prepare: Any = None) -> nn.Module:
    """Every parameter gets a finite gradient, bits of the latent weights can move, and the loss falls on the batch.

    Parameters that need no gradient stay. Returns the trained model.
    """
    torch.set_num_threads(1)
    model = netsuke.create_model(name, num_classes=5, width=0.25)
    if prepare is not None:
        prepare(model)
    x, labels = images(name, 5, size), torch.arange(5)
    learned = {path: parameter for path, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.Adam(learned.values(), 1e-3)
    latent = {n: m.weight.detach().clone() for n, m in model.named_modules() if isinstance(m, BinaryConv2d)}
    losses = []
    for _ in range(3):
        loss = F.cross_entropy(model(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        for path, parameter in learned.items():
            assert parameter.grad is not None, path
            assert bool(torch.isfinite(parameter.grad).all()), path
        if len(losses) < 3:
            optimizer.step()
    assert latent or name.endswith("_float")
    for path, module in model.named_modules():
        if path in latent:
            assert isinstance(module, BinaryConv2d)
            assert not torch.equal(module.weight, latent[path]), path
    assert losses[2] < losses[0]
    return model
