"""The convolution of binary layers while they train: on a CPU, bits are counted forward and kept for the backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from netsuke.nn.adabin import AdaBinActivation, AdaBinWeight
from netsuke.nn.kernels import CHANNELS, FAST, address, kernels
from netsuke.nn.layers import BinaryConv2d
from netsuke.nn.unit import BINARIZERS


def reads_bits(layer: BinaryConv2d) -> bool:
    """Whether `binary_convolution` of this layer can do with the bits of its input alone."""
    return (
        kernels is not None
        and type(layer.binary_a) in BINARIZERS
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and layer.in_channels % CHANNELS == 0
        and layer.out_channels % CHANNELS == 0
    )


def binary_convolution(layer: BinaryConv2d, a: Tensor, bits: Tensor | None = None) -> Tensor:
    """The convolution of `layer`, whose input is binarized already: a (N, C, H, W) -> (N, O, H', W').

    bits: the signs of a as int16 (N, H, W, C / 16), bit i of a word for channel i, where they are at hand; if
    `reads_bits(layer)`, a is then a placeholder. With them the forward counts bits: its sums are exact, and only the
    result is rounded to the type of a; and bits are all that is kept for the backward.
    """
    bits = bits if reads_bits(layer) else None
    weight, alpha = layer.weight, None
    adaptive = type(layer.binary_w) is AdaBinWeight
    if not adaptive:
        weight = layer.binary_w.values(layer.weight)
        alpha = None if bits is None else _scale(weight)
    if not _fast(layer, a, bits, weight) or (not adaptive and alpha is None):
        a = a if bits is None else _expand(a, bits, _set_of(layer))
        return layer.convolve(a) if adaptive else layer._conv_forward(a, weight.to(a.dtype), layer.bias)
    out = _BinaryConvolution.apply(a, bits, weight, alpha, layer)
    return out if layer.bias is None else out + layer.bias.to(out.dtype).view(-1, 1, 1)


def _scale(values: Tensor) -> Tensor | None:
    """The one number a filter that its weights are, but for their signs; None where there is none, as in BNext's soft
    weights."""
    magnitude = values.detach().flatten(1).abs()
    alpha = magnitude[:, 0].contiguous()
    return alpha if bool((magnitude == alpha[:, None]).all()) else None


def _fast(layer: BinaryConv2d, a: Tensor, bits: Tensor | None, weight: Tensor) -> bool:
    return (
        kernels is not None
        and a.device.type == "cpu"
        and a.dtype in FAST
        and (bits is not None or a.is_contiguous(memory_format=torch.channels_last))
        and a.dim() == 4
        and a.shape[1] == layer.in_channels
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and (weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last))
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and (bits is None or min(_sizes(layer, a)) > 0)
        and not torch.compiler.is_compiling()
    )


class _Set(NamedTuple):
    """a = high where the bit is 1, else low; alpha and gamma as in `ActivationSet`."""

    alpha: float
    gamma: float

    @property
    def high(self) -> float:
        return self.gamma + self.alpha

    @property
    def low(self) -> float:
        return self.gamma - self.alpha


def _set_of(layer: BinaryConv2d) -> _Set:
    """Unlike `constants` it checks nothing: numbers that are not finite run on to the loss, where a loop looks."""
    if not isinstance(layer.binary_a, AdaBinActivation):
        return _Set(1.0, 0.0)
    alpha, beta = layer.binary_a.alpha_a.item(), layer.binary_a.beta_a.item()
    return _Set(alpha, alpha * beta if layer.binary_a.center == "published" else beta)


class _Expand(torch.autograd.Function):
    """The binarized map out of its bits; its gradient is the placeholder's."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, bits: Tensor, high: float, low: float) -> Tensor:
        return _expanded(a.shape, a.dtype, bits, high, low)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        return grads[0], None, None, None


def _expanded(shape: Sequence[int], dtype: torch.dtype, bits: Tensor, high: float, low: float) -> Tensor:
    out = torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
    half = dtype == torch.bfloat16
    kernels.expand(address(bits), bits.numel(), half, high, low, address(out), torch.get_num_threads())
    return out


def _expand(a: Tensor, bits: Tensor, binary: _Set) -> Tensor:
    return _Expand.apply(a, bits, binary.high, binary.low)


