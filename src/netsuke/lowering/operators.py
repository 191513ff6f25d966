"""How each aten operator becomes nodes of the graph. One function an operator; docs/format.md says what nodes do."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch

from netsuke.artifact.contract import MAX_KERNEL
from netsuke.artifact.graph import (
    Add,
    Affine,
    AveragePool,
    BinaryConv2d,
    Clamp,
    Concat,
    Conv2d,
    Detect,
    MaxPool,
    Multiply,
    Normalize,
    PadChannels,
    Sigmoid,
    Step,
    TwoSlope,
)
from netsuke.lowering.build import NO_PADDING, Builder, Map, Padding, handles, reshaped
from netsuke.lowering.freeze import conv_padding
from netsuke.lowering.ops import per_map
from netsuke.nn.coding import Coding

LARGEST = float(np.finfo(np.float32).max)


# ------------------------------------------------------------------------------------------- convolutions
@handles("aten.conv2d.default", "aten.conv2d.padding")
def conv2d(
    b: Builder,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Map:
    x = b.image(x)
    if x.features is not None or not isinstance(weight, torch.Tensor) or isinstance(bias, Map):
        raise b.refuse("its weight depends on the input")
    kernel = list(weight.shape[2:])
    own = conv_padding(padding if isinstance(padding, str) else _pair(padding), kernel, _pair(dilation))
    node = Conv2d(
        b.name(),
        [x.value],
        weight=b.constant(weight).transpose(0, 2, 3, 1),
        bias=np.zeros(len(weight)) if bias is None else b.constant(bias),
        stride=_two(stride),
        padding=_sum(own, x.padding),
        dilation=_two(dilation),
        groups=groups,
    )
    return b.add(b.coded(node, x), _conv_size(b, node, x.size))


@handles("netsuke.fake_quantize.default")
def fake_quantize(b: Builder, x: Any, scale: float, zero: int, bits: int) -> Map:
    """Of a layer that was trained quantized: the layer itself takes it over."""
    if isinstance(x, Map) and x.features is None:
        return replace(x, coding=Coding(scale, zero, bits))  # zeros padded around x have a code, that of 0
    return b.plain(x)


@handles("netsuke.binarize.default")
def binarize(b: Builder, x: Any, threshold: Any, alpha_a: float) -> Map:
    x = b.plain(x)
    return b.signs(b.binarize(x, b.constant(threshold), alpha_a < 0, alone=True), x.size, x.shape)


@handles("netsuke.binary_conv2d.default")
def binary_conv2d(
    b: Builder, x: Any, sign: Any, alpha_w: Any, beta_w: Any, bias: Any, threshold: Any, alpha_a: float, gamma: float,
    stride: Any, padding: Any, dilation: Any, groups: int, padding_mode: str,
) -> Map:  # fmt: skip
    x = b.plain(b.image(x))
    bits = b.binarize(x, b.constant(threshold), flip=alpha_a < 0)
    node = BinaryConv2d(
        b.name(),
        [bits],
        weight=b.constant(sign).transpose(0, 2, 3, 1),
        alpha_w=b.constant(alpha_w),
        beta_w=b.constant(beta_w),
        bias=b.constant(bias),
        alpha_a=alpha_a,
        gamma=gamma,
        stride=_two(stride),
        padding=_four(padding),
        padding_mode=padding_mode,
        dilation=_two(dilation),
        groups=groups,
    )
    return b.add(node, _conv_size(b, node, x.size))


@handles("aten.linear.default")
def linear(b: Builder, x: Any, weight: Any, bias: Any = None) -> Map:
    """The convolution whose kernel is the whole map: columns go from torch's order (C, H, W) to (H, W, C)."""
    x = _flat(b, x)
    if not isinstance(weight, torch.Tensor) or isinstance(bias, Map):
        raise b.refuse("its weight depends on the input")
    w = b.constant(weight)
    offset = np.zeros(len(w)) if bias is None else b.constant(bias)
    if x.features is not None:
        scale, shift = x.features
        w, offset = w * scale, offset + w @ shift
    node = Conv2d(b.name(), [x.value], weight=_whole_map(w, x), bias=offset)
    return b.add(b.coded(node, x), (len(w), 1, 1), (len(w),))


