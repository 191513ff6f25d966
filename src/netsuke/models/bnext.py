"""BNext-Tiny to Large (Guo et al. 2022, "Join the High Accuracy Club on ImageNet with A Binary Neural Network Ticket").

Everything binary but stem, channel gates and classifier. The published checkpoints load (`bnext_layout`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from netsuke.models.bnext_layout import from_published, to_published, tower_names
from netsuke.models.bnext_units import Design, is_small_stem, kept, make_unit
from netsuke.models.width import scaled

# Channels that each block hands on, as multiples of the stem's; the block whose number of channels is new halves the
# map, but for the first.
TINY = (32, (2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32))
SMALL = (48, TINY[1])
MIDDLE = (48, (2, *(4,) * 4, *(8,) * 4, *(16,) * 8, *(32,) * 4))
LARGE = (64, (2, *(4,) * 4, *(8,) * 4, *(16,) * 16, *(32,) * 4))


class Stem(nn.Module):
    """norm(conv3x3(x)), of stride 2 or 1. (N, 3, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.prelu = kept(nn.PReLU(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    """A 3x3 unit, then a 1x1 unit, or two side by side where the channels double.

    (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), outputs = inputs or twice that.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, design: Design, attention: bool) -> None:
        super().__init__()
        shortcut = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.spatial = make_unit(inputs, inputs, 3, stride, design, shortcut, attention)
        self.pointwise = nn.ModuleList(
            make_unit(inputs, inputs, 1, 1, design, nn.Identity()) for _ in range(outputs // inputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.spatial(x)
        parts = [unit(x) for unit in self.pointwise]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class BNext(nn.Module):
    """Stem, blocks, PReLU, global average, linear layer: (N, 3, H, W) -> logits (N, num_classes).

    Behind the stem, which halves H and W rounding up (or leaves them: `stem` "cifar"), they must be multiples of 16.
    Every second block has element-wise attention, where the design has it.
    """

    def __init__(
        self, channels: int, multiples: Sequence[int], num_classes: int, design: Design, small_stem: bool
    ) -> None:
        super().__init__()
        self.design = design
        self.stem = Stem(channels, 1 if small_stem else 2)
        blocks = []
        inputs = channels
        for i, multiple in enumerate(multiples):
            outputs = multiple * channels
            stride = 2 if i > 0 and outputs != inputs else 1
            blocks.append(Block(inputs, outputs, stride, design, attention=i % 2 == 1))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.prelu = nn.PReLU(inputs)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.blocks(self.stem(x)))
        return self.classifier(x.mean((2, 3)))

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return from_published(tower_names(self), tensors, clamped=lambda name: ".pointwise." in name)

    def to_published(self) -> dict[str, Tensor]:
        return to_published(tower_names(self), self.state_dict())


def bnext(
    size: tuple[int, Sequence[int]],
    binary: bool,
    num_classes: int = 1000,
    width: float = 1.0,
    attention: bool = True,
    recoupling: bool = True,
    module: str = "info_rcp",
    stem: str = "auto",
) -> nn.Module:
    """size: TINY, SMALL, MIDDLE or LARGE. binary: false for the float counterpart. Further arguments: docs/bnext.md."""
    channels, multiples = size
    design = Design(attention, recoupling, module, binary)
    return BNext(scaled(channels, width), multiples, num_classes, design, is_small_stem(stem, num_classes))
