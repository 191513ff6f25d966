"""Compressed layers as single operators, so that a captured graph holds one node a layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn import functional as F

from netsuke.nn import Detector, quantized


def activation_signs(x: Tensor, threshold: Tensor, alpha_a: float) -> Tensor:
    """s_a in the dtype of x: +1 where x >= threshold (where alpha_a is negative: x <= threshold), else -1."""
    t = threshold.to(x.dtype).view((1, -1) + (1,) * (x.dim() - 2))
    bits = x >= t if alpha_a > 0 else x <= t
    return bits.to(x.dtype) * 2 - 1


def _weight(sign: Tensor, alpha_w: Tensor, beta_w: Tensor, like: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (sign.dim() - 1)
    return alpha_w.to(like.dtype).view(shape) * sign.to(like.dtype) + beta_w.to(like.dtype).view(shape)


@torch.library.custom_op("netsuke::binary_conv2d", mutates_args=())
def binary_conv2d(
    x: Tensor,
    sign: Tensor,
    alpha_w: Tensor,
    beta_w: Tensor,
    bias: Tensor,
    threshold: Tensor,
    alpha_a: float,
    gamma: float,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding_mode: str,
) -> Tensor:
    """conv2d(alpha_a * s_a(x) + gamma, alpha_w * sign + beta_w) + bias, padded after binarizing.

    x (N, C, H, W); sign int8 (O, C / groups, kh, kw); alpha_w, beta_w, bias (O,); threshold (1,) or (C,);
    padding (top, left, bottom, right); padding_mode as of a `netsuke.nn.BinaryConv2d`.
    """
    top, left, bottom, right = padding
    a, pads = activation_signs(x, threshold, alpha_a) * alpha_a + gamma, (left, right, top, bottom)
    if padding_mode == "replicate":
        a = F.pad(a, pads, mode="replicate")
    else:
        a = F.pad(a, pads, value=alpha_a + gamma if padding_mode == "ones" else 0)
    return F.conv2d(a, _weight(sign, alpha_w, beta_w, x), bias, stride, 0, dilation, groups)


@binary_conv2d.register_fake
def _(
    x: Tensor,
    sign: Tensor,
    alpha_w: Tensor,
    beta_w: Tensor,
    bias: Tensor,
    threshold: Tensor,
    alpha_a: float,
    gamma: float,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding_mode: str,
) -> Tensor:
    top, left, bottom, right = padding
    return F.conv2d(F.pad(x, (left, right, top, bottom)), sign.to(x.dtype), bias, stride, 0, dilation, groups)


@torch.library.custom_op("netsuke::binary_linear", mutates_args=())
def binary_linear(
    x: Tensor,
    sign: Tensor,
    alpha_w: Tensor,
    beta_w: Tensor,
    bias: Tensor,
    threshold: Tensor,
    alpha_a: float,
    gamma: float,
) -> Tensor:
    """linear(alpha_a * s_a(x) + gamma, alpha_w * sign + beta_w) + bias. x (N, I); sign int8 (O, I)."""
    return F.linear(activation_signs(x, threshold, alpha_a) * alpha_a + gamma, _weight(sign, alpha_w, beta_w, x), bias)


@binary_linear.register_fake
def _(
    x: Tensor,
    sign: Tensor,
    alpha_w: Tensor,
    beta_w: Tensor,
    bias: Tensor,
    threshold: Tensor,
    alpha_a: float,
    gamma: float,
) -> Tensor:
    return F.linear(x, sign.to(x.dtype), bias)


@torch.library.custom_op("netsuke::binarize", mutates_args=())
def binarize(x: Tensor, threshold: Tensor, alpha_a: float) -> Tensor:
    """`activation_signs` on their own. x (N, C, ...); threshold (1,) or (C,)."""
    return activation_signs(x, threshold, alpha_a)


@binarize.register_fake
def _(x: Tensor, threshold: Tensor, alpha_a: float) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("netsuke::fake_quantize", mutates_args=())
def fake_quantize(x: Tensor, scale: float, zero: int, bits: int) -> Tensor:
    """scale * (q - zero) with q = clamp(round(x / scale + zero), 0, 2^bits - 1), of x's shape."""
    return quantized.fake_quantize(x, x.new_tensor(scale), x.new_tensor(zero), bits)


@fake_quantize.register_fake
def _(x: Tensor, scale: float, zero: int, bits: int) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("netsuke::normalize", mutates_args=())
def normalize(x: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(epsilon + the sum of its squares over the channels). x (N, C, H, W)."""
    return x * (epsilon + x.square().sum(1, keepdim=True)).rsqrt()


@normalize.register_fake
def _(x: Tensor, epsilon: float) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("netsuke::detect", mutates_args=())
def detect(
    maps: Sequence[Tensor],
    labels: str,
    counts: Sequence[int],
    shapes: Sequence[float],
    steps: Sequence[float],
    variances: Sequence[float],
    score_threshold: float,
    iou_threshold: float,
    candidates: int,
    keep: int,
) -> Tensor:
    """A `netsuke.nn.Detector` in eval mode, (N, keep, 6). labels: its names, a line each. counts: of its shapes, of
    each map. shapes: their widths and heights in turn, of one map after another.
    """
    own = labels.split("\n")
    width, height = variances
    boxes = per_map(counts, shapes)
    detector = Detector(own, boxes, steps, (width, height), score_threshold, iou_threshold, candidates, keep)
    return detector.eval()(maps)


@detect.register_fake
def _(
    maps: Sequence[Tensor],
    labels: str,
    counts: Sequence[int],
    shapes: Sequence[float],
    steps: Sequence[float],
    variances: Sequence[float],
    score_threshold: float,
    iou_threshold: float,
    candidates: int,
    keep: int,
) -> Tensor:
    return maps[0].new_empty((maps[0].shape[0], keep, 6))


def per_map(counts: Sequence[int], shapes: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Width and height of each shape, by map. counts, shapes: as of `detect`."""
    pairs = iter(zip(shapes[::2], shapes[1::2], strict=True))
    return [list(islice(pairs, count)) for count in counts]


@torch.library.custom_op("netsuke::two_slope", mutates_args=())
def two_slope(x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """x * positive where x >= 0, else x * negative. x (N, C, ...); positive, negative (C,)."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    return torch.where(x >= 0, x * positive.view(shape), x * negative.view(shape))


@two_slope.register_fake
def _(x: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    return torch.empty_like(x)
