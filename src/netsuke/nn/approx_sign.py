"""The sign of Bi-Real Net's activations, and of ReActNet's, whose published code has the same estimator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.binarizer import ActivationBinarizer, ActivationSet
from netsuke.nn.ste import piecewise_quadratic_slope, sign_piecewise_quadratic, signs


class ApproxSign(ActivationBinarizer):
    """Sign with the piecewise quadratic estimator (Bi-Real Net, Liu et al. 2018, section 3.3):

        a = sign(x), sign(0) = +1        da/dx = 2 - 2|x| for |x| < 1, else 0

    x of any shape -> the same shape. No parameter.
    """

    def forward(self, x: Tensor) -> Tensor:
        return sign_piecewise_quadratic(x)

    def constants(self) -> ActivationSet:
        return ActivationSet(torch.zeros(1), 1.0, 0.0)


class _ShiftedSign(torch.autograd.Function):
    """Saves its input alone (which the residual path keeps anyway)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, bias)
        # x + b >= 0 without the sum: the same, and what an exported threshold does.
        return signs(x >= -bias, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor | None]:
        x, bias = ctx.saved_tensors
        grad_x = grads[0] * piecewise_quadratic_slope(x + bias)
        grad_bias = grad_x.sum((0, 2, 3), keepdim=True, dtype=bias.dtype) if ctx.needs_input_grad[1] else None
        return grad_x, grad_bias


class ApproxRSign(ActivationBinarizer):
    """ReActNet's RSign (Liu et al. 2020), whose threshold is -bias, with the estimator of its published code:

        a = sign(x + bias), sign(0) = +1        da/dx = da/dbias = 2 - 2|x + bias| for |x + bias| < 1, else 0

    `RSign` is the same forward with a clipped estimator. (N, C, H, W) -> the same shape. bias: (1, C, 1, 1), starts at
    0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return _ShiftedSign.apply(x, self.bias)

    def constants(self) -> ActivationSet:
        """Raises netsuke.Error where a bias is not finite."""
        bias = self.bias.detach().flatten()
        if not bool(torch.isfinite(bias).all()):
            raise Error("a bias of its RSign is not finite: training has diverged")
        return ActivationSet(0 - bias, 1.0, 0.0)

    def extra_repr(self) -> str:
        return str(self.bias.numel())