class _BinaryConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, bits: Tensor | None, weight: Tensor, alpha: Tensor | None, layer: BinaryConv2d
    ) -> Tensor:
        """alpha: where the weight is binarized already, what it is but for the signs; AdaBin's is binarized here."""
        filters, half = len(weight), a.dtype == torch.bfloat16
        ctx.layer, ctx.adaptive, beta = layer, alpha is None, weight.new_zeros(filters)
        if alpha is None:
            alpha, ctx.slope = weight.new_empty(filters), (layer.binary_w.k, layer.binary_w.t)
        if bits is None:
            binary = _binarize(weight, a.dtype, alpha, beta)
            ctx.save_for_backward(a, weight, alpha, beta, binary)
            ctx.shapes = ctx.chosen = None
            return F.conv2d(a, binary, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        if ctx.adaptive:
            kernels.weight_forward(_rows(weight), address(weight), half, address(alpha), address(beta), 0)
        ctx.save_for_backward(bits, weight, alpha, beta)
        ctx.chosen = chosen = _set_of(layer)
        images, channels, height, width = a.shape
        sizes = _sizes(layer, a)
        ctx.shapes = (images, height, width, channels, *sizes, filters), _kernel(layer)
        out = torch.empty((images, filters, *sizes), dtype=a.dtype, device=a.device, memory_format=torch.channels_last)
        kernels.binary_conv(
            *ctx.shapes, address(bits), address(weight), weight.stride(), address(alpha), address(beta), chosen.alpha,
            chosen.gamma, half, address(out), torch.get_num_threads(),
        )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        given, weight, alpha, beta, *binary = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        of_a, of_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[2]
        if ctx.chosen is None:
            a = given.contiguous(memory_format=torch.channels_last)
            grad_a, made = _gradients(ctx.layer, grad, a, binary[0], of_a, of_weight)
        else:
            grad_a = _input_gradient(ctx, grad, weight, alpha, beta) if of_a else None
            made = _weight_gradient(ctx, grad, given, weight) if of_weight else None
        if made is None or not ctx.adaptive:
            return grad_a, None, made, None, None
        if made.dtype != weight.dtype or made.stride() != weight.stride():
            made = torch.empty_like(weight).copy_(made)
        result = torch.empty_like(weight)
        kernels.weight_backward(
            _rows(weight), address(weight), address(alpha), address(beta), *ctx.slope, address(made), address(result)
        )
        return grad_a, None, result, None, None


def _rows(weight: Tensor) -> tuple[int, int]:
    return len(weight), weight.numel() // len(weight)


def _binarize(weight: Tensor, dtype: torch.dtype, alpha: Tensor, beta: Tensor) -> Tensor:
    binary = torch.empty_like(weight, dtype=dtype)
    half = dtype == torch.bfloat16
    kernels.weight_forward(_rows(weight), address(weight), half, address(alpha), address(beta), address(binary))
    return binary


def _gradients(
    layer: BinaryConv2d, grad: Tensor, a: Tensor, binary: Tensor, of_a: bool, of_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Of the map and of the binarized weight, by PyTorch."""
    grad_a, grad_binary, _ = torch.ops.aten.convolution_backward(
        grad, a, binary, None, layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups,
        [of_a, of_weight, False],
    )  # fmt: skip
    return grad_a, grad_binary


def _input_gradient(ctx: Any, grad: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor) -> Tensor | None:
    images, height, width, channels, *_ = ctx.shapes[0]
    out = torch.empty((images, channels, height, width), dtype=grad.dtype, memory_format=torch.channels_last)
    if not kernels.has_input_gradient():
        binary = weight.to(grad.dtype)
        if ctx.adaptive:
            binary = _binarize(weight, grad.dtype, torch.empty_like(alpha), torch.empty_like(beta))
        return _gradients(ctx.layer, grad, out, binary, True, False)[0]  # PyTorch asks `out` for its shape alone
    kernels.input_gradient(
        *ctx.shapes, address(grad), address(weight), weight.stride(), address(alpha), address(beta),
        grad.dtype == torch.bfloat16, address(out), torch.get_num_threads(),
    )  # fmt: skip
    return out


def _weight_gradient(ctx: Any, grad: Tensor, bits: Tensor, weight: Tensor) -> Tensor:
    """Of the binarized weight."""
    made = torch.empty_like(weight)
    kernels.weight_gradient(
        *ctx.shapes, address(bits), ctx.chosen.high, ctx.chosen.low, grad.dtype == torch.bfloat16, address(grad),
        address(made), made.stride(), torch.get_num_threads(),
    )  # fmt: skip
    return made


def _sizes(layer: BinaryConv2d, a: Tensor) -> tuple[int, int]:
    """(H', W'), where the layer has no dilation; below 1 where the kernel is larger than the padded map."""
    kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w = _kernel(layer)
    height, width = a.shape[2:]
    return (height + 2 * pad_h - kernel_h) // stride_h + 1, (width + 2 * pad_w - kernel_w) // stride_w + 1


def _kernel(layer: BinaryConv2d) -> tuple[int, ...]:
    assert isinstance(layer.padding, tuple)
    return (*layer.kernel_size, *layer.stride, *layer.padding)
