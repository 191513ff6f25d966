"""A map times a gate, and times another map: squeeze and excitation, and BNext's attention, in one pass each way."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from netsuke.nn.kernels import FAST, address, kernels


def gated(x: Tensor, gate: Tensor, other: Tensor | None = None) -> Tensor:
    """x * gate * other. x, other: (N, C, H, W); gate: (N, C, 1, 1).

    Float32 and bfloat16 maps on a CPU, in channels_last, go through the compiled kernels, which round once.
    """
    if not _fast(x, gate, other):
        return x * gate if other is None else x * gate * other
    return _Product.apply(x, gate.float().contiguous(), other)


def _fast(x: Tensor, gate: Tensor, other: Tensor | None) -> bool:
    maps = [x] if other is None else [x, other]
    return (
        kernels is not None
        and x.dtype in FAST
        and x.dim() == 4
        and gate.shape == (*x.shape[:2], 1, 1)
        and gate.device.type == "cpu"
        and all(m.device.type == "cpu" and m.shape == x.shape and m.dtype == x.dtype for m in maps)
        and all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)
        and not torch.compiler.is_compiling()
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, other: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, gate, other)
        y = torch.empty_like(x)
        kernels.product(*_arguments(x, gate, other), address(y), torch.get_num_threads())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor | None]:
        x, gate, other = ctx.saved_tensors
        x, grad = (t.contiguous(memory_format=torch.channels_last) for t in (x, grads[0]))
        other = None if other is None else other.contiguous(memory_format=torch.channels_last)
        grad_x, grad_gate = torch.empty_like(x), torch.zeros_like(gate)
        grad_other = None if other is None else torch.empty_like(x)
        kernels.product_backward(
            *_arguments(x, gate, other), address(grad), address(grad_x), address(grad_gate), address(grad_other),
            torch.get_num_threads(),
        )  # fmt: skip
        return grad_x, grad_gate, grad_other


def _arguments(x: Tensor, gate: Tensor, other: Tensor | None) -> tuple[Any, ...]:
    shape = len(x), x.shape[2] * x.shape[3], x.shape[1]
    return shape, x.dtype == torch.bfloat16, address(x), address(gate), address(other)
