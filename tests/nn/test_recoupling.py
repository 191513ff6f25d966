"""Info-Recoupling equals its formula on whole maps."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from netsuke.nn import ChannelGate, InfoRecoupling


@pytest.mark.parametrize("pooled", [False, True])
def test_the_map_that_is_never_made(pooled: bool) -> None:
    torch.manual_seed(0)
    layer = InfoRecoupling(16).double()
    torch.nn.init.uniform_(layer.scale)
    x = torch.randn(2, 16, 8, 12, dtype=torch.float64)
    y = torch.randn(2, 16, 4, 6, dtype=torch.float64) if pooled else torch.randn_like(x)
    mix = layer.scale * (F.avg_pool2d(x, 2) if pooled else x) + (1 - layer.scale) * y
    v = F.relu(F.conv2d(F.adaptive_avg_pool2d(mix, 1), layer.gate.reduce.weight, layer.gate.reduce.bias))
    v = torch.sigmoid(F.conv2d(v, layer.gate.expand.weight, layer.gate.expand.bias))
    torch.testing.assert_close(layer(x, y), v * y, rtol=1e-12, atol=1e-12)


def test_the_scale_is_clamped_in_training_alone() -> None:
    layer = InfoRecoupling(8).eval()
    with torch.no_grad():
        layer.scale.fill_(1.25)
    x = torch.randn(1, 8, 2, 2)
    layer(x, x)
    assert bool((layer.scale == 1.25).all())
    layer.train()(x, x)
    assert bool((layer.scale == 1).all())


def test_a_hard_gate_by_hand() -> None:
    gate = ChannelGate(8, 4, hard=True)
    with torch.no_grad():
        gate.reduce.weight.fill_(1 / 8)
        gate.reduce.bias.fill_(0.0)  # type: ignore[union-attr]  # there is one
        gate.expand.weight.copy_(torch.tensor([-5.0, -3.0, 1.5, 4.0]).view(4, 1, 1, 1))
        gate.expand.bias.fill_(0.0)  # type: ignore[union-attr]
    factors = gate(torch.ones(1, 8, 1, 1)).flatten()
    torch.testing.assert_close(factors, torch.tensor([0.0, 0.0, 0.75, 1.0]))  # relu6(s + 3) / 6


def test_a_gate_has_an_eighth_of_the_channels_inside() -> None:
    shapes = {name: tuple(p.shape) for name, p in ChannelGate(32, 64).named_parameters()}
    assert shapes == {
        "reduce.weight": (4, 32, 1, 1), "reduce.bias": (4,), "expand.weight": (64, 4, 1, 1), "expand.bias": (64,)
    }  # fmt: skip
    assert len(list(ChannelGate(32, 64, bias=False).parameters())) == 2
