"""PokeBNN 0.5x to 2x (Zhang et al. 2022, "PokeBNN: A Binary Pursuit of Lightweight Accuracy"), as the published code
builds it: ResNet-50's bottlenecks of binary convolutions with many shortcuts.

Stem and classifier have 8 bits in the paper and squeeze-and-excitation 4, which `[quantize]` makes of the float ones
here. Maps are padded by 1 on all sides, where the published code pads those of stride 2 below and on the right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.models import convolutions
from netsuke.models.convolutions import Convolution
from netsuke.models.width import scaled
from netsuke.nn import ChannelGate, DPReLU, Sign, SignWeight

STEM, FIRST = 32, 64
BLOCKS = (3, 4, 6, 3)
BOUND = 3.0  # of both straight-through estimators
WIDER = 4  # a bottleneck's last convolution than its others


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """conv(sign(x), sign(w)), without a scale: a batch norm always follows."""
    return convolutions.binary(inputs, outputs, kernel, stride, padding, Sign(BOUND), SignWeight(BOUND))


class ReshapeAdd(nn.Module):
    """What a shortcut makes of x, to be added to a map of other channels, or half the size.

    Fewer channels: the mean of neighbouring ones, as many together as go into all; those that are left over at the end
    are dropped. More: zeros behind them, or (tile) x over again, where inputs divides outputs. Half the size: average
    pool of 3x3. (N, inputs, H, W) -> (N, outputs, H / stride, W / stride).
    """

    weight: Tensor

    def __init__(self, inputs: int, outputs: int, stride: int, tile: bool = False) -> None:
        super().__init__()
        self.copies = outputs // inputs if tile else 1
        self.zeros = 0 if tile else max(outputs - inputs, 0)
        group = max(inputs // outputs, 1)
        self.taken = min(inputs, group * outputs)
        self.drops = self.taken < inputs
        self.register_buffer("weight", torch.full((outputs, group, 1, 1), 1 / group), persistent=False)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.drops:
            x = x[:, : self.taken]
        if self.weight.shape[1] > 1:
            x = F.conv2d(x, self.weight, groups=len(self.weight))
        if self.copies > 1:
            x = torch.cat([x] * self.copies, 1)
        if self.zeros:
            x = F.pad(x, (0, 0, 0, 0, 0, self.zeros))
        return self.pool(x)


class PokeConv(nn.Module):
    """The paper's unit, with `long` the input of the bottleneck for its last one:

        y = norm_out(dprelu(norm(conv(sign(x))) + shortcut(x) + long) * gate(mean of x))

    (N, inputs, H, W) -> (N, outputs, H / stride, W / stride).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, convolve: Convolution) -> None:
        super().__init__()
        self.conv = convolve(inputs, outputs, kernel, stride)
        self.norm = nn.BatchNorm2d(outputs)
        self.shortcut = ReshapeAdd(inputs, outputs, stride)
        self.dprelu = DPReLU(outputs)
        self.gate = ChannelGate(inputs, outputs, hard=True)
        self.norm_out = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, long: Tensor | None = None) -> Tensor:
        y = self.norm(self.conv(x)) + self.shortcut(x)
        y = self.dprelu(y if long is None else y + long)
        return self.norm_out(y * self.gate(x.mean((2, 3), keepdim=True)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1: (N, inputs, H, W) -> (N, 4 * planes, H / stride, W / stride)."""

    def __init__(self, inputs: int, planes: int, stride: int, convolve: Convolution) -> None:
        super().__init__()
        self.first = PokeConv(inputs, planes, 1, 1, convolve)
        self.second = PokeConv(planes, planes, 3, stride, convolve)
        self.third = PokeConv(planes, WIDER * planes, 1, 1, convolve)
        self.long = ReshapeAdd(inputs, WIDER * planes, stride, tile=True)
        nn.init.zeros_(self.third.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x)), self.long(x))


class PokeBNN(nn.Module):
    """Stem, bottlenecks, global average, linear layer: (N, 3, H, W) -> logits (N, num_classes); H, W multiples of 32.

    stem: channels of the first convolution; the second has twice as many. planes: of the first stage.
    """

    def __init__(
        self, stem: int, planes: int, num_classes: int, convolve: Convolution, blocks: Sequence[int] = BLOCKS
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 4, 4, bias=False),
            nn.BatchNorm2d(stem),
            DPReLU(stem),
            nn.Conv2d(stem, 2 * stem, 3, 1, 1, groups=stem, bias=False),
            nn.BatchNorm2d(2 * stem),
            DPReLU(2 * stem),
        )
        inputs, made = 2 * stem, []
        for stage, count in enumerate(blocks):
            for i in range(count):
                made.append(Bottleneck(inputs, planes << stage, 2 if stage > 0 and i == 0 else 1, convolve))
                inputs = WIDER * (planes << stage)
        self.blocks = nn.Sequential(*made)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def pokebnn(multiplier: float, binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """multiplier: 0.5, 0.75, 1, 1.5 or 2 times the planes of ResNet-50, the stem left as it is. binary: false for the
    float counterpart. width: times all channels, to multiples of 8."""
    convolve = convolution if binary else convolutions.plain
    return PokeBNN(scaled(STEM, width), scaled(round(multiplier * FIRST), width), num_classes, convolve)
