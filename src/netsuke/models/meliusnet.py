"""MeliusNet 22, 29, 42 and 59 (Bethge et al. 2020, "MeliusNet: Can Binary Neural Networks Achieve MobileNet-level
Accuracy?"), as the published code builds them. Stem, transitions and classifier are float.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netsuke.models import convolutions
from netsuke.models.convolutions import Convolution
from netsuke.models.width import scaled
from netsuke.nn import Sign, SignWeight

STEM, GROWTH = 32, 64
BOUND = 1.3  # of both straight-through estimators
# Blocks of the four sections, channels behind the three transitions.
SIZES = {
    22: ((4, 5, 4, 4), (160, 224, 256)),
    29: ((4, 6, 8, 6), (128, 192, 256)),
    42: ((5, 8, 14, 10), (160, 256, 416)),
    59: ((6, 12, 24, 12), (192, 320, 544)),
}


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """conv(sign(x), sign(w)), without a scale: a batch norm always follows."""
    layer = convolutions.binary(inputs, outputs, kernel, stride, padding, Sign(BOUND), SignWeight(BOUND))
    nn.init.xavier_normal_(layer.weight)
    return layer


def normalised(inputs: int, outputs: int, convolve: Convolution) -> nn.Module:
    """conv3x3(sign(norm(x)))."""
    return nn.Sequential(nn.BatchNorm2d(inputs), convolve(inputs, outputs, 3))


class MeliusBlock(nn.Module):
    """A dense block, which adds channels, and an improvement block, which adds to these channels:

        n = dense(x)        y = concat(x, n + improve(concat(x, n)))

    each conv3x3(sign(norm(.))). (N, inputs, H, W) -> (N, inputs + growth, H, W). The paper's improvement block adds to
    the last channels of its input, which are n; so nothing is padded or sliced.
    """

    def __init__(self, inputs: int, growth: int, convolve: Convolution) -> None:
        super().__init__()
        self.dense = normalised(inputs, growth, convolve)
        self.improve = normalised(inputs + growth, growth, convolve)

    def forward(self, x: Tensor) -> Tensor:
        new = self.dense(x)
        return torch.cat([x, new + self.improve(torch.cat([x, new], 1))], 1)


def grouped_stem(channels: int) -> nn.Module:
    """Three 3x3 convolutions, the last two grouped, and a max pool: (N, 3, H, W) -> (N, 2 * channels, H / 4, W / 4)."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride, groups in ((3, 1, 2, 1), (channels, 1, 1, 4), (channels, 2, 1, 8)):
        conv = nn.Conv2d(inputs, outputs * channels, 3, stride, 1, groups=groups, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs * channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1))


def transition(inputs: int, outputs: int) -> nn.Module:
    """conv1x1(relu(pool(norm(x)))), all float. (N, inputs, H, W) -> (N, outputs, H / 2, W / 2)."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)
    )


class MeliusNet(nn.Module):
    """Stem, four sections with transitions between, batch norm, ReLU, global average, linear layer.

    (N, 3, H, W) -> logits (N, num_classes); H and W at least 32. depth: 22, 29, 42 or 59.
    """

    def __init__(self, depth: int, num_classes: int, width: float, convolve: Convolution) -> None:
        super().__init__()
        blocks, transitions = SIZES[depth]
        stem, growth = scaled(STEM, width), scaled(GROWTH, width)
        self.stem = grouped_stem(stem)
        channels = 2 * stem
        sections: list[nn.Module] = []
        for i, count in enumerate(blocks):
            for _ in range(count):
                sections.append(MeliusBlock(channels, growth, convolve))
                channels += growth
            if i < len(transitions):
                narrower = scaled(transitions[i], width)
                sections.append(transition(channels, narrower))
                channels = narrower
        self.sections = nn.Sequential(*sections)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.sections(self.stem(x))))
        return self.fc(x.mean((2, 3)))


def meliusnet(depth: int, binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """binary: false for the float counterpart, with ReLU for the sign. width: times the channels, to multiples of 8."""
    return MeliusNet(depth, num_classes, width, convolution if binary else convolutions.rectified)


def adabin_meliusnet59(num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """MeliusNet-59 with AdaBin's binarizers (Tu et al. 2022)."""
    return MeliusNet(59, num_classes, width, convolutions.adabin)
