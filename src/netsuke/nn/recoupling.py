"""Info-Recoupling: a channel gate that sees what came before a binary convolution and what came after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATIO = 8  # of the channels of a gate to those inside it


class ChannelGate(nn.Module):
    """Squeeze and excitation behind the pooling (Hu et al. 2018): sigmoid(W2 relu(W1 x)), 1x1 convolutions.

    (N, inputs, 1, 1), means of a map -> (N, outputs, 1, 1), factors between 0 and 1; inputs / 8 channels inside.
    hard: min(max(s + 3, 0), 6) / 6 for the sigmoid of s.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, hard: bool = False) -> None:
        super().__init__()
        self.hard = hard
        self.reduce = nn.Conv2d(inputs, inputs // RATIO, 1, bias=bias)
        self.expand = nn.Conv2d(inputs // RATIO, outputs, 1, bias=bias)

    def forward(self, means: Tensor) -> Tensor:
        x = self.expand(F.relu(self.reduce(means)))
        return F.hardsigmoid(x) if self.hard else torch.sigmoid(x)


class InfoRecoupling(nn.Module):
    """BNext's gate on the result y of a binary convolution that read x (Guo et al. 2022):

        g(s * x + (1 - s) * y) * y,    g = squeeze and excitation of the global average, s learned a channel

    The average is linear: it is taken of x and of y, and the map s * x + (1 - s) * y is never made. So x need not be
    of y's size; an average pool of x whose windows tile it gives the same. s starts at 0.5 and is clamped to [0, 1] in
    training, in place.

    x (N, C, H, W), y (N, C, H', W') -> (N, C, H', W').
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = ChannelGate(channels, channels)
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.5))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.factors(x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)) * y

    def factors(self, x: Tensor, y: Tensor) -> Tensor:
        """g, from the means of both maps: all (N, C, 1, 1)."""
        if self.training:
            with torch.no_grad():
                self.scale.clamp_(0, 1)
        means = self.scale * x + (1 - self.scale) * y
        return self.gate(means)
