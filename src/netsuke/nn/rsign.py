"""Signs of activations: at zero, or at a learned threshold a channel (ReActNet, Liu et al. 2020).

Each with two estimators: the clipped identity, and Bi-Real Net's piecewise quadratic one (`Approx...`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.binarizer import ActivationBinarizer, ActivationSet
from netsuke.nn.ste import Slope, clipped_slope, piecewise_quadratic_slope, sign_with, signs


class _Sign(ActivationBinarizer):
    """Sign at zero. slope: of the gradient."""

    def __init__(self, slope: Slope) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return sign_with(self.slope, x)

    def constants(self) -> ActivationSet:
        return ActivationSet(torch.zeros(1), 1.0, 0.0)


class Sign(_Sign):
    """a = sign(x), sign(0) = +1; da/dx = 1 for |x| <= bound, else 0. x of any shape -> the same shape."""

    def __init__(self, bound: float = 1.0) -> None:
        super().__init__(clipped_slope(bound))
        self.bound = bound

    def extra_repr(self) -> str:
        return f"bound={self.bound:g}"


class ApproxSign(_Sign):
    """Sign with the piecewise quadratic estimator (Bi-Real Net, Liu et al. 2018, section 3.3):

        a = sign(x), sign(0) = +1        da/dx = 2 - 2|x| for |x| < 1, else 0

    x of any shape -> the same shape. No parameter.
    """

    def __init__(self) -> None:
        super().__init__(piecewise_quadratic_slope)


class _ShiftedSign(torch.autograd.Function):
    """Saves its input alone (which the residual path keeps anyway)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, slope: Slope) -> Tensor:
        ctx.save_for_backward(x, bias)
        ctx.slope = slope
        # x + b >= 0 without the sum: the same, and what an exported threshold does.
        return signs(x >= -_along_channels(bias, x), x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor | None, None]:
        x, bias = ctx.saved_tensors
        grad_x = grads[0] * ctx.slope(x + _along_channels(bias, x))
        grad_bias = None
        if ctx.needs_input_grad[1]:
            over = [d for d in range(x.dim()) if d != 1]
            grad_bias = grad_x.sum(over, dtype=bias.dtype).view_as(bias)
        return grad_x, grad_bias, None


def _along_channels(bias: Tensor, x: Tensor) -> Tensor:
    return bias.view((1, -1) + (1,) * (x.dim() - 2))


class _BiasedSign(ActivationBinarizer):
    """Sign with a learned bias a channel. slope: of the gradient."""

    def __init__(self, channels: int, slope: Slope) -> None:
        super().__init__()
        self.slope = slope
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return _ShiftedSign.apply(x, self.bias, self.slope)

    def constants(self) -> ActivationSet:
        """Raises netsuke.Error where a bias is not finite."""
        bias = self.bias.detach().flatten()
        if not bool(torch.isfinite(bias).all()):
            raise Error("a bias of its RSign is not finite: training has diverged")
        return ActivationSet(0 - bias, 1.0, 0.0)

    def extra_repr(self) -> str:
        return str(self.bias.numel())


class RSign(_BiasedSign):
    """Sign with a learned bias a channel (Liu et al. 2020, equation 5, whose threshold is -bias):

        a = sign(x + bias), sign(0) = +1
        da/dx = da/dbias = 1 for |x + bias| <= bound, else 0

    bound = 1.5 is BNext's (Guo et al. 2022). (N, C, ...) -> the same shape. bias: (1, C, 1, 1), starts at 0.
    """

    def __init__(self, channels: int, bound: float = 1.5) -> None:
        super().__init__(channels, clipped_slope(bound))
        self.bound = bound

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bound={self.bound:g}"


class ApproxRSign(_BiasedSign):
    """RSign with the estimator of ReActNet's published code, Bi-Real Net's:

        a = sign(x + bias), sign(0) = +1        da/dx = da/dbias = 2 - 2|x + bias| for |x + bias| < 1, else 0

    (N, C, ...) -> the same shape. bias: (1, C, 1, 1), starts at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, piecewise_quadratic_slope)
