"""ReActNet's nonlinearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RPReLU(nn.Module):
    """PReLU between two learned shifts a channel (ReActNet, Liu et al. 2020):

        y = prelu(x + before) + after

    (N, C, H, W) -> the same shape. before, after: (1, C, 1, 1), start at 0; slopes
    of prelu: (C,), start at 0.25.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.prelu = nn.PReLU(channels)
        self.after = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(x + self.before) + self.after
