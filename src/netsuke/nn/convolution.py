"""The convolution of AdaBin's layers while they train: on a CPU, bits are counted forward and the weights' sets fused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.nn.adabin import AdaBinActivation, AdaBinWeight
from netsuke.nn.kernels import FAST, address, kernels
from netsuke.nn.layers import BinaryConv2d

CHANNELS = 16  # of a word of bits


def binary_convolution(layer: BinaryConv2d, a: Tensor, bits: Tensor | None = None) -> Tensor:
    """The convolution of `layer`, whose input is binarized already: a (N, C, H, W) -> (N, O, H', W').

    bits: the signs of a as int16 (N, H, W, C / 16), bit i of a word for channel i, where they are at hand. With them the
    forward counts bits: its sums are exact, and only the result is rounded to the type of a. Layers that are not
    AdaBin's, other devices and other types take the layer's own way.
    """
    if not _fast(layer, a):
        return layer.convolve(a)
    assert isinstance(layer.padding, tuple)
    fits = (
        bits is not None
        and type(layer.binary_a) is AdaBinActivation
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.out_channels % CHANNELS == 0
    )
    out = _BinaryConvolution.apply(a, bits if fits else None, layer.weight, layer)
    return out if layer.bias is None else out + layer.bias.to(out.dtype).view(-1, 1, 1)


def _fast(layer: BinaryConv2d, a: Tensor) -> bool:
    weight = layer.weight
    return (
        kernels is not None
        and type(layer.binary_w) is AdaBinWeight
        and a.device.type == "cpu"
        and a.dtype in FAST
        and a.is_contiguous(memory_format=torch.channels_last)
        and weight.dtype == torch.float32
        and (weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last))
        and layer.padding_mode == "zeros"
        and isinstance(layer.padding, tuple)
        and not torch.compiler.is_compiling()
    )


class _BinaryConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, bits: Tensor | None, weight: Tensor, layer: BinaryConv2d) -> Tensor:
        half, filters = a.dtype == torch.bfloat16, weight.shape[0]
        alpha, beta = weight.new_empty(2, filters).unbind()
        binary = torch.empty_like(weight, dtype=a.dtype)
        shape = (filters, weight.numel() // filters)
        kernels.weight_forward(shape, address(weight), half, address(alpha), address(beta), address(binary))
        ctx.save_for_backward(a, weight, binary, alpha, beta)
        ctx.layer, ctx.slope = layer, (layer.binary_w.k, layer.binary_w.t)
        if bits is None:
            return F.conv2d(a, binary, None, layer.stride, layer.padding, layer.dilation, layer.groups)
        return _count(a, bits, weight, alpha, beta, layer)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        a, weight, binary, alpha, beta = ctx.saved_tensors
        layer = ctx.layer
        grad_a, grad_binary, _ = torch.ops.aten.convolution_backward(
            grads[0].to(a.dtype), a, binary, None, layer.stride, layer.padding, layer.dilation, False, [0, 0],
            layer.groups, [ctx.needs_input_grad[0], ctx.needs_input_grad[2], False],
        )  # fmt: skip
        grad = None
        if grad_binary is not None:
            grad = torch.empty_like(weight)
            given = torch.empty_like(binary).copy_(grad_binary)  # in the weight's own order
            kernels.weight_backward(
                (weight.shape[0], weight.numel() // weight.shape[0]), address(weight), a.dtype == torch.bfloat16,
                address(alpha), address(beta), *ctx.slope, address(given), address(grad),
            )  # fmt: skip
        return grad_a, None, grad, None


def _count(a: Tensor, bits: Tensor, weight: Tensor, alpha: Tensor, beta: Tensor, layer: BinaryConv2d) -> Tensor:
    images, channels, height, width = a.shape
    (kernel_h, kernel_w), (stride_h, stride_w) = layer.kernel_size, layer.stride
    assert isinstance(layer.padding, tuple) and isinstance(layer.binary_a, AdaBinActivation)
    pad_h, pad_w = layer.padding
    out_h, out_w = (height + 2 * pad_h - kernel_h) // stride_h + 1, (width + 2 * pad_w - kernel_w) // stride_w + 1
    out = torch.empty(
        (images, len(weight), out_h, out_w), dtype=a.dtype, memory_format=torch.channels_last
    )
    binary_set = layer.binary_a.constants()
    kernels.binary_conv(
        (images, height, width, channels, out_h, out_w, len(weight)),
        (kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w), address(bits), address(weight), weight.stride(),
        address(alpha), address(beta), binary_set.alpha, binary_set.gamma, a.dtype == torch.bfloat16, address(out),
        torch.get_num_threads(),
    )  # fmt: skip
    return out
