"""XNOR-Net's AlexNet and ResNet-18 (Rastegari et al. 2016, "XNOR-Net: ImageNet Classification Using Binary
Convolutional Neural Networks"). A convolution is batch norm, sign, convolution, pooling, in that order.

AlexNet is that of the published code, which leaves the input's scale K out and so do we. No code of ResNet-18 is
published: its blocks are the paper's in ResNet's frame. First and last layer, and 1x1 shortcuts, are float.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from netsuke.models import convolutions
from netsuke.models.binary_resnet import BinaryResNet
from netsuke.models.convolutions import Convolution
from netsuke.models.resnet import conv_shortcut
from netsuke.models.width import scaled
from netsuke.nn import Maxout, Sign, XnorWeight

WIDTHS = (96, 256, 384, 384, 256, 4096, 4096)


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """conv(sign(x), mean|w| * sign(w))."""
    return convolutions.binary(inputs, outputs, kernel, stride, padding, Sign(), XnorWeight())


class BatchNormConvolution(nn.Module):
    """pool(conv(sign(act(norm(x))))): section 3.2's order of layers. (N, inputs, H, W) -> (N, outputs, H', W').

    act: between norm and sign; the paper has none.
    """

    def __init__(self, inputs: int, conv: nn.Module, pool: bool = False, act: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, eps=1e-4)
        self.act = act if act is not None else nn.Identity()
        self.conv = conv
        self.pool = nn.MaxPool2d(3, 2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.act(self.norm(x))))


class XnorAlexNet(nn.Module):
    """AlexNet without groups, its first two linear layers as convolutions of 6x6 and 1x1: (N, 3, 224, 224) -> logits.

    convolve: makes the six binary convolutions. nonlinearity: (channels) -> module, behind first and last batch norm.
    act: the same, in front of the signs; none in the paper.
    """

    def __init__(
        self,
        num_classes: int,
        width: float,
        convolve: Convolution,
        nonlinearity: Callable[[int], nn.Module] = lambda channels: nn.ReLU(),
        act: Callable[[int], nn.Module] = lambda channels: nn.Identity(),
    ) -> None:
        super().__init__()
        w = [scaled(channels, width) for channels in WIDTHS]
        self.conv1 = nn.Conv2d(3, w[0], 11, 4, 2, bias=False)
        self.norm1 = nn.BatchNorm2d(w[0])
        self.nonlinear1 = nonlinearity(w[0])
        self.pool1 = nn.MaxPool2d(3, 2)
        self.conv2 = BatchNormConvolution(w[0], convolve(w[0], w[1], 5), pool=True, act=act(w[0]))
        self.conv3 = BatchNormConvolution(w[1], convolve(w[1], w[2], 3), act=act(w[1]))
        self.conv4 = BatchNormConvolution(w[2], convolve(w[2], w[3], 3), act=act(w[2]))
        self.conv5 = BatchNormConvolution(w[3], convolve(w[3], w[4], 3), pool=True, act=act(w[3]))
        self.conv6 = BatchNormConvolution(w[4], convolve(w[4], w[5], 6, padding=0), act=act(w[4]))
        self.conv7 = BatchNormConvolution(w[5], convolve(w[5], w[6], 1), act=act(w[5]))
        self.norm8 = nn.BatchNorm2d(w[6], eps=1e-3)
        self.nonlinear8 = nonlinearity(w[6])
        self.fc = nn.Linear(w[6], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.nonlinear1(self.norm1(self.conv1(x))))
        x = self.conv7(self.conv6(self.conv5(self.conv4(self.conv3(self.conv2(x))))))
        return self.fc(self.nonlinear8(self.norm8(x)).flatten(1))


class XnorBlock(nn.Module):
    """conv(sign(norm(conv(sign(norm(x)))))) + shortcut(x).

    (N, inputs, H, W) -> (N, outputs, H / stride, W / stride).
    """

    def __init__(self, convolve: Convolution, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = BatchNormConvolution(inputs, convolve(inputs, outputs, 3, stride))
        self.conv2 = BatchNormConvolution(outputs, convolve(outputs, outputs, 3))
        self.downsample = conv_shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)) + self.downsample(x)


def xnor_alexnet(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """binary: false for the float counterpart, with ReLU for the sign. width: times the channels, to multiples of 8."""
    return XnorAlexNet(num_classes, width, convolution if binary else convolutions.rectified)


def adabin_alexnet(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """AdaBin's AlexNet (Tu et al. 2022). No code of it is published: the layout is XNOR-Net's, with Maxout behind every
    batch norm."""
    return XnorAlexNet(num_classes, width, convolutions.adabin, Maxout, Maxout)


def xnor_resnet18(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """Arguments as for `xnor_alexnet`. Batch norm and ReLU in front of the average, as where blocks end in a sum."""
    convolve = convolution if binary else convolutions.rectified
    channels = scaled(64, width)
    head = nn.Sequential(nn.BatchNorm2d(8 * channels), nn.ReLU())
    return BinaryResNet(partial(XnorBlock, convolve), [2, 2, 2, 2], channels, num_classes, nn.ReLU(), head)
