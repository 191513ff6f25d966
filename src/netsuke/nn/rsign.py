"""Signs of activations: at zero, or at a learned threshold a channel (ReActNet, Liu et al. 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.binarizer import ActivationBinarizer, ActivationSet
from netsuke.nn.ste import sign_clipped, signs


class Sign(ActivationBinarizer):
    """a = sign(x), sign(0) = +1; da/dx = 1 for |x| <= bound, else 0. x of any shape -> the same shape."""

    def __init__(self, bound: float = 1.0) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        return sign_clipped(x, self.bound)

    def constants(self) -> ActivationSet:
        return ActivationSet(torch.zeros(1), 1.0, 0.0)

    def extra_repr(self) -> str:
        return f"bound={self.bound:g}"


class _RSign(torch.autograd.Function):
    """Saves its input alone (which the residual path keeps anyway)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x, bias)
        ctx.bound = bound
        # x + b >= 0 without the sum: the same, and what an exported threshold does.
        return signs(x >= -_along_channels(bias, x), x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor | None, None]:
        x, bias = ctx.saved_tensors
        grad_x = grads[0] * ((x + _along_channels(bias, x)).abs() <= ctx.bound)
        grad_bias = None
        if ctx.needs_input_grad[1]:
            over = [d for d in range(x.dim()) if d != 1]
            grad_bias = grad_x.sum(over, dtype=bias.dtype).view_as(bias)
        return grad_x, grad_bias, None


def _along_channels(bias: Tensor, x: Tensor) -> Tensor:
    return bias.view((1, -1) + (1,) * (x.dim() - 2))


class RSign(ActivationBinarizer):
    """Sign with a learned bias a channel (Liu et al. 2020, equation 5, whose threshold is -bias):

        a = sign(x + bias), sign(0) = +1
        da/dx = da/dbias = 1 for |x + bias| <= bound, else 0

    bound = 1.5 is BNext's (Guo et al. 2022). (N, C, ...) -> the same shape. bias: (1, C, 1, 1), starts at 0.
    """

    def __init__(self, channels: int, bound: float = 1.5) -> None:
        super().__init__()
        self.bound = bound
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return _RSign.apply(x, self.bias, self.bound)

    def constants(self) -> ActivationSet:
        """Raises netsuke.Error where a bias is not finite."""
        bias = self.bias.detach().flatten()
        if not bool(torch.isfinite(bias).all()):
            raise Error("a bias of its RSign is not finite: training has diverged")
        return ActivationSet(0 - bias, 1.0, 0.0)

    def extra_repr(self) -> str:
        return f"{self.bias.numel()}, bound={self.bound:g}"
