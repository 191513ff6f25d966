"""What each node of a graph becomes: one function a kind, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from netsuke.artifact.graph import (
    AveragePool,
    Concat,
    Conv2d,
    Detect,
    FixedAveragePool,
    FixedConv2d,
    FixedCopy,
    FixedMaxPool,
    Gather,
    Identity,
    Int8Conv2d,
    Logic,
    MaxPool,
    Node,
    Normalize,
    PadChannels,
)
from netsuke.onnx.builder import Builder, Tensor
from netsuke.onnx.detect import detect


def _conv2d(build: Builder, node: Conv2d) -> Tensor:
    linear = _is_linear(build, node)
    x = _source(build, node, flat=linear)
    weight = build.constant("weight", _onnx_order(node.scaled_weight, linear))
    return _convolve(build, node, x, weight, linear)


def _int8_conv2d(build: Builder, node: Int8Conv2d) -> Tensor:
    """The codes of activation and weights stand for floats, and those are convolved: the QDQ form.

    The bias stays the float that it is. ONNX Runtime rounds it to an int32 where it fuses all this into one operator.
    """
    linear = _is_linear(build, node)
    x = _source(build, node, flat=linear).name
    scale, zero = np.float32(node.activation_scale), np.uint8(node.zero)
    x = build.op("DequantizeLinear", [x, build.constant("input_scale", scale), build.constant("input_zero", zero)], "x")
    return _convolve(build, node, Tensor(x, linear), _dequantized_weight(build, node, linear), linear)


def _fixed_conv2d(build: Builder, node: FixedConv2d) -> Tensor:
    """In the QDQ form: the input is what codes stand for. The bias is a whole number of units: an int32 holds it."""
    linear = _is_linear(build, node)
    x = _source(build, node, flat=linear)
    return _convolve(build, node, x, _dequantized_weight(build, node, linear), linear)


def _dequantized_weight(build: Builder, node: Int8Conv2d | FixedConv2d, linear: bool) -> str:
    one = node.weight_scale.shape == (1,) != (len(node.weight),)
    codes, zeros = _onnx_order(node.weight, linear), np.zeros(() if one else len(node.weight), np.int8)
    weight, weight_zero = (
        build.constant(name, array) if node.bits == 8 else build.tensor(_int4(name, array))
        for name, array in (("weight", codes), ("weight_zero", zeros))
    )
    scale = build.constant("weight_scale", node.weight_scale.reshape(()) if one else node.weight_scale)
    return build.op("DequantizeLinear", [weight, scale, weight_zero], "w", **({} if one else {"axis": 0}))


def _convolve(build: Builder, node: Conv2d | Int8Conv2d | FixedConv2d, x: Tensor, weight: str, linear: bool) -> Tensor:
    inputs = [x.name, weight, *([build.constant("bias", node.bias)] if node.bias.any() else [])]
    if linear:
        return Tensor(build.op("Gemm", inputs, transB=1), flat=True)
    window: dict[str, Any] = {"kernel_shape": node.weight.shape[1:3], "strides": node.stride, "pads": node.padding}
    return Tensor(build.op("Conv", inputs, dilations=node.dilation, group=node.groups, **window))


def _is_linear(build: Builder, node: Conv2d | Int8Conv2d | FixedConv2d) -> bool:
    """Whether its kernel is the whole map: other engines are faster at a product of matrices."""
    whole = node.weight.shape[1:3] == build.kinds[node.inputs[0]].shape[1:]
    return whole and not any(node.padding) and node.groups == 1


def _onnx_order(weight: np.ndarray, linear: bool) -> np.ndarray:
    """(O, kh, kw, C) -> (O, C, kh, kw), or (O, C * kh * kw)"""
    ordered = weight.transpose(0, 3, 1, 2)
    return ordered.reshape(len(weight), -1) if linear else ordered


def _int4(name: str, codes: np.ndarray) -> TensorProto:
    """Two codes a byte, the first in the lower half."""
    halves = codes.ravel().view(np.uint8) & 15
    halves = np.append(halves, np.zeros(len(halves) % 2, np.uint8))
    packed = halves[::2] | halves[1::2] << 4
    return TensorProto(name=name, dims=codes.shape, data_type=TensorProto.INT4, raw_data=packed.tobytes())


def _max_pool(build: Builder, node: MaxPool | FixedMaxPool) -> Tensor:
    x = _source(build, node)
    if node.kernel == (1, 1) and node.stride == (1, 1):
        return x
    return Tensor(build.op("MaxPool", [x.name], **_window(build, node)))


def _average_pool(build: Builder, node: AveragePool) -> Tensor:
    x = _source(build, node)
    padded = int(node.divisor == "window")
    return Tensor(build.op("AveragePool", [x.name], count_include_pad=padded, **_window(build, node)))


def _fixed_average_pool(build: Builder, node: FixedAveragePool) -> Tensor:
    """The mean itself, where the file multiplies by 1 / (kh * kw) in 22 bits."""
    x = _source(build, node)
    return Tensor(build.op("AveragePool", [x.name], count_include_pad=1, **_window(build, node)))


def _window(build: Builder, node: MaxPool | AveragePool | FixedMaxPool | FixedAveragePool) -> dict[str, Any]:
    """The window's attributes. Padding that no window reaches is left out: engines refuse a padding as large as it."""
    pads = list(node.padding)
    for axis, size in enumerate(build.kinds[node.inputs[0]].shape[1:]):
        kernel, stride, before = node.kernel[axis], node.stride[axis], pads[axis]
        last = (size + before + pads[axis + 2] - kernel) // stride * stride - before  # where the last window begins
        pads[axis + 2] = max(0, last + kernel - size)
    return {"kernel_shape": node.kernel, "strides": node.stride, "pads": pads}


