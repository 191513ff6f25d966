"""BNext-18: the units of BNext in the shape of ResNet-18 (Guo et al. 2022; its authors' code)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from netsuke.models.bnext_layout import from_published, resnet_names, to_published
from netsuke.models.bnext_units import Design, is_small_stem, make_unit
from netsuke.models.width import scaled

CHANNELS = 64
BLOCKS = 2  # a stage
HARD_BELOW = 1e-5


class Stem18(nn.Module):
    """norm(conv(x)): 7x7 of stride 2 and a max pool of stride 2, or 3x3 alone, which keeps the size."""

    def __init__(self, channels: int, small: bool) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small else (7, 2)
        self.conv = nn.Conv2d(3, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.norm(self.conv(x)))


class Downsample(nn.Module):
    """norm(conv1x1(average pool)): (N, inputs, H, W) -> (N, outputs, H / 2, W / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2, 2)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pool(x)))


class Block18(nn.Module):
    """Two 3x3 units, the first of which changes channels and size, and has attention.

    (N, inputs, H, W) -> (N, outputs, H / stride, W / stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, design: Design) -> None:
        super().__init__()
        shortcut = Downsample(inputs, outputs) if stride == 2 else nn.Identity()
        self.first = make_unit(inputs, outputs, 3, stride, design, shortcut, attention=True, mixes_shortcut=True)
        self.second = make_unit(outputs, outputs, 3, 1, design, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class BNext18(nn.Module):
    """Stem, four stages of two blocks, PReLU, global average, linear layer: (N, 3, H, W) -> logits (N, num_classes).

    Behind the stem, which halves H and W twice rounding up (or leaves them: `stem` "cifar"), they must be multiples
    of 8.
    """

    def __init__(self, channels: int, num_classes: int, design: Design, small_stem: bool) -> None:
        super().__init__()
        self.design = design
        self.stem = Stem18(channels, small_stem)
        blocks = []
        inputs = channels
        for stage in range(4):
            for _ in range(BLOCKS):
                outputs = channels << stage
                blocks.append(Block18(inputs, outputs, 1 if outputs == inputs else 2, design))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.prelu = nn.PReLU(inputs)
        self.classifier = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.blocks(self.stem(x)))
        return self.classifier(x.mean((2, 3)))

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return from_published(resnet_names(self), tensors, clamped=lambda name: ".second." in name)

    def to_published(self) -> dict[str, Tensor]:
        return to_published(resnet_names(self), self.state_dict())


def bnext18(
    binary: bool,
    num_classes: int = 1000,
    width: float = 1.0,
    attention: bool = True,
    recoupling: bool = True,
    module: str = "info_rcp",
    stem: str = "auto",
) -> nn.Module:
    """binary: false for the float counterpart. Further arguments: docs/bnext.md."""
    design = Design(attention, recoupling, module, binary, HARD_BELOW)
    return BNext18(scaled(CHANNELS, width), num_classes, design, is_small_stem(stem, num_classes))
