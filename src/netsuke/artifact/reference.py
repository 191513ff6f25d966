"""The definition of every operator (docs/format.md, section 4), in plain numpy: slow, obvious, exact to the bit.

Values are (N, C, H, W): float32, uint8, or for bits int8 that is -1 or +1. A convolution over bits is a convolution
over these numbers, with zeros outside the image; nothing is packed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .contract import Error
from .detect import detect
from .float32 import exp, fma
from .graph import (
    Add,
    Affine,
    AveragePool,
    Binarize,
    BinaryConv2d,
    Clamp,
    Concat,
    Conv2d,
    Detect,
    FixedAveragePool,
    FixedConv2d,
    FixedMaxPool,
    FixedNode,
    Gather,
    Graph,
    Int8Conv2d,
    Logic,
    MaxPool,
    Mean,
    Multiply,
    Node,
    Normalize,
    PadChannels,
    Quantize,
    Read,
    Sigmoid,
    Step,
    Store,
    ToFixed,
    TwoSlope,
)
from .images import check_finite, check_images, check_values
from .infer import Value, check_shift, infer, unit_of

Values = dict[int, np.ndarray]


class Reference:
    """Runs a graph with numpy. Called like an engine, it gives the same bits.

    Raises:
        Error: the graph breaks a rule of docs/format.md section 3.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values = infer(graph)

    @property
    def model(self) -> str:
        return self.graph.model

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)"""
        return self.values[0].shape

    def __call__(self, images: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """The outputs for a batch.

        Args:
            images: (N, C, H, W), N any number: float32, already normalised, or uint8 where the file has a transform.

        Returns:
            float32 of shape (N, ...); a tuple of them if the graph has several outputs.

        Raises:
            Error: the images have another shape or type, or hold a number that is not finite.
        """
        values = self.trace(images)
        outputs = []
        for output in self.graph.outputs:
            value = values[output.value]
            outputs.append(value.reshape(len(value), *output.shape_of(value.shape[1:])))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def trace(self, images: np.ndarray) -> Values:
        """Every value of the network for a batch, by id. Arguments and errors as in `__call__`."""
        check_images(images, self.input_shape, self.graph.transform is not None)
        check_finite(images)
        values = {0: images if images.dtype == np.float32 else self._transform(images)}
        for node in self.graph.nodes:
            values |= self._run(node, values)
        return values

    def run_node(self, index: int, values: Mapping[int, np.ndarray]) -> Values:
        """Run one node.

        Args:
            index: position of the node in the graph.
            values: what the node reads, by id: its inputs and what its steps add or multiply by. (N, C, H, W): float32,
                uint8, or bits as int8 -1/+1.

        Returns:
            What the node makes, by id.

        Raises:
            Error: there is no such node, or a value is missing, or of another shape or type.
        """
        if not 0 <= index < len(self.graph.nodes):
            raise Error(f"there is no node {index}; the graph has {len(self.graph.nodes)}")
        node = self.graph.nodes[index]
        read = [*node.inputs, *(step.value for step in node.epilogue if isinstance(step, Read))]
        check_values(values, {value: self.values[value] for value in read})
        return self._run(node, values)

    def _run(self, node: Node, values: Mapping[int, np.ndarray]) -> Values:
        if isinstance(node, FixedNode):
            return _run_fixed(node, values, self.values)
        with np.errstate(all="ignore"):  # overflow to infinity and NaN are results like others
            return _run_epilogue(node.epilogue, _run_operator(node, [values[index] for index in node.inputs]), values)

    def _transform(self, images: np.ndarray) -> np.ndarray:
        transform = self.graph.transform
        assert transform is not None
        if transform.order == "BGR":
            images = images[:, ::-1]
        return fma(images.astype(np.float32), _channels(transform.scale), _channels(transform.shift))


def _run_operator(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    if isinstance(node, Conv2d):
        return _conv2d(node, inputs[0])
    if isinstance(node, BinaryConv2d):
        return _binary_conv2d(node, inputs[0])
    if isinstance(node, Int8Conv2d):
        return _int8_conv2d(node, inputs[0])
    if isinstance(node, MaxPool):
        return _max_pool(node, inputs[0])
    if isinstance(node, AveragePool):
        return _average_pool(node, inputs[0])
    if isinstance(node, PadChannels):
        return np.pad(inputs[0], ((0, 0), (node.before, node.after), (0, 0), (0, 0)))
    if isinstance(node, Concat):
        return np.concatenate(inputs, axis=1)
    if isinstance(node, Gather):
        return np.concatenate(inputs, axis=1)[:, node.index].astype(np.float32)
    if isinstance(node, Logic):
        a, b = inputs
        return (a * b if node.kind == "xnor" else np.maximum(a, b)).astype(np.float32)
    if isinstance(node, Normalize):
        return _normalize(node, inputs[0])
    if isinstance(node, Detect):
        return detect(node, inputs)
    return inputs[0]  # Identity


# ----------------------------------------------------------------------------------------------- windows
def _taps(
    x: np.ndarray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Iterator[tuple[int, int, np.ndarray]]:
    """For ky, kx ascending: ky, kx and what that tap sees for every output pixel; zeros outside the image.

    x: (N, C, H, W). Yields arrays (N, C, H of the result, W of the result).
    """
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height = (padded.shape[2] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    width = (padded.shape[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y0, x0 = ky * dilation[0], kx * dilation[1]
            rows = slice(y0, y0 + (height - 1) * stride[0] + 1, stride[0])
            columns = slice(x0, x0 + (width - 1) * stride[1] + 1, stride[1])
            yield ky, kx, padded[:, :, rows, columns]


def _inside(x: np.ndarray) -> np.ndarray:
    """(1, 1, H, W) of ones: seen through `_taps`, it says which taps lie inside the image."""
    return np.ones((1, 1, *x.shape[2:]), np.int64)


# ----------------------------------------------------------------------------------------------- operators
def _conv2d(node: Conv2d, x: np.ndarray) -> np.ndarray:
    """One fma a tap and channel, in ascending order. Groups stand on an axis of their own: (N, g, O / g, H, W)."""
    outputs, *kernel, depth = node.weight.shape
    weight = node.scaled_weight.reshape(node.groups, outputs // node.groups, *kernel, depth)
    weight = weight + np.float32(0)  # -0 counts as +0
    y = node.bias.reshape(node.groups, -1, 1, 1)
    for ky, kx, tap in _taps(x, (kernel[0], kernel[1]), node.stride, node.padding, node.dilation):
        grouped = _grouped(tap, node.groups)
        for c in range(depth):
            y = fma(weight[:, :, ky, kx, c, None, None], grouped[:, :, None, c], y)
    return y.reshape(len(x), outputs, *y.shape[-2:])


def _binary_conv2d(node: BinaryConv2d, x: np.ndarray) -> np.ndarray:
    """Sums of -1, 0 and +1, exact in float64 in any order; then the constants A, B and K of docs/format.md."""
    outputs, *kernel, depth = node.weight.shape
    weight = node.weight.astype(np.float64).reshape(node.groups, outputs // node.groups, *kernel, depth)
    x, padding = _padded_bits(node, x)
    window = ((kernel[0], kernel[1]), node.stride, padding, node.dilation)
    dot, activation_sum = np.zeros(()), np.zeros(())
    for ky, kx, tap in _taps(x, *window):
        grouped = _grouped(tap, node.groups).astype(np.float64)
        dot = dot + np.einsum("ngchw,goc->ngohw", grouped, weight[:, :, ky, kx], optimize=True)
        activation_sum = activation_sum + grouped.sum(axis=2, keepdims=True)
    weight_sum, count = np.zeros(()), np.zeros(())
    for ky, kx, inside in _taps(_inside(x), *window):
        weight_sum = weight_sum + weight[:, :, ky, kx].sum(axis=-1)[..., None, None] * inside[0]
        count = count + depth * inside[0, 0]

    alpha_w, beta_w, bias = (
        array.astype(np.float64).reshape(node.groups, -1, 1, 1) for array in (node.alpha_w, node.beta_w, node.bias)
    )
    alpha_a, gamma = (np.float64(np.float32(number)) for number in (node.alpha_a, node.gamma))
    a = (alpha_w * alpha_a).astype(np.float32)
    b = (beta_w * alpha_a).astype(np.float32)
    k = ((alpha_w * gamma) * weight_sum + (beta_w * gamma) * count + bias).astype(np.float32)

    y = fma(a, dot.astype(np.float32), k)
    if (node.beta_w != 0).any():
        y = fma(b, activation_sum.astype(np.float32), y)
    return y.reshape(len(x), outputs, *y.shape[-2:])


def _padded_bits(node: BinaryConv2d, x: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A larger image, where padding is not nothing; and the padding that is left."""
    if node.padding_mode == "zeros":
        return x, node.padding
    top, left, bottom, right = node.padding
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    if node.padding_mode == "ones":
        return np.pad(x, around, constant_values=1), (0, 0, 0, 0)
    return np.pad(x, around, mode="edge"), (0, 0, 0, 0)


