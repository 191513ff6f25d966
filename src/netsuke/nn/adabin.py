"""AdaBin's binarizers (Tu et al. 2022, "AdaBin: Improving Binary Neural Networks with Adaptive Binary Sets")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.binarizer import ActivationBinarizer, ActivationSet, WeightBinarizer, WeightSet
from netsuke.nn.ste import piecewise_quadratic_slope, sign_ede, signs

CENTERS = ("paper", "published")


class AdaBinWeight(WeightBinarizer):
    """Weight equalisation: mean and standard deviation of each filter are its binary set (section 3.2).

        beta_w = mean(w)        alpha_w = sqrt(mean((w - beta_w)^2))        s = sign((w - beta_w) / alpha_w)

    over the n weights of a filter. No learned parameter; gradients flow through mean and deviation, and through
    the sign by IR-Net's estimator with k and t (`nn.progressive` sets them). A constant filter has alpha_w = 0, s = +1.

    Weight (O, ...) -> WeightSet.
    """

    def __init__(self, k: float = 10.0, t: float = 0.1) -> None:
        super().__init__()
        self.k, self.t = k, t  # the published code's values when nothing sets them during training

    def forward(self, weight: Tensor) -> WeightSet:
        flat = weight.flatten(1)
        beta = flat.mean(1, keepdim=True)
        centred = flat - beta
        variance = centred.square().mean(1, keepdim=True)
        # The slope of sqrt at 0 is infinite: a constant filter takes a branch without it.
        constant = variance == 0
        alpha = variance.masked_fill(constant, 1).sqrt()
        sign = sign_ede(centred / alpha, self.k, self.t)
        return WeightSet(sign.view_as(weight), alpha.masked_fill(constant, 0).squeeze(1), beta.squeeze(1))

    def set_progress(self, progress: float) -> None:
        """t = 10^(-3 + 4 * progress), k = max(1/t, 1) (IR-Net, Qin et al. 2020, equation 9)."""
        if not 0 <= progress <= 1:
            raise Error(f"progress is {progress}, but it is the share of training done: give 0 to 1")
        self.t = 10.0 ** (-3 + 4 * progress)
        self.k = max(1 / self.t, 1.0)

    def extra_repr(self) -> str:
        return f"k={self.k:g}, t={self.t:g}"


class _AdaBinActivation(torch.autograd.Function):
    """Saves its input alone (which the residual path keeps anyway) and recomputes the rest."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, beta: Tensor, published: bool) -> Tensor:
        ctx.save_for_backward(x, alpha, beta)
        ctx.published = published
        gamma = alpha * beta if published else beta
        # (x - beta) / alpha >= 0 without the division, which could round a tiny negative number to -0.
        bits = (x - beta).mul_(torch.sign(alpha)) >= 0
        return torch.where(bits, gamma + alpha, gamma - alpha)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (g,) = grads
        x, alpha, beta = ctx.saved_tensors
        u = (x - beta) / alpha
        slope = piecewise_quadratic_slope(u)
        grad_x = g * slope if ctx.needs_input_grad[0] else None
        grad_alpha = grad_beta = None
        if ctx.needs_input_grad[1]:
            own = signs(u >= 0, x) - slope * u
            grad_alpha = (g * (own + beta if ctx.published else own)).sum()
        if ctx.needs_input_grad[2]:
            grad_beta = (g * ((alpha if ctx.published else 1) - slope)).sum()
        return grad_x, grad_alpha, grad_beta, None


def _share(x: Tensor, threshold: Tensor) -> float:
    """The share of x at or above the threshold."""
    return float((x >= threshold).float().mean())


class AdaBinActivation(ActivationBinarizer):
    """Adaptive binary set of an activation: a learned centre and half distance a layer (section 3.3).

        u = (x - beta_a) / alpha_a        a = alpha_a * sign(u) + gamma

    gamma = beta_a with center="paper" (equation 4), alpha_a * beta_a with center="published" (the published code, and
    so its checkpoints). The backward of sign is Bi-Real's piecewise quadratic f'(u) = max(2 - 2|u|, 0):

        da/dx = f'(u)
        paper      da/dalpha = sign(u) - u f'(u)             da/dbeta = 1 - f'(u)
        published  da/dalpha = sign(u) + beta - u f'(u)      da/dbeta = alpha - f'(u)

    x of any shape -> the same shape. Learned: alpha_a (starts at 1), beta_a (starts at 0), scalars.
    """

    def __init__(self, center: str = "paper") -> None:
        super().__init__()
        if center not in CENTERS:
            raise Error(f"center is {center!r}: use one of {', '.join(CENTERS)}")
        self.center = center
        self.alpha_a = nn.Parameter(torch.tensor(1.0))
        self.beta_a = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return _AdaBinActivation.apply(x, self.alpha_a, self.beta_a, self.center == "published")

    def constants(self) -> ActivationSet:
        """Raises netsuke.Error where alpha_a is 0 or a value is not finite: they describe no binary set."""
        alpha, beta = float(self.alpha_a.detach()), float(self.beta_a.detach())
        if alpha == 0 or not (abs(alpha) < float("inf") and abs(beta) < float("inf")):
            raise Error(f"alpha_a = {alpha:g}, beta_a = {beta:g} is no binary set: alpha_a must be finite and not 0")
        gamma = alpha * beta if self.center == "published" else beta
        return ActivationSet(self.beta_a.detach().reshape(1).clone(), alpha, gamma)

    def one(self) -> Tensor:
        """alpha_a + gamma, with its gradient."""
        return self.alpha_a + (self.alpha_a * self.beta_a if self.center == "published" else self.beta_a)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """beta_a = the mean of x, alpha_a = mean |x - beta_a|, which minimises the squared error given beta_a.

        Not the median: behind a ReLU it is often 0, and a threshold of 0 makes every bit 1. Where the mean would leave
        over nine tenths of x on one side (a few large values), beta_a is what splits x most evenly near the median.
        Raises netsuke.Error where x is not finite.
        """
        flat = x.detach().flatten().float()
        if not bool(torch.isfinite(flat).all()):
            raise Error("the calibration batch makes values that are not finite: check its normalisation")
        beta = flat.mean()
        if not 0.1 <= _share(flat, beta) <= 0.9:
            median = flat.median()
            above = flat[flat > median]
            candidates = [median, above.min()] if len(above) else [median]
            beta = min(candidates, key=lambda c: abs(_share(flat, c) - 0.5))
        alpha = (flat - beta).abs().mean()
        self.beta_a.fill_(beta)
        self.alpha_a.fill_(alpha if alpha > 0 else 1.0)

    def extra_repr(self) -> str:
        return f"center={self.center}"
