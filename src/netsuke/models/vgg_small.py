"""VGG-small for 32x32 images, the usual CIFAR network of the binary papers: 128-128-P-256-256-P-512-512-P-FC."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (128, 128, 256, 256, 512, 512)


class VGGSmall(nn.Module):
    """Six 3x3 convolutions, the 2nd, 4th and 6th followed by 2x2 max pooling, each with batch norm and ReLU."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        inputs = 3
        for i, width in enumerate(WIDTHS):
            self.add_module(f"conv{i}", nn.Conv2d(inputs, width, 3, 1, 1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(width))
            self.add_module(f"nonlinear{i}", nn.ReLU(inplace=True))
            inputs = width
        self.pooling = nn.MaxPool2d(2, 2)
        self.fc = nn.Linear(512 * 4 * 4, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(len(WIDTHS)):
            x = getattr(self, f"conv{i}")(x)
            if i % 2:
                x = self.pooling(x)
            x = getattr(self, f"nonlinear{i}")(getattr(self, f"bn{i}")(x))
        return self.fc(x.flatten(1))


def vgg_small(num_classes: int = 10) -> nn.Module:
    return VGGSmall(num_classes)
