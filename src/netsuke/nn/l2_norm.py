"""SSD's normalisation of a map whose features are larger than those of the maps behind it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class L2Norm(nn.Module):
    """The features of each pixel at length 1, times a learned scale a channel (Liu et al. 2015, ParseNet, section 3.3):

        y[c] = weight[c] * x[c] / sqrt(epsilon + sum over channels of x^2)

    (N, C, H, W) -> the same shape. weight, (C,), starts at `scale`, SSD's 20.
    """

    def __init__(self, channels: int, scale: float = 20.0, epsilon: float = 1e-10) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.epsilon + x.square().sum(1, keepdim=True)).rsqrt() * self.weight[:, None, None]

    def extra_repr(self) -> str:
        return str(len(self.weight))
