"""ReActNet (Liu et al. 2020, "ReActNet: Towards Precise Binary Neural Network with Generalized Activation Functions").

ReActNet-A is MobileNet's tower with a shortcut round every convolution, the other is Bi-Real Net-18; both with RSign
and RPReLU. Stem, 1x1 shortcuts and classifier are float. The published checkpoints load.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.models import convolutions
from netsuke.models.adabin_resnet import pool_shortcut
from netsuke.models.binary_resnet import BinaryResNet
from netsuke.models.convolutions import Convolution
from netsuke.models.renaming import from_published, to_published
from netsuke.models.width import scaled
from netsuke.nn import ApproxRSign, BinaryConv2d, BiRealWeight, RPReLU

STEM = 32
# Channels that each block hands on, as multiples of the stem's; the block whose number of channels is new halves the
# map, but for the first.
MULTIPLES = (2, 4, 4, 8, 8, 16, 16, 16, 16, 16, 16, 32, 32)

NAMES_A = (
    (r"binary_3x3\.binary_a\.", "move11."),
    (r"binary_pw\.\d\.binary_a\.", "move21."),
    (r"act(\d)\.before", r"move\g<1>2.bias"),
    (r"act(\d)\.prelu\.", r"prelu\1."),
    (r"act(\d)\.after", r"move\g<1>3.bias"),
)
# Of blocks whose channels double, and of the others.
NAMES_DOUBLING = (
    (r"binary_pw\.0\.", "binary_pw_down1."),
    (r"binary_pw\.1\.", "binary_pw_down2."),
    (r"bn2\.0\.", "bn2_1."),
    (r"bn2\.1\.", "bn2_2."),
)
NAMES_KEEPING = ((r"binary_pw\.0\.", "binary_pw."), (r"bn2\.0\.", "bn2."))
NAMES_18 = (
    (r"binary_conv\.binary_a\.", "move0."),
    (r"rprelu\.before", "move1.bias"),
    (r"rprelu\.prelu\.", "prelu."),
    (r"rprelu\.after", "move2.bias"),
)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """conv(rsign(x), mean|w| * sign(w))."""
    return convolutions.binary(inputs, outputs, kernel, stride, padding, ApproxRSign(inputs), BiRealWeight())


class Stem(nn.Module):
    """bn(conv3x3(x)) of stride 2. (N, 3, H, W) -> (N, channels, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.conv1(x))


class ReActBlock(nn.Module):
    """A 3x3 convolution, then a 1x1 one, or two of them side by side, with one RSign, where the channels double:

        x = act1(bn1(conv3x3(x)) + pool(x))        y = act2(concat of bn2(conv1x1(x)) + x)

    (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), outputs = inputs or twice that.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, convolve: Convolution) -> None:
        super().__init__()
        self.pooling = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()
        self.binary_3x3 = convolve(inputs, inputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.act1 = RPReLU(inputs)
        branches = outputs // inputs
        self.binary_pw = nn.ModuleList(convolve(inputs, inputs, 1) for _ in range(branches))
        self.bn2 = nn.ModuleList(nn.BatchNorm2d(inputs) for _ in range(branches))
        self.act2 = RPReLU(outputs)
        first, last = self.binary_pw[0], self.binary_pw[-1]
        if isinstance(first, BinaryConv2d) and isinstance(last, BinaryConv2d):
            last.binary_a = first.binary_a

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.binary_3x3(x)) + self.pooling(x))
        parts = [norm(conv(x)) + x for conv, norm in zip(self.binary_pw, self.bn2, strict=True)]
        return self.act2(parts[0] if len(parts) == 1 else torch.cat(parts, 1))


class ReActNetA(nn.Module):
    """Stem, thirteen blocks, global average, linear layer: (N, 3, H, W) -> logits (N, num_classes).

    Behind the stem, which halves H and W rounding up, they must be multiples of 16.
    """

    def __init__(self, channels: int, num_classes: int, convolve: Convolution) -> None:
        super().__init__()
        self.is_published = convolve is convolution
        feature: list[nn.Module] = [Stem(channels)]
        inputs = channels
        for i, multiple in enumerate(MULTIPLES):
            outputs = multiple * channels
            feature.append(ReActBlock(inputs, outputs, 2 if i > 0 and outputs != inputs else 1, convolve))
            inputs = outputs
        self.feature = nn.Sequential(*feature)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.feature(x).mean((2, 3)))

    def _names(self) -> list[tuple[str, str]]:
        names = list(NAMES_A)
        for i, block in enumerate(self.feature):
            if isinstance(block, ReActBlock):
                inside = NAMES_DOUBLING if len(block.binary_pw) == 2 else NAMES_KEEPING
                names += [(rf"^feature\.{i}\.{ours}", f"feature.{i}.{theirs}") for ours, theirs in inside]
        return names

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return from_published(self, self._names(), tensors)

    def to_published(self) -> dict[str, Tensor]:
        """Raises netsuke.Error for the float counterpart and for AdaBin's."""
        if not self.is_published:
            raise Error("this ReActNet has no published form: only the paper's own binary network has")
        return to_published(self, self._names(), columns=True)


class ReActResNetBlock(nn.Module):
    """y = rprelu(bn(conv(rsign(x))) + shortcut(x)). (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, convolve: Convolution, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.binary_conv = convolve(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.rprelu = RPReLU(outputs)
        self.downsample = pool_shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.rprelu(self.bn1(self.binary_conv(x)) + self.downsample(x))


class ReActResNet(BinaryResNet):
    """The binary network on Bi-Real Net's frame; its published checkpoints load."""

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return from_published(self, NAMES_18, tensors)

    def to_published(self) -> dict[str, Tensor]:
        return to_published(self, NAMES_18, columns=False)


def reactnet_a(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """binary: false for the float counterpart. width: times the published channels, to a multiple of 8."""
    return ReActNetA(scaled(STEM, width), num_classes, convolution if binary else convolutions.plain)


def adabin_reactnet_a(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """ReActNet-A with AdaBin's binarizers (Tu et al. 2022) for RSign and scaled signs, and its own RPReLU."""
    return ReActNetA(scaled(STEM, width), num_classes, convolutions.adabin)


def reactnet_resnet18(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """Bi-Real Net-18 with RSign and RPReLU. Arguments as for `reactnet_a`."""
    convolve = convolution if binary else convolutions.plain
    make = ReActResNet if binary else BinaryResNet
    return make(partial(ReActResNetBlock, convolve), [4, 4, 4, 4], scaled(64, width), num_classes)