def _int8_conv2d(node: Int8Conv2d, q: np.ndarray) -> np.ndarray:
    total = _integer_sums(node, q.astype(np.float64) - node.zero)
    a = (node.weight_scale.astype(np.float64) * np.float64(np.float32(node.activation_scale))).astype(np.float32)
    a, bias = (array.reshape(node.groups, -1, 1, 1) for array in (a, node.bias))
    y = fma(a, total.astype(np.float32), bias)
    return y.reshape(len(q), len(node.weight), *y.shape[-2:])


def _integer_sums(node: Int8Conv2d | FixedConv2d, centred: np.ndarray) -> np.ndarray:
    """Sums of w * (q - zero), (N, g, O / g, H, W), below 2^31 and so exact in float64 in any order; a tap outside the
    image adds 0.
    """
    outputs, *kernel, depth = node.weight.shape
    weight = node.weight.astype(np.float64).reshape(node.groups, outputs // node.groups, *kernel, depth)
    total = np.zeros(())
    for ky, kx, tap in _taps(centred, (kernel[0], kernel[1]), node.stride, node.padding, node.dilation):
        total = total + np.einsum("ngchw,goc->ngohw", _grouped(tap, node.groups), weight[:, :, ky, kx], optimize=True)
    return total


def _max_pool(node: MaxPool | FixedMaxPool, x: np.ndarray) -> np.ndarray:
    window = (node.kernel, node.stride, node.padding)
    y, begun = np.zeros((), x.dtype), np.zeros((), bool)
    for (_, _, tap), (_, _, inside) in zip(_taps(x, *window), _taps(_inside(x), *window), strict=True):
        y = np.where((inside == 1) & (~begun | (tap > y)), tap, y)
        begun = begun | (inside == 1)
    return y


def _average_pool(node: AveragePool, x: np.ndarray) -> np.ndarray:
    window = (node.kernel, node.stride, node.padding)
    y, count = np.zeros((), np.float32), np.zeros((), np.int64)
    for (_, _, tap), (_, _, inside) in zip(_taps(x, *window), _taps(_inside(x), *window), strict=True):
        y = np.where(inside == 1, y + tap, y)
        count = count + inside
    if node.divisor == "window":
        count = np.array(node.kernel[0] * node.kernel[1])
    return y / count.astype(np.float32)


def _normalize(node: Normalize, x: np.ndarray) -> np.ndarray:
    total = np.full((len(x), 1, *x.shape[2:]), node.eps, np.float32)
    for c in range(x.shape[1]):
        total = fma(x[:, c : c + 1], x[:, c : c + 1], total)
    return x / np.sqrt(total)


def _grouped(x: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W) -> (N, g, C / g, H, W)"""
    return x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])


# ----------------------------------------------------------------------------------------------- fixed point
def _run_fixed(node: FixedNode, values: Mapping[int, np.ndarray], known: list[Value]) -> Values:
    """In int32, modulo 2^32."""
    scales = [known[index].scale for index in node.inputs]
    unit = unit_of(node, scales)
    inputs = [values[index].astype(np.int32) - np.int32(known[index].zero) for index in node.inputs]
    y = _fixed_operator(node, inputs, scales, unit)
    made: Values = {}
    for step in node.epilogue:
        if isinstance(step, Add):
            value = known[step.value]
            centred = values[step.value].astype(np.int32) - np.int32(value.zero)
            y = y + (centred << _channels(check_shift("it", value.scale / unit)))
        elif isinstance(step, Clamp):
            y = np.maximum(y, _channels(_saturated(step.low / unit)))
            y = np.minimum(y, _channels(_saturated(step.high / unit)))
        elif isinstance(step, Store):
            made[step.out] = y.astype(np.float32) * _channels(unit.astype(np.float32))
        elif isinstance(step, ToFixed):
            q = _shifted(y, _channels(check_shift("it", step.scale / unit)))
            q = np.clip(q, -step.zero, (1 << step.bits) - 1 - step.zero)
            made[step.out] = (q + step.zero).astype(np.uint8)
    return made


def _fixed_operator(node: FixedNode, inputs: list[np.ndarray], scales: list[float], unit: np.ndarray) -> np.ndarray:
    if isinstance(node, FixedConv2d):
        bias = np.rint(node.bias.astype(np.float64) / unit).astype(np.int32)
        total = _integer_sums(node, inputs[0].astype(np.float64)).astype(np.int64)
        return (total.reshape(len(total), len(node.weight), *total.shape[-2:]) + _channels(bias)).astype(np.int32)
    if isinstance(node, FixedMaxPool):
        return _max_pool(node, inputs[0])
    if isinstance(node, FixedAveragePool):
        multiplier, _ = node.multiplier
        total = np.zeros((), np.int32)
        for _, _, tap in _taps(inputs[0], node.kernel, node.stride, node.padding):
            total = total + tap
        return np.int32(multiplier) * total
    aligned = [x << check_shift("it", scale / unit) for x, scale in zip(inputs, scales, strict=True)]
    return np.pad(np.concatenate(aligned, axis=1), ((0, 0), (node.before, node.after), (0, 0), (0, 0)))


def _shifted(y: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """y / 2^bits, rounded to nearest even: modulo 2^32, half of the last place is added, less one unit where the
    result would be even.
    """
    half = np.where(bits > 0, (1 << np.maximum(bits - 1, 0)) - 1, 0).astype(np.int32)
    odd = np.where(bits > 0, (y >> bits) & 1, 0).astype(np.int32)
    return (y + half + odd) >> bits


def _saturated(numbers: np.ndarray) -> np.ndarray:
    """The nearest int32. numbers: float64."""
    return np.clip(np.rint(numbers), -(2.0**31), 2.0**31 - 1).astype(np.int32)


# ----------------------------------------------------------------------------------------------- epilogue
def _run_epilogue(steps: list[Step], y: np.ndarray, values: Mapping[int, np.ndarray]) -> Values:
    made: Values = {}
    for step in steps:
        if isinstance(step, Affine):
            y = fma(y, _channels(step.scale), _channels(step.shift))
        elif isinstance(step, Add):
            y = y + values[step.value]
        elif isinstance(step, Multiply):
            y = y * values[step.value]
        elif isinstance(step, Sigmoid):
            y = _sigmoid(y)
        elif isinstance(step, TwoSlope):
            y = np.where(y >= 0, y * _channels(step.positive), y * _channels(step.negative))
        elif isinstance(step, Clamp):
            low, high = _channels(step.low), _channels(step.high)
            y = np.where(y > low, y, low)
            y = np.where(y < high, y, high)
        elif isinstance(step, Binarize):
            threshold = _channels(step.threshold)
            ones = y <= threshold if step.flip else y >= threshold
            made[step.out] = np.where(ones, np.int8(1), np.int8(-1))
        elif isinstance(step, Quantize):
            t = fma(y, np.array(step.multiplier, np.float32), np.array(step.zero, np.float32))
            t = np.where(t > 0, t, np.float32(0))
            highest = np.float32((1 << step.bits) - 1)
            t = np.where(t < highest, t, highest)
            made[step.out] = np.rint(t).astype(np.uint8)
        elif isinstance(step, ToFixed):
            made |= _run_epilogue([Quantize(1 / step.scale, step.zero, step.out, step.bits)], y, values)
        elif isinstance(step, Store):
            made[step.out] = y.copy()
        elif isinstance(step, Mean):
            made[step.out] = _mean(y)
    return made


def _mean(y: np.ndarray) -> np.ndarray:
    """Sums of the rows, x ascending; their sum, rows ascending; divided by the number of pixels."""
    rows = np.zeros(y.shape[:3], np.float32)
    for x in range(y.shape[3]):
        rows = rows + y[:, :, :, x]
    total = np.zeros(y.shape[:2], np.float32)
    for row in range(y.shape[2]):
        total = total + rows[:, :, row]
    return (total / np.float32(y.shape[2] * y.shape[3]))[:, :, None, None]


def _sigmoid(y: np.ndarray) -> np.ndarray:
    one = np.float32(1)
    return one / (one + exp(-y + np.float32(0)))  # fma(y, -1, 0)


def _channels(array: np.ndarray) -> np.ndarray:
    """(C,) or (1,) beside (N, C, H, W)"""
    return array.reshape(-1, 1, 1)
