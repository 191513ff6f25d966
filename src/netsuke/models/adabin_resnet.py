"""AdaBin's residual networks (Tu et al. 2022), with the parameter names of the published code and checkpoints.

A shortcut goes round every convolution (Bi-Real Net, Liu et al. 2018) and a two-slope Maxout follows every addition.
First convolution, 1x1 shortcuts and the classifier stay float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from netsuke.models.resnet import conv_shortcut, initialise, make_stage, pad_shortcut
from netsuke.nn import AdaBinActivation, BinaryConv2d, Maxout


def pool_shortcut(inputs: int, planes: int, stride: int) -> nn.Module:
    """Average pooling, a 1x1 convolution and batch norm where the block changes shape, else the identity."""
    if stride == 1 and inputs == planes:
        return nn.Sequential()
    return nn.Sequential(
        nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
        nn.Conv2d(inputs, planes, 1, bias=False),
        nn.BatchNorm2d(planes),
    )


class AdaBinBlock(nn.Module):
    """Two one-bit convolutions, each y = maxout(bn(conv(x)) + shortcut(x)).

    (N, inputs, H, W) -> (N, planes, H / stride, W / stride).
    """

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        shortcut: Callable[[int, int, int], nn.Module],
        name: str,
        center: str,
    ) -> None:
        super().__init__()
        self.conv1 = BinaryConv2d(inputs, planes, 3, stride, 1, bias=False, binary_a=AdaBinActivation(center))
        self.bn1 = nn.BatchNorm2d(planes)
        self.nonlinear1 = Maxout(planes)
        self.conv2 = BinaryConv2d(planes, planes, 3, 1, 1, bias=False, binary_a=AdaBinActivation(center))
        self.bn2 = nn.BatchNorm2d(planes)
        self.nonlinear2 = Maxout(planes)
        self.shortcut_name = name
        self.add_module(name, shortcut(inputs, planes, stride))

    def forward(self, x: Tensor) -> Tensor:
        x = self.nonlinear1(self.bn1(self.conv1(x)) + getattr(self, self.shortcut_name)(x))
        return self.nonlinear2(self.bn2(self.conv2(x)) + x)


class AdaBinCifarResNet(nn.Module):
    """The stages of `CifarResNet` in AdaBin's form, with a batch norm before the linear layer.

    center: where the activations' binary sets lie, "published" as in the published code and checkpoints, or "paper".
    """

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        shortcut: Callable[[int, int, int], nn.Module],
        num_classes: int,
        center: str,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.nonlinear1 = Maxout(widths[0])
        self.stages = len(depths)
        inputs = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            stage = make_stage(
                lambda a, b, s: AdaBinBlock(a, b, s, shortcut, "shortcut", center),
                inputs,
                width,
                depth,
                1 if i == 0 else 2,
            )
            self.add_module(f"layer{i + 1}", stage)
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.bn2 = nn.BatchNorm1d(inputs)
        self.linear = nn.Linear(inputs, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.nonlinear1(self.bn1(self.conv1(x)))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.linear(self.bn2(self.avgpool(x).flatten(1)))


class AdaBinImageNetResNet(nn.Module):
    """ResNet-18/34 for ImageNet in AdaBin's form: average-pool shortcuts, a batch norm before the linear layer.

    width: channels of the stem and the first stage, as in `ImageNetResNet`; the published networks have 64.
    """

    # The published class makes these and never runs them, so its checkpoints hold them.
    unused_weights = ("nonlinear2.", "bn3.")

    def __init__(self, depths: Sequence[int], num_classes: int, center: str, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.nonlinear1 = Maxout(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

        def block(inputs: int, planes: int, stride: int) -> nn.Module:
            return AdaBinBlock(inputs, planes, stride, pool_shortcut, "downsample", center)

        self.layer1 = make_stage(block, width, width, depths[0], 1)
        self.layer2 = make_stage(block, width, 2 * width, depths[1], 2)
        self.layer3 = make_stage(block, 2 * width, 4 * width, depths[2], 2)
        self.layer4 = make_stage(block, 4 * width, 8 * width, depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.bn2 = nn.BatchNorm1d(8 * width)
        self.fc = nn.Linear(8 * width, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.nonlinear1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.bn2(self.avgpool(x).flatten(1)))


def adabin_resnet20(num_classes: int = 10, center: str = "published") -> nn.Module:
    return AdaBinCifarResNet([3, 3, 3], [16, 32, 64], pad_shortcut, num_classes, center)


def adabin_resnet18(num_classes: int = 10, center: str = "published") -> nn.Module:
    return AdaBinCifarResNet([2, 2, 2, 2], [64, 128, 256, 512], conv_shortcut, num_classes, center)


def adabin_resnet18_imagenet(num_classes: int = 1000, center: str = "published", width: int = 64) -> nn.Module:
    return AdaBinImageNetResNet([2, 2, 2, 2], num_classes, center, width)


def adabin_resnet34_imagenet(num_classes: int = 1000, center: str = "published", width: int = 64) -> nn.Module:
    return AdaBinImageNetResNet([3, 4, 6, 3], num_classes, center, width)
