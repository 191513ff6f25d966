"""PokeBNN's nonlinearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netsuke.nn.maxout import Maxout


class DPReLU(nn.Module):
    """Two learned slopes and two learned shifts a channel (PokeBNN, Zhang et al. 2022; the published code):

        y = slope * (x - before) - after,    slope = positive where x >= before, else negative

    (N, C, H, W) -> the same shape. before, after: (1, C, 1, 1), start at 0; slopes start at 1 and 0.25.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.slopes = Maxout(channels)
        self.after = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.slopes(x - self.before) - self.after
