"""What the binary papers take over from ResNet (He et al. 2016) for ImageNet: stem, stages, pooling, classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from netsuke.models.resnet import make_stage


class BinaryResNet(nn.Module):
    """7x7 stem with max pooling, four stages of blocks, global average, linear layer, under torchvision's names.

    (N, 3, H, W) -> logits (N, num_classes). block: (inputs, outputs, stride) -> a block. depths: blocks of each stage.
    channels: of the stem and the first stage; each later stage has twice those of the one before, at half the size.
    nonlinearity: behind the stem's batch norm, if any. head: between the last block and the average, if any.
    """

    def __init__(
        self,
        block: Callable[[int, int, int], nn.Module],
        depths: Sequence[int],
        channels: int,
        num_classes: int,
        nonlinearity: nn.Module | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.nonlinear1 = nonlinearity if nonlinearity is not None else nn.Identity()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = make_stage(block, channels, channels, depths[0], 1)
        self.layer2 = make_stage(block, channels, 2 * channels, depths[1], 2)
        self.layer3 = make_stage(block, 2 * channels, 4 * channels, depths[2], 2)
        self.layer4 = make_stage(block, 4 * channels, 8 * channels, depths[3], 2)
        self.head = head if head is not None else nn.Identity()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.nonlinear1(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(self.head(x)).flatten(1))
