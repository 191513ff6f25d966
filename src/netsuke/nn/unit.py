"""What stands between two convolutions of a binary network, in one pass forward and two backward on a CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from netsuke.nn.adabin import AdaBinActivation
from netsuke.nn.kernels import CHANNELS, FAST, address, kernels
from netsuke.nn.maxout import Maxout


class Unit(NamedTuple):
    """norm -> + residual -> nonlinearity -> binarizer. The last two may be missing.

    bits_suffice: who reads the binarized map takes its bits, so that the map itself need not be written.
    """

    norm: nn.BatchNorm2d
    nonlinearity: Maxout | None
    binarizer: AdaBinActivation | None
    bits_suffice: bool = False


def unit(x: Tensor, residual: Tensor | None, parts: Unit) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """y = nonlinearity(norm(x) + residual), its binarized form, and the signs of that as bits.

    The last two are None without a binarizer, bits also where no compiled kernel ran or C is no multiple of 16; they
    are int16 (N, H, W, C / 16), bit i of a word for channel i. Where bits suffice, the binarized form is a
    placeholder of its shape, through which the gradient flows.

    x, residual, y: (N, C, H, W). Float32 and bfloat16 maps on a CPU, in channels_last, go through the compiled kernels,
    which keep x and the residual alone for the backward; others through the modules themselves. Both compute the same,
    up to rounding: where the modules round every step to bfloat16, the kernels round once.
    """
    if not _fast(x, residual, parts):
        y = parts.norm(x)
        y = y if residual is None else y + residual
        y = y if parts.nonlinearity is None else parts.nonlinearity(y)
        return y, None if parts.binarizer is None else parts.binarizer(y), None
    norm, shape, binary = parts.norm, parts.nonlinearity, parts.binarizer
    if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    y, a, bits = _Unit.apply(
        x, residual, norm.weight, norm.bias,
        shape and shape.pos_scale, shape and shape.neg_scale, binary and binary.alpha_a, binary and binary.beta_a,
        norm, binary is not None and binary.center == "published", parts.bits_suffice,
    )  # fmt: skip
    return (y, a, bits if bits.numel() else None) if binary is not None else (y, None, None)


def _fast(x: Tensor, residual: Tensor | None, parts: Unit) -> bool:
    norm, shape, binary = parts.norm, parts.nonlinearity, parts.binarizer
    per_channel = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
    per_channel += [shape.pos_scale, shape.neg_scale] if shape is not None else []
    scalars = [binary.alpha_a, binary.beta_a] if binary is not None else []
    return (
        kernels is not None
        and x.device.type == "cpu"
        and x.dtype in FAST
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > x.shape[1]
        and (residual is None or _alike(residual, x))
        and norm.momentum is not None
        and all(_floats(t, x.shape[1]) for t in per_channel if t is not None)
        and all(_floats(t, 1) for t in scalars)
        and not torch.compiler.is_compiling()
    )


def _alike(residual: Any, x: Tensor) -> bool:
    """A number may be added too, which the modules do."""
    return (
        isinstance(residual, Tensor)
        and residual.dtype == x.dtype
        and residual.shape == x.shape
        and residual.device == x.device
    )


def _floats(tensor: Tensor, count: int) -> bool:
    """Whether the kernels may read and write `count` numbers where the tensor begins."""
    return (
        tensor.dtype == torch.float32
        and tensor.numel() == count
        and tensor.is_contiguous()
        and tensor.device.type == "cpu"
    )


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, weight: Tensor | None, bias: Tensor | None,
        positive: Tensor | None, negative: Tensor | None, alpha: Tensor | None, beta: Tensor | None,
        norm: nn.BatchNorm2d, published: bool, bits_suffice: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        n, channels, h, w = x.shape
        moving = norm.training and norm.track_running_stats
        running = (norm.running_mean, norm.running_var) if moving else (None, None)
        if norm.training or norm.running_mean is None:
            mean, rstd = x.new_empty(2, channels, dtype=torch.float32).unbind()
        else:
            assert norm.running_var is not None
            mean, rstd = norm.running_mean.clone(), (norm.running_var + norm.eps).rsqrt()
        ctx.settings = {
            "pixels": n * h * w, "channels": channels, "half": x.dtype == torch.bfloat16,
            "batch": norm.training or norm.running_mean is None, "published": published, "epsilon": norm.eps,
            "momentum": norm.momentum,
        }  # fmt: skip
        tensors = (x, residual, mean, rstd, weight, bias, positive, negative, alpha, beta)
        words = channels // CHANNELS if alpha is not None and channels % CHANNELS == 0 else 0
        y, bits = torch.empty_like(x), torch.empty((n, h, w, words), dtype=torch.int16, device=x.device)
        if alpha is None or (bits_suffice and words):
            a, written = x.new_empty(1).expand(x.shape), None
        else:
            a = written = torch.empty_like(x)
        kernels.unit_forward(
            _arguments(ctx.settings, tensors, running), address(y), address(written), address(bits) if words else 0,
            torch.get_num_threads(),
        )  # fmt: skip
        ctx.mark_non_differentiable(bits)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return y, a, bits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x, residual, *rest = ctx.saved_tensors
        x = x.contiguous(memory_format=torch.channels_last)
        residual, grad_y, grad_a = (
            None if t is None else t.to(x.dtype).contiguous(memory_format=torch.channels_last)
            for t in (residual, *grads[:2])
        )
        parameters = rest[2:]
        grad_v, grad_x = torch.empty_like(x), torch.empty_like(x)
        own = [None if p is None else torch.empty_like(p) for p in parameters]
        kernels.unit_backward(
            _arguments(ctx.settings, (x, residual, *rest)), address(grad_y), address(grad_a), address(grad_v),
            address(grad_x), *map(address, own), torch.get_num_threads(),
        )  # fmt: skip
        return grad_x, None if residual is None else grad_v, *own, None, None, None


_NAMES = ("z", "r", "mean", "rstd", "weight", "bias", "positive", "negative", "alpha", "beta")


def _arguments(
    settings: dict[str, Any], tensors: tuple[Tensor | None, ...], running: tuple[Tensor | None, ...] = (None, None)
) -> dict[str, Any]:
    """What the kernels call a unit. Addresses are taken anew each time: saved tensors may come back as copies."""
    addresses = {name: address(tensor) for name, tensor in zip(_NAMES, tensors, strict=True)}
    return {**settings, **addresses, "running_mean": address(running[0]), "running_var": address(running[1])}
