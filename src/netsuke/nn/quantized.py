"""Convolution and linear layer that train as the 8- or 4-bit ones of a file: what a file rounds, they round."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.artifact.contract import MAX_INT8_WINDOW, Error
from netsuke.nn.coding import SMALLEST_SCALE
from netsuke.nn.layers import arguments_of
from netsuke.nn.ste import straight_through

FRACTIONS = tuple(n / 64 for n in range(64, 31, -1))
TERNARY_MOST = 64  # sums of two products of such a weight and a code fit 16 bits: engines without an 8-bit dot product


def fits(weight: Any) -> bool:
    """Whether an 8-bit layer may have windows of this weight, (O, ...)."""
    return prod(weight.shape[1:]) <= MAX_INT8_WINDOW


def quantize_weight(weight: Tensor, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Codes, int8 of the weight's shape (O, ...), and their scales, float32 (O,). Computed in float64.

    One symmetric scale an output channel: max |w| / 127 for weights of -127 to 127 (Krishnamoorthi 2018, "Quantizing
    deep convolutional networks for efficient inference", section 3.1). Of 4 bits, -7 to 7, the scale of a grid below
    max |w| / 7 that has the least squared error: so few steps are better spent on the many small weights.
    A channel of zeros has the scale 1.

    A ternary layer, which has no numbers but 0 and two others, keeps three codes of 8 bits: all its channels have one
    scale, of which the larger is 64 and the other rounded.
    """
    if bits == 8 and is_ternary(weight):
        return _quantize_ternary(weight)
    most = (1 << (bits - 1)) - 1
    rows = weight.detach().double().flatten(1)
    largest = rows.abs().amax(1)
    best = torch.ones_like(largest, dtype=torch.float32)
    least = torch.full_like(largest, torch.inf)
    for fraction in FRACTIONS if bits < 8 else (1.0,):
        scale = (fraction * largest / most).float()
        scale = torch.where(scale < SMALLEST_SCALE, 1.0, scale)
        wide = scale.double()[:, None]
        error = ((rows / wide).round().clamp(-most, most) * wide - rows).square().sum(1)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    codes = (rows / best.double()[:, None]).round().clamp(-most, most)
    return codes.to(torch.int8).view(weight.shape), best


def is_ternary(weight: Tensor) -> bool:
    """Whether a weight has no numbers but 0 and two others, its largest and its least, and enough of them to say so."""
    w = weight.detach()
    return w.numel() >= 16 and bool(((w == w.amax()) | (w == w.amin()) | (w == 0)).all())


def _quantize_ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    wide = weight.detach().double()
    scale = (wide.abs().amax() / TERNARY_MOST).float()
    scale = torch.where(scale < SMALLEST_SCALE, 1.0, scale)
    codes = (wide / scale.double()).round().clamp(-TERNARY_MOST, TERNARY_MOST)
    return codes.to(torch.int8), scale.expand(len(weight)).clone()


def fake_quantize(x: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """scale * (q - zero) with q = clamp(round(x / scale + zero), 0, 2^bits - 1), of x's shape and type.

    The rounding passes gradients on; what is clipped has none. scale, zero: one number each, zero a whole one.
    """
    t = (x * scale.reciprocal() + zero).clamp(0, (1 << bits) - 1)
    return (straight_through(t.round(), t) - zero) * scale


class ActivationQuantizer(nn.Module):
    """The activation as its codes of 8 or 4 bits stand for it: see `fake_quantize`. Any shape.

    The step is trained: its gradient is that of LSQ (Esser et al. 2020, "Learned Step Size Quantization", equation 3),
    divided by sqrt(numbers in x * (2^bits - 1)) as section 2.2 has it. The parameter is log2 of the step over the one
    it started from: so the step stays positive and moves by factors (Jain et al. 2020, "Trained Quantization
    Thresholds", train log2 of a threshold), and weight decay pulls it to its start. The code of 0 stays.
    """

    first: Tensor
    zero: Tensor

    def __init__(self, bits: int) -> None:
        super().__init__()
        if bits not in (4, 8):
            raise Error(f"bits is {bits!r}: a file has codes of 4 or 8 bits")
        self.bits = bits
        self.log_factor = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("first", torch.tensor(torch.nan))
        self.register_buffer("zero", torch.tensor(0.0))

    def start(self, scale: float, zero: int) -> None:
        """Begin with this step and this code of 0."""
        with torch.no_grad():
            self.log_factor.zero_()
            self.first.fill_(scale)
            self.zero.fill_(zero)

    def forward(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        slow = (x.numel() * ((1 << self.bits) - 1)) ** -0.5
        factor = (self.log_factor.detach() + slow * (self.log_factor - self.log_factor.detach())).exp2()
        return fake_quantize(wide, (self.first * factor).to(wide), self.zero.to(wide), self.bits).to(x.dtype)

    def constants(self) -> tuple[float, int]:
        """Scale, a float32, and zero point. Raises netsuke.Error where they have not been set, or training diverged."""
        scale = self.first * self.log_factor.detach().exp2()
        if not bool(torch.isfinite(scale)):
            raise Error("its range is not set: quantize the model with calibration images, or load trained weights")
        return float(scale.float()), int(self.zero)

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


def fake_quantize_weight(weight: Tensor, bits: int) -> Tensor:
    """The weight as its codes stand for it; the gradient passes as if nothing were rounded."""
    codes, scale = quantize_weight(weight, bits)
    values = codes.to(weight.dtype) * scale.to(weight.dtype).view((-1,) + (1,) * (weight.dim() - 1))
    return straight_through(values, weight)


class QuantizedConv2d(nn.Conv2d):
    """A convolution in 8 or 4 bits while it trains: conv2d(a(x), q(weight)) + bias, (N, C, H, W) -> (N, O, H', W').

    a: `ActivationQuantizer`; q: `fake_quantize_weight`; `weight` is the latent float weight and the bias stays float.
    Further arguments as for torch.nn.Conv2d.
    """

    def __init__(self, *args: Any, bits: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.activation = ActivationQuantizer(bits)

    def forward(self, input: Tensor) -> Tensor:
        weight = fake_quantize_weight(self.weight, self.activation.bits)
        return self._conv_forward(self.activation(input), weight, self.bias)

    @classmethod
    def from_float(cls, conv: nn.Conv2d, bits: int) -> QuantizedConv2d:
        """The same convolution, quantized: it takes over the weight and bias parameters themselves."""
        layer = cls(**arguments_of(conv), device="meta", bits=bits)
        layer.weight, layer.bias = conv.weight, conv.bias
        layer.activation.to(conv.weight)
        return layer.train(conv.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.activation.bits}"


class QuantizedLinear(nn.Linear):
    """A linear layer in 8 or 4 bits while it trains, (..., in_features) -> (..., out_features): as QuantizedConv2d."""

    def __init__(self, *args: Any, bits: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.activation = ActivationQuantizer(bits)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(self.activation(input), fake_quantize_weight(self.weight, self.activation.bits), self.bias)

    @classmethod
    def from_float(cls, linear: nn.Linear, bits: int) -> QuantizedLinear:
        """The same layer, quantized: it takes over the weight and bias parameters themselves."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, device="meta", bits=bits)
        layer.weight, layer.bias = linear.weight, linear.bias
        layer.activation.to(linear.weight)
        return layer.train(linear.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.activation.bits}"