@handles("netsuke.binary_linear.default")
def binary_linear(
    b: Builder, x: Any, sign: Any, alpha_w: Any, beta_w: Any, bias: Any, threshold: Any, alpha_a: float, gamma: float
) -> Map:
    x = b.plain(_flat(b, x))
    if threshold.numel() > 1 and x.size[1] * x.size[2] > 1:
        raise b.refuse("a threshold for each element of a flattened map is not supported")
    bits = b.binarize(x, b.constant(threshold), flip=alpha_a < 0)
    node = BinaryConv2d(
        b.name(),
        [bits],
        weight=_whole_map(b.constant(sign), x),
        alpha_w=b.constant(alpha_w),
        beta_w=b.constant(beta_w),
        bias=b.constant(bias),
        alpha_a=alpha_a,
        gamma=gamma,
    )
    return b.add(node, (len(sign), 1, 1), (len(sign),))


def _flat(b: Builder, x: Any) -> Map:
    if not isinstance(x, Map) or len(x.shape) != 1 or x.padding != NO_PADDING:
        raise b.refuse("a linear layer needs a flattened map (N, features)")
    if max(x.size[1:]) > MAX_KERNEL:
        raise b.refuse(f"a flattened map may be at most {MAX_KERNEL} pixels high and wide")
    return x


def _whole_map(weight: np.ndarray, x: Map) -> np.ndarray:
    return weight.reshape(len(weight), *x.size).transpose(0, 2, 3, 1)


def _conv_size(b: Builder, node: Conv2d | BinaryConv2d, size: tuple[int, int, int]) -> tuple[int, int, int]:
    outputs, *kernel = node.weight.shape[:3]
    return (outputs, *_window_size(b, node, kernel, node.dilation, size))


