"""BoolNet and BaseNet (Guo et al. 2021, "BoolNet: Minimizing the Energy Consumption of Binary Neural Networks"), as the
published code builds them: between the stem and the last block every map is bits. Stem and classifier are float.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netsuke.models.width import scaled
from netsuke.nn import BinaryConv2d, ChannelOrder, MultiSliceSign, Or, ScaledTemperatureWeight, Sign, Xnor
from netsuke.nn.logic import shifts

CHANNELS = 64
BLOCKS = 2  # a stage


@dataclass(frozen=True)
class Design:
    """Which of the published networks.

    slices: signs of one map, each of it shifted. grows: BoolNet, whose blocks keep their input beside their result and
    whose stem shifts every pixel by its neighbours. dilated: BoolNet*, whose last stage keeps the size of its map and
    widens its windows instead. binary: false for the float counterpart, with ReLU for the sign and sums for the logic.
    """

    slices: int
    grows: bool = False
    dilated: bool = False
    binary: bool = True

    def convolution(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> nn.Conv2d:
        """conv(x, mean|w| * sign(w)) of signs x, the border's pixels repeated around the map."""
        padding = dilation * (kernel // 2)
        window = (inputs, outputs, kernel, stride, padding, dilation, groups, False)
        layer: nn.Conv2d
        if self.binary:
            mode = "replicate" if padding else "zeros"
            layer = BinaryConv2d(*window, padding_mode=mode, binary_a=Sign(), binary_w=ScaledTemperatureWeight())
        else:
            layer = nn.Conv2d(*window)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            layer.weight.mul_(0.01 if self.binary else 1)
        return layer

    def sliced(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
        """The multi-slice convolution: (N, slices * inputs, H, W), a share of the outputs from each slice."""
        return self.convolution(self.slices * inputs, outputs, 3, stride, dilation, self.slices)

    def sign(self) -> nn.Module:
        return MultiSliceSign(self.slices) if self.binary else MultiSliceReLU(self.slices)

    def xnor(self) -> nn.Module:
        return Xnor() if self.binary else Sum()

    def either(self) -> nn.Module:
        return Or() if self.binary else Sum()


class MultiSliceReLU(nn.Module):
    """The float counterpart of `MultiSliceSign`."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.shifts = shifts(slices)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.relu(x + s) for s in self.shifts], 1)


class Sum(nn.Module):
    """The residual that logic stands for."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class LocalShift(nn.Module):
    """BoolNet's last float layer: norm(x) + norm(conv(norm(x))), conv a 3x3 of each channel. (N, C, H, W) -> the same.

    Each pixel gets a shift of its own before its signs are taken.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.norm_in = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.norm_out = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + self.norm_out(self.conv(self.norm_in(x)))


def downsample(design: Design, inputs: int, outputs: int, stride: int) -> nn.Module:
    """sign(norm(pool(conv1x1(x)))), of all slices together."""
    pool = nn.MaxPool2d(2, 2) if stride == 2 else nn.Identity()
    conv = design.convolution(design.slices * inputs, outputs, 1)
    return nn.Sequential(conv, pool, nn.BatchNorm2d(outputs), design.sign())


def halves(slices: int, channels: int) -> tuple[ChannelOrder, ChannelOrder]:
    """The first and the second half of each slice's channels: (N, slices * channels, H, W) -> half of them."""
    index = torch.arange(slices * channels).view(slices, 2, channels // 2)
    return ChannelOrder(index[:, 0]), ChannelOrder(index[:, 1])


def shuffle(slices: int, channels: int) -> ChannelOrder:
    """The channels of two maps in turn, slice by slice: (N, 2 * slices * channels, H, W) -> the same shape."""
    return ChannelOrder(torch.arange(2 * slices * channels).view(2, slices, channels).permute(1, 2, 0))


class BoolBlock(nn.Module):
    """Two convolutions with logic around each, f(x) = sign(norm(conv(x))):

        y = xnor(f1(r), s)        z = or(f2(y), s)        s = downsample(r), or r itself

    BaseNet: r is the input, and z the result. (N, slices * inputs, H, W) -> (N, slices * outputs, H', W').

    BoolNet: the result has, slice by slice, the channels of z and of s in turn. Where its input is such a result of a
    block with as many outputs (inputs = 2 * outputs), r is the first half of each slice and the second half is what
    goes beside z.

    last: the result is float, without slices, norm(conv2(y)) + norm(mean of the slices of y): (N, outputs, H', W').
    """

    def __init__(
        self,
        design: Design,
        inputs: int,
        outputs: int,
        stride: int = 1,
        dilation: int = 1,
        changes: bool = False,
        last: bool = False,
    ) -> None:
        super().__init__()
        k = self.slices = design.slices
        self.halves = nn.ModuleList(halves(k, inputs) if inputs == 2 * outputs else ())
        inputs = outputs if self.halves else inputs
        self.downsample = downsample(design, inputs, outputs, stride) if changes else nn.Identity()
        self.conv1 = design.sliced(inputs, outputs, stride, dilation)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.sign1 = design.sign()
        self.xnor = design.xnor()
        self.conv2 = design.sliced(outputs, outputs, 1, dilation)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.last = last
        if last:
            self.bn3 = nn.BatchNorm2d(outputs)
            return
        self.sign2 = design.sign()
        self.either = design.either()
        self.shuffle = shuffle(k, outputs) if design.grows else None

    def forward(self, x: Tensor) -> Tensor:
        x, *beside = [half(x) for half in self.halves] or [x]
        residual = self.downsample(x)
        y = self.xnor(self.sign1(self.bn1(self.conv1(x))), residual)
        z = self.bn2(self.conv2(y))
        if self.last:
            return z + self.bn3(mean_of_slices(y, self.slices))
        z = self.either(self.sign2(z), residual)
        if self.shuffle is None:
            return z
        return self.shuffle(torch.cat([z, *(beside or [residual])], 1))


def mean_of_slices(x: Tensor, slices: int) -> Tensor:
    """(N, slices * C, H, W) -> (N, C, H, W)"""
    channels = x.shape[1] // slices
    first, *others = [x[:, i * channels : (i + 1) * channels] for i in range(slices)]
    return sum(others, first) / slices


class BoolNet(nn.Module):
    """Stem, four stages of two blocks, PReLU, global average, linear layer: (N, 3, H, W) -> logits (N, num_classes).

    H and W must be multiples of 32 (of 16 if design.dilated).
    """

    def __init__(self, design: Design, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.norm = LocalShift(channels) if design.grows else nn.BatchNorm2d(channels)
        self.sign = design.sign()
        self.stages = nn.Sequential()
        inputs = channels  # of a slice
        for stage in range(4):
            widens = design.dilated and stage == 3
            for block in range(BLOCKS):
                outputs = channels << stage
                changes = stage > 0 and block == 0
                stride, dilation = 2 if changes and not widens else 1, 2 if widens and not changes else 1
                last = (stage, block) == (3, BLOCKS - 1)
                self.stages.append(BoolBlock(design, inputs, outputs, stride, dilation, changes, last))
                inputs = 2 * outputs if design.grows else outputs
        self.prelu = nn.PReLU(outputs)
        self.fc = nn.Linear(outputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.sign(self.norm(self.maxpool(self.bn1(self.conv1(x)))))
        return self.fc(self.prelu(self.stages(x)).mean((2, 3)))


def _boolnet(design: Design, num_classes: int, width: float) -> nn.Module:
    return BoolNet(design, scaled(CHANNELS, width), num_classes)


def basenet(slices: int, binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """slices: 1 or 4. binary: false for the float counterpart. width: times the channels, to multiples of 8."""
    return _boolnet(Design(slices, binary=binary), num_classes, width)


def boolnet(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """BoolNet of 4 slices. Arguments as for `basenet`."""
    return _boolnet(Design(4, grows=True, binary=binary), num_classes, width)


def boolnet_star(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """BoolNet* of 4 slices. Arguments as for `basenet`."""
    return _boolnet(Design(4, grows=True, dilated=True, binary=binary), num_classes, width)
