"""Signs with a straight-through estimator (STE): forward sign(x) with sign(0) = +1, backward another slope."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

# x -> what the gradient is multiplied by, of the same shape.
Slope = Callable[[Tensor], Tensor]


def signs(bits: Tensor, like: Tensor) -> Tensor:
    """+1 where `bits`, else -1, in the dtype of `like`."""
    return bits.to(like.dtype).mul_(2).sub_(1)


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, slope: Slope, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return signs(x >= 0, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, Tensor]:
        (x,) = ctx.saved_tensors
        return None, grads[0] * ctx.slope(x)


def sign_with(slope: Slope, x: Tensor) -> Tensor:
    """sign(x), sign(0) = +1, of x's shape; dy/dx = slope(x)."""
    return _Sign.apply(slope, x)


def sign_ede(x: Tensor, k: float, t: float) -> Tensor:
    """Sign with the error decay estimator of IR-Net (Qin et al. 2020, section 3.3).

    forward   sign(x), sign(0) = +1
    backward  dy/dx = k * t * (1 - tanh(t * x)^2)

    x and the result have any one shape. k and t come from `progressive`: t rises from 1e-3 to 10 over training and
    k = max(1/t, 1), so the slope starts as the identity and ends close to the true sign.
    """
    return sign_with(lambda x: (1 - torch.tanh(x * t).square()) * (k * t), x)


def sign_piecewise_quadratic(x: Tensor) -> Tensor:
    """Sign with the piecewise quadratic estimator of Bi-Real Net (Liu et al. 2018, section 3.3).

    forward   sign(x), sign(0) = +1
    backward  dy/dx = 2 - 2|x| for |x| < 1, else 0
    """
    return sign_with(piecewise_quadratic_slope, x)


def piecewise_quadratic_slope(x: Tensor) -> Tensor:
    """2 - 2|x| for |x| < 1, else 0."""
    return (2 - 2 * x.abs()).clamp_min(0)


def sign_clipped(x: Tensor, bound: float = 1.0) -> Tensor:
    """Sign with the clipped identity as estimator (Hubara et al. 2016, section 1.3).

    forward   sign(x), sign(0) = +1
    backward  dy/dx = 1 for |x| <= bound, else 0
    """
    return sign_with(clipped_slope(bound), x)


def clipped_slope(bound: float) -> Slope:
    """1 for |x| <= bound, else 0."""
    return partial(_inside, bound)  # a module that holds it can be pickled


def _inside(bound: float, x: Tensor) -> Tensor:
    return x.abs() <= bound


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, latent: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[None, Tensor]:
        return None, grads[0]


def straight_through(value: Tensor, latent: Tensor) -> Tensor:
    """`value`, exactly; its gradient is that of `latent`, of the same shape."""
    return _StraightThrough.apply(value.detach(), latent)