def _window_size(b: Builder, node: Any, kernel: Any, dilation: Any, size: tuple[int, int, int]) -> tuple[int, int]:
    if max(*kernel, *node.stride, *dilation, *node.padding) > MAX_KERNEL:
        raise b.refuse(f"kernel, stride, dilation and padding may be at most {MAX_KERNEL}")
    out = []
    for i in range(2):
        room = size[1 + i] + node.padding[i] + node.padding[2 + i] - dilation[i] * (kernel[i] - 1) - 1
        out.append(room // node.stride[i] + 1)
    return out[0], out[1]


# ------------------------------------------------------------------------------------------- pools
@handles("aten.max_pool2d.default")
def max_pool2d(
    b: Builder, x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Map:
    x = b.plain(b.image(x))
    if _two(dilation) != (1, 1):
        raise b.refuse("a dilated pool is not supported")
    k, s = _two(kernel), _two(stride or kernel)
    node = MaxPool(b.name(), [x.value], kernel=k, stride=s, padding=_pool_padding(x.size, k, s, padding, ceil_mode))
    return b.add(node, (x.size[0], *_window_size(b, node, k, (1, 1), x.size)))


@handles("aten.avg_pool2d.default")
def avg_pool2d(
    b: Builder,
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Map:
    x = b.image(x)
    if x.features is not None:
        raise b.refuse("it needs a map of shape (N, C, H, W)")
    k, s, p = _two(kernel), _two(stride or kernel), _two(padding)
    if k == x.size[1:] and x.padding == NO_PADDING and p == (0, 0) and divisor_override is None:
        return b.mean(x)
    if x.padding != NO_PADDING and p != (0, 0) and not count_include_pad:
        raise b.refuse("count_include_pad=False behind a padded map is not supported")
    height, width = (x.size[1] + x.padding[0] + x.padding[2], x.size[2] + x.padding[1] + x.padding[3])
    own = _pool_padding((x.size[0], height, width), k, s, padding, ceil_mode)
    padded = p != (0, 0) and count_include_pad or x.padding != NO_PADDING
    if divisor_override is None and padded and own != (*p, *p):
        raise b.refuse("ceil_mode that reaches past counted padding is not supported: use count_include_pad=False")
    divisor = "window" if padded or divisor_override is not None else "inside"
    node = AveragePool(b.name(), [x.value], kernel=k, stride=s, padding=_sum(own, x.padding), divisor=divisor)
    steps = []
    if divisor_override is not None:
        scale = np.full(x.size[0], k[0] * k[1] / divisor_override)
        steps = [Affine(scale, np.zeros_like(scale))]
    return b.add(node, (x.size[0], *_window_size(b, node, k, (1, 1), x.size)), None, *steps)


@handles("aten.adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(b: Builder, x: Any, size: Any) -> Map:
    x = b.plain(b.image(x))
    extent = x.size[1:]
    out = [e if s is None else s for e, s in zip(extent, _pair(size), strict=True)]
    if any(e % o for e, o in zip(extent, out, strict=True)):
        raise b.refuse(f"a {extent[0]}x{extent[1]} map does not divide evenly into {out[0]}x{out[1]}")
    kernel = (extent[0] // out[0], extent[1] // out[1])
    return _average(b, x, kernel)


@handles("aten.mean.dim")
def mean(b: Builder, x: Any, dims: Any, keepdim: bool = False, *, dtype: Any = None) -> Map:
    x = b.plain(b.image(x))
    axes = {d % 4 for d in (dims or range(4))}
    if not axes <= {2, 3}:
        raise b.refuse("a mean is supported over height and width only: x.mean((2, 3))")
    pooled = _average(b, x, (x.size[1] if 2 in axes else 1, x.size[2] if 3 in axes else 1))
    return pooled if keepdim else reshaped(pooled, _result_shape(b))


def _average(b: Builder, x: Map, kernel: tuple[int, int]) -> Map:
    if kernel == x.size[1:]:
        return b.mean(x)
    node = AveragePool(b.name(), [x.value], kernel=kernel, stride=kernel)
    if kernel[0] > MAX_KERNEL or kernel[1] > MAX_KERNEL:
        raise b.refuse(f"an average over more than {MAX_KERNEL} pixels a side is not supported")
    return b.add(node, (x.size[0], x.size[1] // kernel[0], x.size[2] // kernel[1]))


def _pool_padding(
    size: tuple[int, int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: Any, ceil_mode: bool
) -> Padding:
    """torch's ceil_mode as more padding below and right; the last window must start inside the map or its padding."""
    before = _two(padding)
    after = list(before)
    if ceil_mode:
        for i in range(2):
            extent, p, k, s = size[1 + i], before[i], kernel[i], stride[i]
            count = -(-(extent + 2 * p - k) // s) + 1
            if (count - 1) * s >= extent + p:
                count -= 1
            after[i] = max(p, (count - 1) * s + k - extent - p)
    return (*before, after[0], after[1])


# ------------------------------------------------------------------------------------------- whole maps
@handles("netsuke.normalize.default")
def normalize(b: Builder, x: Any, epsilon: float) -> Map:
    x = b.plain(b.image(x))
    return b.add(Normalize(b.name(), [x.value], eps=epsilon), x.size)


@handles("netsuke.detect.default")
def detect(
    b: Builder, maps: Any, labels: str, counts: Any, shapes: Any, steps: Any, variances: Any, score_threshold: float,
    iou_threshold: float, candidates: int, keep: int,
) -> Map:  # fmt: skip
    node = Detect(
        b.name(),
        [b.plain(b.image(x)).value for x in maps],
        labels=labels.split("\n"),
        shapes=[np.array(own, np.float32) for own in per_map(counts, shapes)],
        steps=[np.array([step, step], np.float32) for step in steps],
        variances=np.array(variances),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        candidates=candidates,
        keep=keep,
    )
    return b.add(node, (keep, 6, 1), (keep, 6))


# ------------------------------------------------------------------------------------------- pointwise
@handles("aten._native_batch_norm_legit_no_training.default")
def batch_norm(
    b: Builder, x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> Any:
    scale = 1 / np.sqrt(b.constant(variance) + eps)
    if weight is not None:
        scale = scale * b.constant(weight)
    shift = -b.constant(mean) * scale
    if bias is not None:
        shift = shift + b.constant(bias)
    if isinstance(x, Map) and len(x.shape) == 1 and x.size[1] * x.size[2] > 1:
        return _scale_features(b, x, scale, shift), None, None
    x = b.plain(x)
    shape = (-1,) + (1,) * (len(x.shape) - 1)
    scale, shift = (b.per_channel(v.reshape(shape), x) for v in (scale, shift))
    return b.step(x, Affine(scale, shift)), None, None


def _scale_features(b: Builder, x: Map, scale: np.ndarray, shift: np.ndarray) -> Map:
    if x.features is not None:
        scale, shift = x.features[0] * scale, x.features[1] * scale + shift
    return replace(x, features=(scale, shift))


@handles("aten.relu.default")
def relu(b: Builder, x: Any) -> Map:
    return _slopes(b, x, 1.0, 0.0)


@handles("aten.abs.default")
def absolute(b: Builder, x: Any) -> Map:
    return _slopes(b, x, 1.0, -1.0)


@handles("aten.leaky_relu.default")
def leaky_relu(b: Builder, x: Any, slope: float = 0.01) -> Map:
    return _slopes(b, x, 1.0, slope)


@handles("aten.prelu.default", "aten._prelu_kernel.default")
def prelu(b: Builder, x: Any, weight: Any) -> Map:
    return _slopes(b, x, 1.0, weight.reshape((-1,) + (1,) * (len(b.plain(x).shape) - 1)))


@handles("netsuke.two_slope.default")
def two_slope(b: Builder, x: Any, positive: Any, negative: Any) -> Map:
    shape = (-1,) + (1,) * (len(b.plain(x).shape) - 1)
    return _slopes(b, x, positive.reshape(shape), negative.reshape(shape))


def _slopes(b: Builder, x: Any, positive: Any, negative: Any) -> Map:
    x = b.plain(x)
    return b.step(x, TwoSlope(b.per_channel(positive, x), b.per_channel(negative, x)))


@handles("aten.relu6.default")
def relu6(b: Builder, x: Any) -> Map:
    return clamp(b, x, 0.0, 6.0)


@handles("aten.hardtanh.default")
def hardtanh(b: Builder, x: Any, low: float = -1.0, high: float = 1.0) -> Map:
    return clamp(b, x, low, high)


@handles("aten.sigmoid.default")
def sigmoid(b: Builder, x: Any) -> Map:
    return b.step(b.plain(x), Sigmoid())


@handles("aten.silu.default")
def silu(b: Builder, x: Any) -> Map:
    return b.step(b.plain(x), Sigmoid(), Multiply(x.value))


@handles("aten.hardsigmoid.default")
def hardsigmoid(b: Builder, x: Any) -> Map:
    return b.step(b.plain(x), *_hard_sigmoid(x))


@handles("aten.hardswish.default")
def hardswish(b: Builder, x: Any) -> Map:
    return b.step(b.plain(x), *_hard_sigmoid(x), Multiply(x.value))


def _hard_sigmoid(x: Map) -> list[Step]:
    """relu6(x + 3) / 6"""
    c = x.size[0]
    return [Affine(np.full(c, 1 / 6), np.full(c, 0.5)), Clamp(np.zeros(c), np.ones(c))]


@handles("aten.clamp.default", "aten.clamp.Tensor")
def clamp(b: Builder, x: Any, low: Any = None, high: Any = None) -> Map:
    x = b.plain(x)
    bounds = [b.per_channel(-LARGEST if low is None else low, x), b.per_channel(LARGEST if high is None else high, x)]
    return b.step(x, Clamp(*(np.clip(v, -LARGEST, LARGEST) for v in bounds)))


@handles("aten.clamp_min.default")
def clamp_min(b: Builder, x: Any, low: float) -> Map:
    return clamp(b, x, low)


@handles("aten.clamp_max.default")
def clamp_max(b: Builder, x: Any, high: float) -> Map:
    return clamp(b, x, None, high)


@handles("aten.add.Tensor", "aten.add.Scalar")
def add(b: Builder, x: Any, y: Any, alpha: float = 1) -> Map:
    if isinstance(x, Map) and isinstance(y, Map):
        x, y = b.plain(x), b.plain(y)
        if x.size != y.size or x.shape != y.shape:
            raise b.refuse(f"it adds maps of shapes (N, {x.shape}) and (N, {y.shape}): make them equal")
        if alpha != 1:
            y = _affine(b, y, float(alpha), 0.0)
        return b.step(x, Add(y.value))
    if isinstance(y, Map):
        return _affine(b, y, float(alpha), x)
    return _affine(b, x, 1.0, y * alpha)


@handles("aten.sub.Tensor", "aten.sub.Scalar")
def sub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Map:
    return add(b, x, y, -alpha)


@handles("aten.rsub.Scalar", "aten.rsub.Tensor")
def rsub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Map:
    return add(b, y, x, -alpha)


@handles("aten.neg.default")
def neg(b: Builder, x: Any) -> Map:
    return _affine(b, x, -1.0, 0.0)


@handles("aten.mul.Tensor", "aten.mul.Scalar")
def mul(b: Builder, x: Any, y: Any) -> Map:
    if isinstance(x, Map) and isinstance(y, Map):
        return _product(b, b.plain(x), b.plain(y))
    return _affine(b, x, y, 0.0) if isinstance(x, Map) else _affine(b, y, x, 0.0)


def _product(b: Builder, x: Map, y: Map) -> Map:
    if x.size == y.size and x.shape == y.shape:
        if x.bits is not None and y.bits is not None:
            return b.logic("xnor", x, y)
        # The one made later may still be at hand when the product is made.
        x, y = (x, y) if x.value > y.value else (y, x)
        return b.step(x, Multiply(y.value))
    for whole, gate in ((x, y), (y, x)):
        if gate.shape == gate.size == (whole.size[0], 1, 1) and whole.shape == whole.size:
            return b.step(whole, Multiply(gate.value))
    raise b.refuse(
        f"it multiplies maps of shapes (N, {x.shape}) and (N, {y.shape}): make them equal, or one (N, C, 1, 1)"
    )


@handles("aten.maximum.default")
def maximum(b: Builder, x: Any, y: Any) -> Map:
    if isinstance(x, Map) and isinstance(y, Map) and x.bits is not None and y.bits is not None and x.shape == y.shape:
        return b.logic("or", x, y)
    raise b.refuse("it is supported of two maps of signs, of one shape, where it is their or")


@handles("aten.lerp.Scalar", "aten.lerp.Tensor")
def lerp(b: Builder, x: Any, y: Any, weight: Any) -> Map:
    """x + weight * (y - x), as (1 - weight) * x + weight * y."""
    return add(b, mul(b, x, 1 - b.constant(weight)), mul(b, y, weight))


@handles("aten.div.Tensor", "aten.div.Scalar")
def div(b: Builder, x: Any, y: Any) -> Map:
    if isinstance(y, Map):
        raise b.refuse("division by a feature map is not supported")
    return _affine(b, x, 1.0 / y, 0.0)


def _affine(b: Builder, x: Any, scale: Any, shift: Any) -> Map:
    x = b.plain(x)
    return b.step(x, Affine(b.per_channel(scale, x), b.per_channel(shift, x)))


# ------------------------------------------------------------------------------------------- shapes
@handles("aten.cat.default")
def cat(b: Builder, xs: Any, dim: int = 0) -> Map:
    maps = [b.plain(x) for x in xs]
    rank = len(maps[0].shape) + 1
    flat = all(len(m.shape) == 1 and m.size[1:] == (1, 1) for m in maps)
    if dim % rank != 1 or not (flat or all(m.shape == m.size for m in maps)):
        raise b.refuse("maps are joined along their channels only")
    channels = sum(m.size[0] for m in maps)
    if all(m.bits is not None for m in maps):
        return b.gather(maps, np.arange(channels))
    size = (channels, *maps[0].size[1:])
    return b.add(Concat(b.name(), [m.value for m in maps]), size, (channels,) if flat else size)


@handles("aten.index_select.default")
def index_select(b: Builder, x: Any, dim: int, index: Any) -> Map:
    return _take(b, x, dim, b.constant(index))


def _take(b: Builder, x: Any, dim: int, index: Any) -> Map:
    """Channels by their numbers, or by a slice of them."""
    x = b.plain(x)
    if dim % (len(x.shape) + 1) != 1 or x.size not in (x.shape, (*x.shape, 1, 1)):
        raise b.refuse("channels alone are selected")
    numbers = np.arange(x.size[0])[index]
    if not numbers.size:
        raise b.refuse("it leaves no channels")
    return b.gather([x], numbers)


@handles("aten.pad.default", "aten.constant_pad_nd.default")
def pad(b: Builder, x: Any, pads: Any, mode: Any = "constant", value: Any = None) -> Map:
    if not isinstance(mode, str):  # constant_pad_nd gives the value here
        mode, value = "constant", mode
    x = b.image(x)
    left, right, top, bottom, before, after, *batch = (list(pads) + [0] * 8)[:8]
    if mode != "constant" or value not in (None, 0, 0.0) or any(batch):
        raise b.refuse("only zeros, around the image or its channels, can be padded")
    if min(left, right, top, bottom, before, after) < 0:
        raise b.refuse("a negative padding (a crop) is not supported")
    if before or after:
        x = b.plain(x)
        node = PadChannels(b.name(), [x.value], before=before, after=after)
        x = b.add(node, (x.size[0] + before + after, *x.size[1:]))
    return replace(x, padding=_sum((top, left, bottom, right), x.padding))


@handles("aten.slice.Tensor", sizes=True)
def slice_(b: Builder, x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Map:
    """x[:, :, ::s] is a maximum over windows of one pixel, x[:, a:b:s] some of the channels."""
    if isinstance(x, Map) and step == 1 and start in (None, 0) and isinstance(end, int) and end >= 1 << 31:
        return x
    if isinstance(x, Map) and dim % (len(x.shape) + 1) == 1:
        return _take(b, x, dim, slice(start, end, step))
    x = b.plain(b.image(x))
    axis = dim % 4
    extent = (None, *x.size)[axis]
    if axis not in (2, 3) or start not in (None, 0) or not (end is None or isinstance(end, int) and end >= extent):
        raise b.refuse(
            "only slices of channels and strided ones of whole rows and columns, x[:, :, ::s, ::s], are supported"
        )
    stride = (step, 1) if axis == 2 else (1, step)
    node = MaxPool(b.name(), [x.value], kernel=(1, 1), stride=stride)
    return b.add(node, (x.size[0], *_window_size(b, node, (1, 1), (1, 1), x.size)))


@handles(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.unsqueeze.default",
    sizes=True,
)
def reshape(b: Builder, x: Any, *_: Any) -> Map:
    if not isinstance(x, Map) or x.padding != NO_PADDING:
        b.plain(x)
    shape = _result_shape(b)
    if prod(shape) != prod(x.size):
        raise b.refuse("a reshape that moves elements between images is not supported")
    if x.features is not None and len(shape) != 1:
        b.plain(x)
    # (C, 1, 1) and (C,) hold a channel vector either way; a map of several pixels keeps its size.
    return reshaped(x, shape)


@handles(
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.dropout.default",
    "aten.feature_dropout.default",
    "aten.lift_fresh_copy.default",
)
def unchanged(b: Builder, x: Any, *_: Any, **__: Any) -> Any:
    return x


@handles("aten.to.dtype", "aten._to_copy.default", "aten.to.dtype_layout")
def convert(b: Builder, x: Any, *_: Any, **__: Any) -> Any:
    if not b.node.meta["val"].is_floating_point():
        raise b.refuse("a conversion to whole numbers is not supported")
    return x


def _result_shape(b: Builder) -> tuple[int, ...]:
    """The shape of one image of the node's result."""
    shape = b.node.meta["val"].shape
    if not shape or not isinstance(shape[0], torch.SymInt) or any(isinstance(s, torch.SymInt) for s in shape[1:]):
        raise b.refuse("the first dimension of every map must stay the batch")
    return tuple(int(s) for s in shape[1:])


def _pair(value: Any) -> list[Any]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return values * 2 if len(values) == 1 else values


def _two(value: Any) -> tuple[int, int]:
    first, second = _pair(value)
    return int(first), int(second)


def _four(value: Any) -> Padding:
    top, left, bottom, right = (int(v) for v in value)
    return top, left, bottom, right


def _sum(a: Any, b: Any) -> Padding:
    return _four([x + y for x, y in zip(a, b, strict=True)])
