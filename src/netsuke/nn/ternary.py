"""Weights of three values, two of them trained (Zhu et al. 2017, "Trained Ternary Quantization"): a parametrization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error


class _Ternarized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, positive: Tensor, negative: Tensor, threshold: Tensor) -> Tensor:
        above, below = latent > threshold, latent < -threshold
        ctx.save_for_backward(above, below, positive, negative)
        return torch.where(above, positive, torch.where(below, -negative, latent.new_zeros(())))

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        above, below, positive, negative = ctx.saved_tensors
        grad: Tensor = grads[0]
        none = grad.new_zeros(())
        of_positive = torch.where(above, grad, none).sum()
        of_negative = -torch.where(below, grad, none).sum()
        return grad * torch.where(above, positive, torch.where(below, negative, 1.0)), of_positive, of_negative, None


def ternarized(latent: Tensor, positive: Tensor, negative: Tensor, threshold: Tensor) -> Tensor:
    """W_p where latent > threshold, -W_n where latent < -threshold, 0 between them: equation 6, of latent's shape.

    positive, negative, threshold: W_p, W_n and Delta, scalars. With dw the gradient of the result, those of W_p and W_n
    are the sum of dw over the first zone and minus the sum over the second; the paper's equation 7 prints both without
    the sign, its released code has it. That of latent is W_p dw, W_n dw, and dw between them (equation 8).
    """
    return _Ternarized.apply(latent, positive, negative, threshold)


class Ternary(nn.Module):
    """The weight as scale * W_p, 0 or -scale * W_n, by two thresholds at +-Delta of the tensor that it is made from.

    scale is fixed, the mean magnitude outside the thresholds at the start, so that the trained W_p and W_n begin near 1
    whatever the layer's weights are, as they do in the paper, whose latent weights are divided by their largest.

    weight: what it starts from, any shape. threshold: Delta as a share of max |latent|, 0 or more and below 1
    (equation 9; the paper has 0.05). sparsity: instead of it, the share of zeros that Delta makes, 0 or more, below 1.
    """

    scale: Tensor

    def __init__(self, weight: Tensor, threshold: float | None = 0.05, sparsity: float | None = None) -> None:
        super().__init__()
        if (threshold is None) == (sparsity is None):
            raise Error("a ternary weight takes one of threshold and sparsity")
        value = threshold if sparsity is None else sparsity
        assert value is not None
        if not 0 <= value < 1:
            raise Error(f"the {'threshold' if sparsity is None else 'sparsity'} is {value}: give 0 or more, below 1")
        self.threshold, self.sparsity = threshold, sparsity
        with torch.no_grad():
            delta = self.delta(weight)
            zones = [weight[weight > delta], -weight[weight < -delta]]
            outside = torch.cat(zones)
            scale = outside.mean() if outside.numel() else weight.new_tensor(1.0)
            starts = [zone.mean() / scale if zone.numel() else torch.ones_like(scale) for zone in zones]
        self.register_buffer("scale", scale.clone())
        self.positive, self.negative = (nn.Parameter(start.clone()) for start in starts)

    def delta(self, latent: Tensor) -> Tensor:
        """The threshold, a scalar."""
        size = latent.detach().abs()
        if self.threshold is not None:
            return self.threshold * size.amax()
        assert self.sparsity is not None
        zeros = round(self.sparsity * size.numel())
        return size.flatten().kthvalue(zeros).values if zeros else size.new_tensor(-1.0)

    def forward(self, latent: Tensor) -> Tensor:
        made = ternarized(latent, self.scale * self.positive, self.scale * self.negative, self.delta(latent))
        return made + 0.0  # zeros of one sign

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    def extra_repr(self) -> str:
        return f"sparsity={self.sparsity}" if self.threshold is None else f"threshold={self.threshold}"
