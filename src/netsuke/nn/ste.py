"""Signs with a straight-through estimator (STE): forward sign(x) with sign(0) = +1, backward another slope."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def signs(bits: Tensor, like: Tensor) -> Tensor:
    """+1 where `bits`, else -1, in the dtype of `like`."""
    return bits.to(like.dtype).mul_(2).sub_(1)


class _SignEDE(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, k: float, t: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.k, ctx.t = k, t
        return signs(x >= 0, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        slope = (1 - torch.tanh(x * ctx.t).square()) * (ctx.k * ctx.t)
        return grads[0] * slope, None, None


def sign_ede(x: Tensor, k: float, t: float) -> Tensor:
    """Sign with the error decay estimator of IR-Net (Qin et al. 2020, section 3.3).

    forward   sign(x), sign(0) = +1
    backward  dy/dx = k * t * (1 - tanh(t * x)^2)

    x and the result have any one shape. k and t come from `progressive`: t rises from 1e-3 to 10 over training and
    k = max(1/t, 1), so the slope starts as the identity and ends close to the true sign.
    """
    return _SignEDE.apply(x, k, t)


class _SignPiecewiseQuadratic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return signs(x >= 0, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * piecewise_quadratic_slope(x)


def sign_piecewise_quadratic(x: Tensor) -> Tensor:
    """Sign with the piecewise quadratic estimator of Bi-Real Net (Liu et al. 2018, section 3.3).

    forward   sign(x), sign(0) = +1
    backward  dy/dx = 2 - 2|x| for |x| < 1, else 0
    """
    return _SignPiecewiseQuadratic.apply(x)


def piecewise_quadratic_slope(x: Tensor) -> Tensor:
    """2 - 2|x| for |x| < 1, else 0."""
    return (2 - 2 * x.abs()).clamp_min(0)


class _SignClipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return signs(x >= 0, x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * (x.abs() <= ctx.bound), None


def sign_clipped(x: Tensor, bound: float = 1.0) -> Tensor:
    """Sign with the clipped identity as estimator (Hubara et al. 2016, section 1.3).

    forward   sign(x), sign(0) = +1
    backward  dy/dx = 1 for |x| <= bound, else 0
    """
    return _SignClipped.apply(x, bound)


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
