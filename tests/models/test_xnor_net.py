"""XNOR-Net's networks: their costs, their blocks by the formula, and that they train."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from binary_networks import MIB, costs, train_two_steps
from netsuke.models.xnor_net import XnorBlock, convolution


def test_costs() -> None:
    """Larq counts 62,396,768 parameters of AlexNet: three numbers a channel of a batch norm, and no bias."""
    found = costs("xnor_alexnet")
    channels = 96 + 96 + 256 + 384 + 384 + 256 + 4096 + 4096
    assert found.parameters == 62_396_768 - channels + 1000
    assert found.size_bytes() / MIB == pytest.approx(22.81, rel=0.002)
    assert found.flops == 55 * 55 * 96 * 363 + 4096 * 1000
    sizes = [(27, 96, 256, 25), (13, 256, 384, 9), (13, 384, 384, 9), (13, 384, 256, 9)]
    linear = 256 * 36 * 4096 + 4096 * 4096
    assert found.bops == sum(side * side * i * o * taps for side, i, o, taps in sizes) + linear
    found = costs("xnor_resnet18")
    assert (found.parameters, found.bops, found.flops) == (11_689_640, 1_676_279_808, 137_793_536)
    assert found.size_bytes() == pytest.approx(4.2e6, rel=0.01)


def test_block_by_its_formula() -> None:
    torch.manual_seed(0)
    block = XnorBlock(convolution, 4, 8, 2).double().eval()
    for name, tensor in block.state_dict().items():
        if "norm" in name and tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5)
    x = y = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    for half, stride in ((block.conv1, 2), (block.conv2, 1)):
        norm, weight = half.norm, half.conv.weight
        scale = norm.weight / (norm.running_var + 1e-4).sqrt()
        z = (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
        filters = torch.stack([w.sign() * w.abs().mean() for w in weight])
        y = F.conv2d(z.sign(), filters, stride=stride, padding=1)
    torch.testing.assert_close(block(x), y + block.downsample(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["xnor_alexnet", "xnor_resnet18"])
def test_two_training_steps(name: str) -> None:
    train_two_steps(name)