def _normalize(build: Builder, node: Normalize) -> Tensor:
    x = _source(build, node)
    squares = build.op("Mul", [x.name, x.name], "squares")
    total = build.op("ReduceSum", [squares, build.constant("channels", np.array([1], np.int64))], "sum", keepdims=1)
    root = build.op("Sqrt", [build.op("Add", [total, build.constant("eps", np.float32(node.eps))], "total")], "root")
    return Tensor(build.op("Div", [x.name, root]))


def _pad_channels(build: Builder, node: PadChannels) -> Tensor:
    return _padded(build, node, _source(build, node))


def _fixed_copy(build: Builder, node: FixedCopy) -> Tensor:
    if len(node.inputs) == 1 and not node.before and not node.after:
        return build.values[node.inputs[0]]
    return _padded(build, node, _concat(build, node) if len(node.inputs) > 1 else _source(build, node), "padded")


def _padded(build: Builder, node: PadChannels | FixedCopy, x: Tensor, name: str | None = None) -> Tensor:
    if not node.before and not node.after:
        return x
    pads = build.constant("pads", np.array([0, node.before, 0, 0, 0, node.after, 0, 0], np.int64))
    return Tensor(build.op("Pad", [x.name, pads], name))


def _concat(build: Builder, node: Concat | FixedCopy) -> Tensor:
    parts = [build.map(build.values[v], build.kinds[v].shape[0]).name for v in node.inputs]
    return Tensor(build.op("Concat", parts, axis=1))


def _gather(build: Builder, node: Gather) -> Tensor:
    parts = [build.map(build.values[v], build.kinds[v].shape[0]).name for v in node.inputs]
    joined = build.op("Concat", parts, "joined", axis=1) if len(parts) > 1 else parts[0]
    return Tensor(build.op("Gather", [joined, build.constant("index", node.index.astype(np.int64))], axis=1))


def _logic(build: Builder, node: Logic) -> Tensor:
    """Of -1 and +1: equal is a product, or is a maximum."""
    parts = [build.map(build.values[v], build.kinds[v].shape[0]).name for v in node.inputs]
    return Tensor(build.op("Mul" if node.kind == "xnor" else "Max", parts))


def _identity(build: Builder, node: Identity) -> Tensor:
    return build.values[node.inputs[0]]


def _source(build: Builder, node: Node, flat: bool = False) -> Tensor:
    """What a node of one input reads, in the shape that it wants."""
    value = node.inputs[0]
    x = build.values[value]
    return build.flat(x) if flat else build.map(x, build.kinds[value].shape[0])


# A handler adds a node's operator, without its epilogue, and returns the result y.
NODES: dict[type[Node], Callable[[Builder, Any], Tensor]] = {
    Conv2d: _conv2d,
    Int8Conv2d: _int8_conv2d,
    FixedConv2d: _fixed_conv2d,
    FixedMaxPool: _max_pool,
    FixedAveragePool: _fixed_average_pool,
    FixedCopy: _fixed_copy,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    PadChannels: _pad_channels,
    Concat: _concat,
    Gather: _gather,
    Logic: _logic,
    Normalize: _normalize,
    Detect: detect,
    Identity: _identity,
}
