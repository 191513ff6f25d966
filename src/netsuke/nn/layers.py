"""Convolution and linear layer with one-bit weights and activations. The binarizers are modules of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.nn.adabin import AdaBinActivation, AdaBinWeight
from netsuke.nn.binarizer import ActivationBinarizer, WeightBinarizer


def arguments_of(conv: nn.Conv2d) -> dict[str, Any]:
    """What a convolution of the same shape is made with."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    return {**{name: getattr(conv, name) for name in names}, "bias": conv.bias is not None}


class BinaryConv2d(nn.Conv2d):
    """A convolution whose weight and input are binarized: conv2d(a(x), alpha_w * s_w + beta_w) + bias.

    (N, C, H, W) -> (N, O, H', W'). `weight` is the latent float weight. binary_a, binary_w: the binarizers; AdaBin's
    when not given. Further arguments as for torch.nn.Conv2d, but padding_mode says what surrounds the binarized input:

        "zeros"      a real zero, in neither binary set
        "ones"       s = +1, what a zero becomes that is binarized after it was padded
        "replicate"  the nearest pixel
    """

    padding_mode: str  # type: ignore[assignment]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *args: Any,
        binary_a: ActivationBinarizer | None = None,
        binary_w: WeightBinarizer | None = None,
        padding_mode: str = "zeros",
        **kwargs: Any,
    ) -> None:
        kwargs["padding_mode"] = "zeros" if padding_mode == "ones" else padding_mode  # one that torch knows
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)
        self.padding_mode = padding_mode
        self.binary_a = binary_a if binary_a is not None else AdaBinActivation()
        self.binary_w = binary_w if binary_w is not None else AdaBinWeight()

    def forward(self, input: Tensor) -> Tensor:
        return self.convolve(self.binary_a(input))

    def convolve(self, activation: Tensor) -> Tensor:
        """The convolution of an input that is binarized already."""
        return self._conv_forward(activation, self.binary_w.values(self.weight), self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode != "ones":
            return super()._conv_forward(input, weight, bias)
        pads = self._reversed_padding_repeated_twice
        outside = F.pad(torch.zeros_like(input[:1, :1]), pads, value=1) * self.binary_a.one()
        return F.conv2d(F.pad(input, pads) + outside, weight, bias, self.stride, 0, self.dilation, self.groups)

    @classmethod
    def from_float(cls, conv: nn.Conv2d, binary_a: ActivationBinarizer, binary_w: WeightBinarizer) -> BinaryConv2d:
        """The same convolution, binarized: it takes over the weight and bias parameters themselves."""
        binary_a, binary_w = binary_a.to(conv.weight), binary_w.to(conv.weight)
        layer = cls(**arguments_of(conv), device="meta", binary_a=binary_a, binary_w=binary_w)
        layer.weight, layer.bias = conv.weight, conv.bias
        return layer.train(conv.training)


class BinaryLinear(nn.Linear):
    """A linear layer whose weight and input are binarized: linear(a(x), alpha_w * s_w + beta_w) + bias.

    (..., in_features) -> (..., out_features). Otherwise as BinaryConv2d.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *args: Any,
        binary_a: ActivationBinarizer | None = None,
        binary_w: WeightBinarizer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_features, out_features, *args, **kwargs)
        self.binary_a = binary_a if binary_a is not None else AdaBinActivation()
        self.binary_w = binary_w if binary_w is not None else AdaBinWeight()

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(self.binary_a(input), self.binary_w.values(self.weight), self.bias)

    @classmethod
    def from_float(cls, linear: nn.Linear, binary_a: ActivationBinarizer, binary_w: WeightBinarizer) -> BinaryLinear:
        """The same layer, binarized: it takes over the weight and bias parameters themselves."""
        layer = cls(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            device="meta",
            binary_a=binary_a.to(linear.weight),
            binary_w=binary_w.to(linear.weight),
        )
        layer.weight, layer.bias = linear.weight, linear.bias
        return layer.train(linear.training)
