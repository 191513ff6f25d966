"""MeliusNet: its costs, its block by the formula, and that it trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import netsuke
from binary_networks import MIB, costs, train_two_steps
from netsuke.models.meliusnet import MeliusBlock, convolution


def test_costs() -> None:
    """Larq: MeliusNet-22 has 6,944,584 parameters and 3.88 MiB. Published of 59: 17.4 MB, 18.30 G, 2.45e8, 5.32e8."""
    found = costs("meliusnet22")
    assert found.parameters == 6_944_584
    assert found.size_bytes() / MIB == pytest.approx(3.88, abs=0.005)
    found = costs("meliusnet59")
    assert (found.bops, found.flops) == (18_316_247_040, 247_074_048)
    assert found.bops == pytest.approx(18.30e9, rel=0.01)
    assert found.flops == pytest.approx(2.45e8, rel=0.01)
    assert found.ops() == pytest.approx(5.32e8, rel=0.01)
    assert found.size_bytes() / MIB == pytest.approx(17.4, rel=0.01)


@pytest.mark.parametrize(
    ("depth", "channels"),
    # behind each section, as the published code's divisors have them
    [
        (22, (320, 480, 480, 512)),
        (29, (320, 512, 704, 640)),
        (42, (384, 672, 1152, 1056)),
        (59, (448, 960, 1856, 1312)),
    ],
)
def test_channels(depth: int, channels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = netsuke.create_model(f"meliusnet{depth}")
    narrowed = [m.in_channels for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert (*narrowed, model.fc.in_features) == channels


def test_block_by_its_formula() -> None:
    """The improvement block adds to the last channels of what the dense block made."""
    torch.manual_seed(0)
    block = MeliusBlock(6, 4, convolution).double().eval()
    for tensor in block.state_dict().values():
        if tensor.dim() == 1:
            nn.init.uniform_(tensor, 0.5, 1.5)
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64)
    y = x
    for half in (block.dense, block.improve):
        norm, conv = half[0], half[1]
        z = F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        new = F.conv2d(z.sign(), conv.weight.sign(), padding=1)
        y = torch.cat([y, new], 1) if half is block.dense else y + F.pad(new, (0, 0, 0, 0, 6, 0))
    torch.testing.assert_close(block(x), y, rtol=0, atol=1e-12)


def test_two_training_steps() -> None:
    train_two_steps("meliusnet22")
