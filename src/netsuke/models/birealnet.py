"""Bi-Real Net 18 and 34 (Liu et al. 2018, "Bi-Real Net: Enhancing the Performance of 1-bit CNNs"), for ImageNet.

A shortcut goes round every binary convolution, so that a block is one convolution. Stem, 1x1 shortcuts and classifier
are float. Parameter names are those of the published PyTorch code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from netsuke.models import convolutions
from netsuke.models.adabin_resnet import pool_shortcut
from netsuke.models.binary_resnet import BinaryResNet
from netsuke.models.convolutions import Convolution
from netsuke.models.renaming import from_published, to_published
from netsuke.models.width import scaled
from netsuke.nn import ApproxSign, BiRealWeight

CHANNELS = 64


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """conv(sign(x), mean|w| * sign(w)). Latent weights start as the published code's, all of them above 0."""
    layer = convolutions.binary(inputs, outputs, kernel, stride, padding, ApproxSign(), BiRealWeight())
    nn.init.uniform_(layer.weight, 0, 0.001)
    return layer


class BiRealBlock(nn.Module):
    """y = bn(conv(sign(x))) + shortcut(x). (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""

    def __init__(self, convolve: Convolution, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.binary_conv = convolve(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.downsample = pool_shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn1(self.binary_conv(x)) + self.downsample(x)


class BiRealNet(BinaryResNet):
    """The binary network; its published checkpoints load."""

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return from_published(self, (), tensors)

    def to_published(self) -> dict[str, Tensor]:
        return to_published(self, (), columns=True)


def _birealnet(depths: Sequence[int], binary: bool, num_classes: int, width: float) -> nn.Module:
    convolve = convolution if binary else convolutions.rectified
    make = BiRealNet if binary else BinaryResNet
    return make(partial(BiRealBlock, convolve), depths, scaled(CHANNELS, width), num_classes)


def birealnet18(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """binary: false for the float counterpart, which has ReLU for the sign, as the paper's first training step.

    width: times the published channels, to a multiple of 8.
    """
    return _birealnet([4, 4, 4, 4], binary, num_classes, width)


def birealnet34(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """As `birealnet18`."""
    return _birealnet([6, 8, 12, 6], binary, num_classes, width)
