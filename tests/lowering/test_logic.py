"""Maps of signs: what stays bits in the graph, and where numbers are made of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lowering_checks import RUNNERS, check_nodes, runner
from netsuke.artifact.graph import Gather, Logic, Multiply, Store
from netsuke.lowering import lower
from netsuke.lowering.build import pieces_of
from netsuke.nn import (
    ApproxRSign,
    BinaryConv2d,
    BinaryLinear,
    ChannelOrder,
    MultiSliceSign,
    Or,
    RSign,
    ScaledTemperatureWeight,
    Sign,
    Xnor,
)


def convolution(inputs: int, outputs: int, groups: int = 1) -> BinaryConv2d:
    weights = ScaledTemperatureWeight()
    return BinaryConv2d(inputs, outputs, 3, padding=1, groups=groups, binary_a=Sign(), binary_w=weights)


class Bits(nn.Module):
    """Logic on bits, halves and shuffles of them, and a linear layer that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.sign, self.own = RSign(6), ApproxRSign(6)
        self.xnor, self.either = Xnor(), Or()
        self.conv, self.slices = convolution(6, 6), MultiSliceSign(4)
        self.shuffle = ChannelOrder(torch.arange(24).view(2, 12).t())
        self.after, self.last = convolution(24, 8, groups=4), Sign()
        weights = ScaledTemperatureWeight()
        self.linear = BinaryLinear(8 * 5 * 7, 3, binary_a=Sign(), binary_w=weights)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.sign(x), self.own(x * 0.5)
        sliced = self.slices(self.conv(self.either(self.xnor(a, b), a)))
        turned = torch.cat([sliced[:, 12:], sliced[:, :12]], 1)
        y = self.after(self.xnor(sliced, self.shuffle(turned)))
        return self.linear(self.last(y).flatten(1))


class Mixed(nn.Module):
    """Bits that are wanted as numbers too: beside numbers, added, multiplied, returned, binarized once more."""

    def __init__(self) -> None:
        super().__init__()
        self.sign, self.other, self.either = RSign(6), RSign(6), Or()
        self.conv = convolution(6, 4)
        self.conv.binary_a = RSign(6)
        with torch.no_grad():
            self.conv.binary_a.bias.copy_(torch.tensor([2.0, -2, 0, 1, -1, 0.5]).view(1, 6, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a = self.either(self.sign(x), self.other(-x))
        return a, a * x, torch.cat([a, x], 1)[:, 3:9], a[:, ::2] + 1, self.conv(a), a[:, :3] * a[:, 3:] - a[:, :3]


def prepared(model: nn.Module) -> nn.Module:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.startswith("conv.binary_a"):
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("kind", RUNNERS)
def test_what_stays_bits(kind: str) -> None:
    model, x = prepared(Bits()), torch.randn(3, 6, 5, 7, generator=torch.Generator().manual_seed(1))
    lowered = lower(model, x[:1])
    kinds = Counter(node.kind for node in lowered.graph.nodes if isinstance(node, Logic))
    assert kinds == {"xnor": 2, "or": 1}
    stores = [node.name for node in lowered.graph.nodes for step in node.epilogue if isinstance(step, Store)]
    assert stores == ["linear"]  # nothing else is a number
    assert sum(isinstance(node, Gather) for node in lowered.graph.nodes) == 2  # slices; all moves of channels at once
    check_nodes(lowered, x.numpy(), kind)


@pytest.mark.parametrize("kind", RUNNERS)
def test_bits_as_numbers(kind: str) -> None:
    model, x = prepared(Mixed()), torch.randn(3, 6, 5, 7, generator=torch.Generator().manual_seed(1))
    lowered = lower(model, x[:1])
    check_nodes(lowered, x.numpy(), kind)
    products = [step for node in lowered.graph.nodes for step in node.epilogue if isinstance(step, Multiply)]
    assert len(products) == 1  # of signs and numbers; that of signs is logic
    with torch.no_grad():
        expected = model(x)
    for got, e in zip(runner(kind, lowered.graph)(x.numpy()), expected, strict=True):
        np.testing.assert_allclose(got, e.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 9, 200])
def test_pieces_name_the_channels(count: int) -> None:
    rng = np.random.default_rng(count)
    orders = {
        "a run": (np.arange(5, 5 + count), 1),
        "two in turn": (np.stack([np.arange(count), np.arange(3, 3 + count)], 1).reshape(-1), 1),
        "any": (rng.integers(0, 1000, count), count),
    }
    for index, most in orders.values():
        pieces = pieces_of(index)
        assert len(pieces) <= most
        np.testing.assert_array_equal(Gather("take", [0], [], pieces=pieces).index, index)
