"""A copy of a module in which every compressed layer is a frozen leaf: it holds what the file will hold."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netsuke.artifact.contract import Error, first_line
from netsuke.artifact.graph import PADDING_MODES
from netsuke.lowering import ops
from netsuke.nn import (
    ApproxRSign,
    ApproxSign,
    BinaryConv2d,
    BinaryLinear,
    Detector,
    L2Norm,
    Maxout,
    MultiSliceSign,
    Or,
    QuantizedConv2d,
    QuantizedLinear,
    RSign,
    Sign,
)
from netsuke.nn.quantized import fake_quantize_weight
from netsuke.nn.weights import bake


def freeze(module: nn.Module) -> nn.Module:
    """A float32 copy of `module` in eval mode, compressed layers frozen. `module` itself is left alone.

    Raises netsuke.Error where a layer cannot be frozen, naming it.
    """
    try:
        frozen = copy.deepcopy(module)
    except Exception as error:  # a user's module may refuse to be copied in any way it likes
        raise Error(
            f"{type(module).__name__} cannot be copied ({first_line(error)}): export works on a copy of it"
        ) from error
    frozen = bake(frozen.eval().float().cpu())
    if _kind(frozen) is not None:
        return _leaf(frozen, "")
    leaves: dict[int, nn.Module] = {}  # a layer used under two names stays one layer
    for path, parent in list(frozen.named_modules()):
        for name, child in list(parent._modules.items()):  # named_children leaves out second names
            if child is not None and _kind(child) is not None:
                if id(child) not in leaves:
                    leaves[id(child)] = _leaf(child, f"{path}.{name}" if path else name)
                setattr(parent, name, leaves[id(child)])
    return frozen


def _kind(layer: nn.Module) -> type[nn.Module] | None:
    """The class to freeze `layer` as. A subclass counts while it runs the same forward."""
    return next((kind for kind in _LEAVES if isinstance(layer, kind) and type(layer).forward is kind.forward), None)


def _leaf(layer: nn.Module, name: str) -> nn.Module:
    kind = _kind(layer)
    assert kind is not None
    try:
        with torch.no_grad():
            return _LEAVES[kind](layer).eval()
    except Error as error:
        raise Error(f"layer {name!r} cannot be exported: {error}") from None


class FrozenBinary(nn.Module):
    """What a binary convolution or linear layer is at inference."""

    sign: Tensor
    alpha_w: Tensor
    beta_w: Tensor
    bias: Tensor
    threshold: Tensor

    def __init__(self, layer: BinaryConv2d | BinaryLinear) -> None:
        super().__init__()
        # Signs as the module itself makes them; scales in float64, which no order of summation moves.
        sign = layer.binary_w(layer.weight).sign
        weights = layer.binary_w(layer.weight.double())
        activation = layer.binary_a.constants()
        if not bool((sign.abs() == 1).all()):
            raise Error(f"its weights have signs that are not -1 or +1: {layer.binary_w.unfinished()}")
        for what, tensor in (("weight scales", weights.alpha), ("weight offsets", weights.beta)):
            if not bool(torch.isfinite(tensor).all()):
                raise Error(f"its {what} are not finite: training has diverged")
        self.register_buffer("sign", sign.to(torch.int8))
        self.register_buffer("alpha_w", weights.alpha.float())
        self.register_buffer("beta_w", weights.beta.float())
        self.register_buffer("bias", torch.zeros(len(sign)) if layer.bias is None else layer.bias.clone())
        self.register_buffer("threshold", activation.threshold.float())
        self.alpha_a, self.gamma = activation.alpha, activation.gamma


class FrozenBinaryConv2d(FrozenBinary):
    def __init__(self, layer: BinaryConv2d) -> None:
        super().__init__(layer)
        _check_padding(layer, PADDING_MODES)
        self.padding_mode = layer.padding_mode
        self.stride, self.dilation, self.groups = list(layer.stride), list(layer.dilation), layer.groups
        self.padding = conv_padding(layer.padding, list(layer.kernel_size), self.dilation)

    def forward(self, x: Tensor) -> Tensor:
        return ops.binary_conv2d(
            x,
            self.sign,
            self.alpha_w,
            self.beta_w,
            self.bias,
            self.threshold,
            self.alpha_a,
            self.gamma,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.padding_mode,
        )


class FrozenBinaryLinear(FrozenBinary):
    def forward(self, x: Tensor) -> Tensor:
        return ops.binary_linear(
            x, self.sign, self.alpha_w, self.beta_w, self.bias, self.threshold, self.alpha_a, self.gamma
        )


class FrozenQuantized(nn.Module):
    """What a layer that was trained in 8 or 4 bits is at inference, with its weight as the codes stand for it."""

    weight: Tensor

    def __init__(self, layer: QuantizedConv2d | QuantizedLinear) -> None:
        super().__init__()
        self.register_buffer("weight", fake_quantize_weight(layer.weight, layer.activation.bits))
        self.bias = layer.bias
        self.bits = layer.activation.bits
        self.scale, self.zero = layer.activation.constants()

    def codes(self, x: Tensor) -> Tensor:
        return ops.fake_quantize(x, self.scale, self.zero, self.bits)


class FrozenQuantizedConv2d(FrozenQuantized):
    def __init__(self, layer: QuantizedConv2d) -> None:
        super().__init__(layer)
        _check_padding(layer, ("zeros",))
        self.window: Any = layer.stride, layer.padding, layer.dilation, layer.groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.codes(x), self.weight, self.bias, *self.window)


class FrozenQuantizedLinear(FrozenQuantized):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.codes(x), self.weight, self.bias)


class FrozenSign(nn.Module):
    """A sign on its own, not the one inside a binary layer."""

    threshold: Tensor

    def __init__(self, layer: Sign | RSign | ApproxSign | ApproxRSign) -> None:
        super().__init__()
        self.register_buffer("threshold", layer.constants().threshold.float())

    def forward(self, x: Tensor) -> Tensor:
        return ops.binarize(x, self.threshold, 1.0)


class FrozenMultiSliceSign(nn.Module):
    """sign(x + s) is x >= -s: the sum of two floats has the sign of the true one."""

    def __init__(self, layer: MultiSliceSign) -> None:
        super().__init__()
        for i, shift in enumerate(layer.shifts):
            self.register_buffer(f"threshold{i}", torch.tensor([0 - shift]))

    def forward(self, x: Tensor) -> Tensor:
        signs = [ops.binarize(x, threshold, 1.0) for threshold in self.buffers()]
        return signs[0] if len(signs) == 1 else torch.cat(signs, 1)


class FrozenOr(nn.Module):
    def __init__(self, _: Or) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.maximum(x, y)


class FrozenMaxout(nn.Module):
    def __init__(self, layer: Maxout) -> None:
        super().__init__()
        self.positive = nn.Parameter(layer.pos_scale.detach().clone())
        self.negative = nn.Parameter(layer.neg_scale.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return ops.two_slope(x, self.positive, self.negative)


class FrozenL2Norm(nn.Module):
    def __init__(self, layer: L2Norm) -> None:
        super().__init__()
        self.weight, self.epsilon = layer.weight, layer.epsilon

    def forward(self, x: Tensor) -> Tensor:
        return ops.normalize(x, self.epsilon) * self.weight[:, None, None]


class FrozenDetector(nn.Module):
    def __init__(self, layer: Detector) -> None:
        super().__init__()
        if any("\n" in label for label in layer.labels):
            raise Error("a label of it has more than one line")
        self.constants: Any = (
            "\n".join(layer.labels),
            [len(own) for own in layer.shapes],
            [side for own in layer.shapes for shape in own for side in shape],
            list(layer.steps),
            list(layer.variances),
            layer.score_threshold,
            layer.iou_threshold,
            layer.candidates,
            layer.keep,
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return ops.detect(list(maps), *self.constants)


_LEAVES: dict[type[nn.Module], Callable[..., nn.Module]] = {
    BinaryConv2d: FrozenBinaryConv2d,
    BinaryLinear: FrozenBinaryLinear,
    Detector: FrozenDetector,
    L2Norm: FrozenL2Norm,
    Maxout: FrozenMaxout,
    MultiSliceSign: FrozenMultiSliceSign,
    Or: FrozenOr,
    **dict.fromkeys((Sign, RSign, ApproxSign, ApproxRSign), FrozenSign),
    QuantizedConv2d: FrozenQuantizedConv2d,
    QuantizedLinear: FrozenQuantizedLinear,
}


def _check_padding(layer: nn.Conv2d, modes: tuple[str, ...]) -> None:
    if layer.padding_mode not in modes:
        known = " or ".join(repr(mode) for mode in modes)
        raise Error(f"padding_mode={layer.padding_mode!r} is not supported: use {known}")


def conv_padding(padding: str | tuple[int, ...] | list[int], kernel: list[int], dilation: list[int]) -> list[int]:
    """(top, left, bottom, right) of a torch padding: numbers, "valid", or "same" (the odd tap goes below, right)."""
    if padding == "valid":
        return [0, 0, 0, 0]
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        before = [t // 2 for t in total]
        return [before[0], before[1], total[0] - before[0], total[1] - before[1]]
    if isinstance(padding, str):
        raise Error(f"padding {padding!r} is not supported: use numbers, 'same' or 'valid'")
    p = [int(v) for v in padding] * (2 if len(padding) == 1 else 1)
    return [p[0], p[1], p[0], p[1]]
