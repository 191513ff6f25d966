"""Float residual networks (He et al. 2016): for CIFAR ResNet-20 to 56 and a wide ResNet-18, for ImageNet ResNet-18/34.

Parameter names are those of the checkpoints people have: akamaster/pytorch_resnet_cifar10 for ResNet-20 to 56,
torchvision for ImageNet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class PadShortcut(nn.Module):
    """Option A of section 4.2: every second pixel, `pad` channels of zeros on both sides. (N, C, H, W), no weights.

    channel_padding: channels of zeros before and after; `netsuke.prune_channels` lowers them.
    """

    def __init__(self, pad: int) -> None:
        super().__init__()
        self.channel_padding = (pad, pad)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, *self.channel_padding))


def pad_shortcut(inputs: int, planes: int, stride: int) -> nn.Module:
    """Option A where the block changes shape, else the identity."""
    return PadShortcut(planes // 4) if stride != 1 or inputs != planes else nn.Sequential()


def conv_shortcut(inputs: int, planes: int, stride: int) -> nn.Module:
    """Option B: a 1x1 convolution and batch norm where the block changes shape, else the identity."""
    if stride == 1 and inputs == planes:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)). (N, inputs, H, W) -> (N, planes, H / stride, W / stride)."""

    def __init__(
        self, inputs: int, planes: int, stride: int, shortcut: Callable[[int, int, int], nn.Module], name: str
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut_name = name
        self.add_module(name, shortcut(inputs, planes, stride))
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + getattr(self, self.shortcut_name)(x)
        return self.relu2(out)


def make_stage(
    block: Callable[[int, int, int], nn.Module], inputs: int, planes: int, depth: int, stride: int
) -> nn.Sequential:
    """`depth` blocks, the first of which changes width and size."""
    blocks = [block(inputs, planes, stride)] + [block(planes, planes, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def initialise(module: nn.Module) -> None:
    """Kaiming normal for convolutions and linear layers, as the published CIFAR code does."""
    for m in module.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(m.weight)


class CifarResNet(nn.Module):
    """A 3x3 stem, stages that halve the map after the first, global average pooling, a linear layer."""

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        shortcut: Callable[[int, int, int], nn.Module],
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.stages = len(depths)
        inputs = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            stage = make_stage(
                lambda a, b, s: BasicBlock(a, b, s, shortcut, "shortcut"), inputs, width, depth, 1 if i == 0 else 2
            )
            self.add_module(f"layer{i + 1}", stage)
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(inputs, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.linear(self.avgpool(x).flatten(1))


class ImageNetResNet(nn.Module):
    """A 7x7 stem with max pooling, four stages, global average pooling, a linear layer.

    width: channels of the stem and the first stage; each later stage has twice those of the one before.
    """

    def __init__(self, depths: Sequence[int], num_classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

        def block(inputs: int, planes: int, stride: int) -> nn.Module:
            return BasicBlock(inputs, planes, stride, conv_shortcut, "downsample")

        self.layer1 = make_stage(block, width, width, depths[0], 1)
        self.layer2 = make_stage(block, width, 2 * width, depths[1], 2)
        self.layer3 = make_stage(block, 2 * width, 4 * width, depths[2], 2)
        self.layer4 = make_stage(block, 4 * width, 8 * width, depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet20(num_classes: int = 10) -> nn.Module:
    return CifarResNet([3, 3, 3], [16, 32, 64], pad_shortcut, num_classes)


def resnet32(num_classes: int = 10) -> nn.Module:
    return CifarResNet([5, 5, 5], [16, 32, 64], pad_shortcut, num_classes)


def resnet44(num_classes: int = 10) -> nn.Module:
    return CifarResNet([7, 7, 7], [16, 32, 64], pad_shortcut, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    return CifarResNet([9, 9, 9], [16, 32, 64], pad_shortcut, num_classes)


def resnet18(num_classes: int = 10) -> nn.Module:
    """ResNet-18 for 32x32 images: the ImageNet stages behind a 3x3 stem of stride 1."""
    return CifarResNet([2, 2, 2, 2], [64, 128, 256, 512], conv_shortcut, num_classes)


def resnet18_imagenet(num_classes: int = 1000, width: int = 64) -> nn.Module:
    return ImageNetResNet([2, 2, 2, 2], num_classes, width)


def resnet34_imagenet(num_classes: int = 1000, width: int = 64) -> nn.Module:
    return ImageNetResNet([3, 4, 6, 3], num_classes, width)
