"""Signs of weights with the clipped straight-through estimator: plain, and with XNOR-Net's scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from netsuke.nn.binarizer import WeightBinarizer, WeightSet
from netsuke.nn.ste import sign_clipped, signs


class SignWeight(WeightBinarizer):
    """w_b = sign(w), sign(0) = +1; dw_b/dw = 1 for |w| <= bound, else 0. Training keeps latent weights in it.

    As in Real-to-Binary Net (Martinez et al. 2020), whose scale comes from the data; MeliusNet's bound is 1.3.
    Weight (O, ...) -> WeightSet.
    """

    def __init__(self, bound: float = 1.0) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, weight: Tensor) -> WeightSet:
        if self.training:
            with torch.no_grad():
                weight.clamp_(-self.bound, self.bound)
        sign = sign_clipped(weight, self.bound)
        return WeightSet(sign, weight.new_ones(len(weight)), weight.new_zeros(len(weight)))

    def extra_repr(self) -> str:
        return f"bound={self.bound:g}"


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return _scale(weight) * signs(weight >= 0, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (weight,) = ctx.saved_tensors
        slope = _scale(weight) * (weight.abs() < 1) + 1 / weight[0].numel()
        return grads[0] * slope * (1 - 1 / weight.shape[1])


def _scale(weight: Tensor) -> Tensor:
    return weight.abs().mean(list(range(1, weight.dim())), keepdim=True)


class XnorWeight(WeightBinarizer):
    """XNOR-Net's weights (Rastegari et al. 2016, section 3.1), n weights a filter, C input channels:

        w_b = alpha * sign(w), sign(0) = +1      alpha = mean |w| of the filter
        dw_b/dw = (1/n + alpha * [|w| < 1]) * (1 - 1/C)

    The last factor is the published code's; section 3.2 has it without. As that code does, training takes the mean over
    the input channels from the latent weights and clamps them to [-1, 1], in place. Weight (O, C, ...) -> WeightSet.
    """

    def forward(self, weight: Tensor) -> WeightSet:
        alpha = _scale(weight.detach()).flatten()
        return WeightSet(signs(weight >= 0, weight), alpha, torch.zeros_like(alpha))

    def values(self, weight: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                weight.sub_(weight.mean(1, keepdim=True)).clamp_(-1, 1)
        return _Scaled.apply(weight)
