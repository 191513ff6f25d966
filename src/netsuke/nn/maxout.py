"""AdaBin's nonlinearity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _TwoSlope(torch.autograd.Function):
    """Saves its input and the slopes, where a composition of relus would save four maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        ctx.save_for_backward(x, positive, negative)
        return torch.where(x >= 0, x * positive, x * negative)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor]:
        (g,) = grads
        x, positive, negative = ctx.saved_tensors
        above = x > 0
        # At exactly 0 both relus of the formula have slope 0.
        grad_x = torch.where(above, g * positive, torch.where(x < 0, g * negative, 0))
        gx = g * x
        over = [d for d in range(x.dim()) if d != 1]
        grad_positive = torch.where(above, gx, 0).sum(over).view_as(positive)
        grad_negative = torch.where(above, 0, gx).sum(over).view_as(negative)
        return grad_x, grad_positive, grad_negative


class Maxout(nn.Module):
    """Two learned slopes a channel (Tu et al. 2022, section 3.4):

        y = pos_scale * max(x, 0) - neg_scale * max(-x, 0)

    (N, C, ...) -> the same shape. pos_scale starts at 1, neg_scale at 0.25, both of shape (C,).
    """

    def __init__(self, channels: int, neg_init: float = 0.25, pos_init: float = 1.0) -> None:
        super().__init__()
        self.neg_scale = nn.Parameter(torch.full((channels,), neg_init))
        self.pos_scale = nn.Parameter(torch.full((channels,), pos_init))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return _TwoSlope.apply(x, self.pos_scale.view(shape), self.neg_scale.view(shape))

    def extra_repr(self) -> str:
        return str(len(self.pos_scale))
