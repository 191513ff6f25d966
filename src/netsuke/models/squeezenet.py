"""SqueezeNet 1.0 (Iandola et al. 2016), as in the Caffe network that Deep Compression's released file is of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

# Of fire2 to fire9: channels of the squeeze layer, and of each expand layer.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
POOLED = ("fire4", "fire8")


class Fire(nn.Module):
    """A 1x1 convolution, then 1x1 and 3x3 ones side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.squeeze(x))
        return torch.cat([relu(self.expand1x1(x)), relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Images of 227x227. The last convolution is padded by 1, as in the authors' network: its border is relu(bias)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        inputs = 96
        for i, (squeezed, expanded) in enumerate(FIRES, start=2):
            self.add_module(f"fire{i}", Fire(inputs, squeezed, expanded))
            inputs = 2 * expanded
        self.dropout = nn.Dropout(0.5)
        self.conv_final = nn.Conv2d(inputs, num_classes, 1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool2d(relu(self.conv1(x)), 3, 2, ceil_mode=True)
        for i in range(2, 2 + len(FIRES)):
            x = getattr(self, f"fire{i}")(x)
            if f"fire{i}" in POOLED:
                x = max_pool2d(x, 3, 2, ceil_mode=True)
        return relu(self.conv_final(self.dropout(x))).mean((2, 3))


def squeezenet1_0(num_classes: int = 1000) -> nn.Module:
    return SqueezeNet(num_classes)
