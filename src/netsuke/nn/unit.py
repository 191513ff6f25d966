"""What stands between two convolutions of a binary network, in one pass forward and two backward on a CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from netsuke.nn.adabin import AdaBinActivation
from netsuke.nn.kernels import CHANNELS, FAST, address, kernels
from netsuke.nn.maxout import Maxout
from netsuke.nn.rsign import RSign, Sign

BINARIZERS = (AdaBinActivation, RSign, Sign)


class Unit(NamedTuple):
    """norm -> + residual -> nonlinearity -> binarizer. Any may be missing.

    bits_suffice: who reads the binarized map takes its bits, so that the map itself need not be written.
    means: y's mean in each image is wanted too.
    """

    norm: nn.BatchNorm2d | None
    nonlinearity: Maxout | nn.PReLU | None
    binarizer: AdaBinActivation | RSign | Sign | None
    bits_suffice: bool = False
    means: bool = False

    def slopes(self) -> tuple[Tensor | None, Tensor | None]:
        """A channel each, of what is positive and of what is negative; None for 1."""
        if isinstance(self.nonlinearity, Maxout):
            return self.nonlinearity.pos_scale, self.nonlinearity.neg_scale
        return None, None if self.nonlinearity is None else self.nonlinearity.weight


class Made(NamedTuple):
    """What a unit makes of its input: y, the binarized y, the signs of that as bits, and the means of y.

    y (N, C, H, W). a: (N, C, H, W), or None without a binarizer; where bits suffice, a placeholder of that shape,
    through which the gradient flows. bits: int16 (N, H, W, C / 16), bit i of a word for channel i; None without a
    binarizer, where no compiled kernel ran and where C is no multiple of 16. means: (N, C, 1, 1), or None.
    """

    y: Tensor
    a: Tensor | None
    bits: Tensor | None
    means: Tensor | None


def unit(x: Tensor, residual: Tensor | None, parts: Unit) -> Made:
    """y = nonlinearity(norm(x) + residual), its binarized form, and what else `parts` asks for.

    x, residual: (N, C, H, W). Float32 and bfloat16 maps on a CPU, in channels_last, go through the compiled kernels,
    which keep x and the residual alone for the backward; others through the modules themselves. Both compute the same,
    up to rounding: where the modules round every step to bfloat16, the kernels round once.
    """
    if not _fast(x, residual, parts):
        y = x if parts.norm is None else parts.norm(x)
        y = y if residual is None else y + residual
        y = y if parts.nonlinearity is None else parts.nonlinearity(y)
        a = None if parts.binarizer is None else parts.binarizer(y)
        return Made(y, a, None, y.mean((2, 3), keepdim=True) if parts.means else None)
    norm, binary = parts.norm, parts.binarizer
    if norm is not None and norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    adaptive = binary if isinstance(binary, AdaBinActivation) else None
    y, a, bits, means = _Unit.apply(
        x, residual, norm and norm.weight, norm and norm.bias, *parts.slopes(), adaptive and adaptive.alpha_a,
        adaptive and adaptive.beta_a, _bias(binary, x), parts,
    )  # fmt: skip
    y = x if _keeps(parts, residual) else y
    return Made(
        y,
        None if binary is None else a,
        bits if bits.numel() else None,
        means[:, :, None, None] if parts.means else None,
    )


def _keeps(parts: Unit, residual: Tensor | None) -> bool:
    """Whether y is x, which the kernels then do not write again."""
    return parts.norm is None and parts.nonlinearity is None and residual is None


def _bias(binarizer: nn.Module | None, x: Tensor) -> Tensor | None:
    """What is added a channel before the sign is taken, for the binarizers that have a clipped estimator."""
    if isinstance(binarizer, RSign):
        return binarizer.bias
    return torch.zeros(x.shape[1]) if isinstance(binarizer, Sign) else None


def _fast(x: Tensor, residual: Tensor | None, parts: Unit) -> bool:
    norm, binary = parts.norm, parts.binarizer
    per_channel = [*parts.slopes()]
    per_channel += [norm.weight, norm.bias, norm.running_mean, norm.running_var] if norm is not None else []
    per_channel += [binary.bias] if isinstance(binary, RSign) else []
    scalars = [binary.alpha_a, binary.beta_a] if isinstance(binary, AdaBinActivation) else []
    return (
        kernels is not None
        and x.device.type == "cpu"
        and x.dtype in FAST
        and x.dim() == 4
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.numel() > x.shape[1]
        and (residual is None or _alike(residual, x))
        and (norm is None or norm.momentum is not None)
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
        rsign: Tensor | None, parts: Unit,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        norm, binarizer = parts.norm, parts.binarizer
        if residual is not None:
            residual = residual.contiguous(memory_format=torch.channels_last)
        n, channels, h, w = x.shape
        batch, mean, rstd, running = _statistics(norm, channels)
        ctx.settings = {
            "images": n, "image": h * w, "channels": channels, "half": x.dtype == torch.bfloat16, "batch": batch,
            "epsilon": 0.0 if norm is None else norm.eps, "momentum": 0.0 if norm is None else norm.momentum,
            "published": getattr(binarizer, "center", "") == "published", "bound": getattr(binarizer, "bound", 0.0),
        }  # fmt: skip
        tensors = (x, residual, mean, rstd, weight, bias, positive, negative, alpha, beta, rsign)
        words = channels // CHANNELS if binarizer is not None and channels % CHANNELS == 0 else 0
        bits = torch.empty((n, h, w, words), dtype=torch.int16, device=x.device)
        same = _keeps(parts, residual)
        means = torch.empty((n, channels) if parts.means else 0)
        y = x.new_empty(1).expand(x.shape) if same else torch.empty_like(x)
        if binarizer is None or (parts.bits_suffice and words):
            a, written = x.new_empty(1).expand(x.shape), None
        else:
            a = written = torch.empty_like(x)
        kernels.unit_forward(
            _arguments(ctx.settings, tensors, running), 0 if same else address(y), address(written),
            address(bits) if words else 0, address(means) if parts.means else 0, torch.get_num_threads(),
        )  # fmt: skip
        ctx.normalises = norm is not None
        ctx.mark_non_differentiable(bits)
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return y, a, bits, means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x, residual, *rest = ctx.saved_tensors
        x = x.contiguous(memory_format=torch.channels_last)
        residual, grad_y, grad_a = (
            None if t is None else t.to(x.dtype).contiguous(memory_format=torch.channels_last)
            for t in (residual, *grads[:2])
        )
        grad_means = None if grads[3] is None else grads[3].float().contiguous()
        parameters = rest[2:]
        grad_v = torch.empty_like(x)
        grad_x = torch.empty_like(x) if ctx.normalises else None
        own = [None if p is None else torch.empty_like(p) for p in parameters]
        kernels.unit_backward(
            _arguments(ctx.settings, (x, residual, *rest)), address(grad_y), address(grad_a), address(grad_means),
            address(grad_v), address(grad_x), *map(address, own), torch.get_num_threads(),
        )  # fmt: skip
        grad_x = grad_v if grad_x is None else grad_x
        return grad_x, None if residual is None else grad_v, *own, None


def _statistics(norm: nn.BatchNorm2d | None, channels: int) -> tuple[bool, Tensor, Tensor, tuple[Any, Any]]:
    """Whether they are the batch's, mean and 1 / deviation (which are then made), and the running ones that move."""
    if norm is None:
        return False, torch.zeros(channels), torch.ones(channels), (None, None)
    moving = norm.training and norm.track_running_stats
    running = (norm.running_mean, norm.running_var) if moving else (None, None)
    if norm.training or norm.running_mean is None:
        mean, rstd = torch.empty(2, channels).unbind()
        return True, mean, rstd, running
    assert norm.running_var is not None
    return False, norm.running_mean.clone(), (norm.running_var + norm.eps).rsqrt(), running


_NAMES = ("z", "r", "mean", "rstd", "weight", "bias", "positive", "negative", "alpha", "beta", "rsign")


def _arguments(
    settings: dict[str, Any], tensors: tuple[Tensor | None, ...], running: tuple[Tensor | None, ...] = (None, None)
) -> dict[str, Any]:
    """What the kernels call a unit. Addresses are taken anew each time: saved tensors may come back as copies."""
    addresses = {name: address(tensor) for name, tensor in zip(_NAMES, tensors, strict=True)}
    return {**settings, **addresses, "running_mean": address(running[0]), "running_var": address(running[1])}
