"""Graphs run by torch: node by node, fixed-point ones in the numbers that their integers stand for.

`artifact.Reference` is the definition, to the bit; this is fast, and knows codes of any number of bits, so that a
precision can be tried before there is a file for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from netsuke.artifact.contract import Error
from netsuke.artifact.graph import (
    Add,
    Affine,
    AveragePool,
    Clamp,
    Concat,
    Conv2d,
    FixedAveragePool,
    FixedConv2d,
    FixedCopy,
    FixedMaxPool,
    FixedNode,
    Graph,
    Identity,
    MaxPool,
    Mean,
    Multiply,
    Node,
    PadChannels,
    Sigmoid,
    Step,
    Store,
    ToFixed,
    TwoSlope,
)
from netsuke.artifact.infer import unit_of

Values = dict[int, Tensor]


def simulate(graph: Graph, images: Tensor) -> Tensor:
    """The first output of a graph of float and fixed-point nodes for normalised images (N, C, H, W), in their type.

    In float64 a fixed-point graph gives the engine's numbers, but where integers of 32 bits overflow. Raises
    netsuke.Error for a node of another kind.
    """
    values: Values = {0: images}
    last = last_readers(graph)
    scales: dict[int, float] = {}
    with torch.no_grad():
        for position, node in enumerate(graph.nodes):
            unit = unit_of(node, [scales[i] for i in node.inputs]) if isinstance(node, FixedNode) else None
            y = run_operator(node, [values[i] for i in node.inputs], unit)
            for step in node.epilogue:
                y, made = run_step(step, y, values, unit)
                if made is not None:
                    assert isinstance(step, (Store, ToFixed, Mean))
                    values[step.out] = made
                    if isinstance(step, ToFixed):
                        scales[step.out] = step.scale
            for value in [v for v, at in last.items() if at == position and v in values]:
                del values[value]
    output = graph.outputs[0]
    return values[output.value].reshape(-1, *output.shape_of(values[output.value].shape[1:]))


def last_readers(graph: Graph) -> dict[int, int]:
    """The position of the last node that reads each value; outputs are left out, they are read after all."""
    last: dict[int, int] = {}
    for position, node in enumerate(graph.nodes):
        for value in [*node.inputs, *(s.value for s in node.epilogue if isinstance(s, (Add, Multiply)))]:
            last[value] = position
    for output in graph.outputs:
        last.pop(output.value, None)
    return last


def run_operator(node: Node, inputs: list[Tensor], unit: np.ndarray | None = None) -> Tensor:
    """y of a node before its epilogue. unit: Y of a fixed-point node."""
    x = inputs[0]
    run: Callable[..., Tensor] | None = _OPERATORS.get(type(node))
    if run is None:
        raise Error(f"layer {node.name!r} is a {type(node).__name__}, which is not simulated")
    return run(node, inputs if isinstance(node, (Concat, FixedCopy)) else x, unit)


def run_step(step: Step, y: Tensor, values: Values, unit: np.ndarray | None = None) -> tuple[Tensor, Tensor | None]:
    """y after a step, and the value that the step makes."""
    if isinstance(step, Store):
        return y, y
    if isinstance(step, ToFixed):
        return y, fixed(y, step.scale, step.zero, step.bits)
    if isinstance(step, Mean):
        return y, y.mean((2, 3), keepdim=True)
    if isinstance(step, Add):
        return y + values[step.value], None
    if isinstance(step, Multiply):
        return y * values[step.value], None
    if isinstance(step, Affine):
        return y * _channels(step.scale, y) + _channels(step.shift, y), None
    if isinstance(step, TwoSlope):
        return torch.where(y >= 0, y * _channels(step.positive, y), y * _channels(step.negative, y)), None
    if isinstance(step, Sigmoid):
        return y.sigmoid(), None
    if isinstance(step, Clamp):
        ends = [step.low, step.high] if unit is None else [np.rint(end / unit) * unit for end in (step.low, step.high)]
        return torch.minimum(torch.maximum(y, _channels(ends[0], y)), _channels(ends[1], y)), None
    raise Error(f"a step {type(step).__name__} is not simulated")


def fixed(y: Tensor, scale: float, zero: int, bits: int) -> Tensor:
    """The numbers that the codes of y stand for."""
    return ((y / scale).round_().clamp_(-zero, (1 << bits) - 1 - zero)).mul_(scale)


# ------------------------------------------------------------------------------------------- operators
def _conv2d(node: Conv2d, x: Tensor, unit: Any) -> Tensor:
    return _convolved(node, x, node.scaled_weight, node.bias)


def _fixed_conv2d(node: FixedConv2d, x: Tensor, unit: np.ndarray) -> Tensor:
    scale = np.broadcast_to(np.asarray(node.weight_scale, np.float64), (len(node.weight),))
    weight = node.weight.astype(np.float64) * scale[:, None, None, None]
    return _convolved(node, x, weight, np.rint(np.asarray(node.bias, np.float64) / unit) * unit)


def _convolved(node: Conv2d | FixedConv2d, x: Tensor, weight: np.ndarray, bias: np.ndarray) -> Tensor:
    w = torch.from_numpy(np.ascontiguousarray(weight.transpose(0, 3, 1, 2))).to(x)
    padded = _padded(x, node.padding)
    return F.conv2d(padded, w, torch.from_numpy(bias).to(x), node.stride, 0, node.dilation, node.groups)


def _max_pool(node: MaxPool | FixedMaxPool, x: Tensor, unit: Any) -> Tensor:
    return F.max_pool2d(_padded(x, node.padding, -torch.inf), node.kernel, node.stride)


def _average_pool(node: AveragePool, x: Tensor, unit: Any) -> Tensor:
    mean = F.avg_pool2d(_padded(x, node.padding), node.kernel, node.stride)
    if node.divisor == "window" or not any(node.padding):
        return mean
    return mean / F.avg_pool2d(_padded(torch.ones_like(x[:1, :1]), node.padding), node.kernel, node.stride)


def _fixed_average_pool(node: FixedAveragePool, x: Tensor, unit: Any) -> Tensor:
    multiplier, bits = node.multiplier
    taps = node.kernel[0] * node.kernel[1]
    return F.avg_pool2d(_padded(x, node.padding), node.kernel, node.stride, divisor_override=1) * (
        multiplier / (1 << bits) if taps > 1 else 1
    )


def _copy(node: FixedCopy, inputs: list[Tensor], unit: Any) -> Tensor:
    return F.pad(torch.cat(inputs, 1), (0, 0, 0, 0, node.before, node.after))


def _padded(x: Tensor, padding: tuple[int, int, int, int], value: float = 0.0) -> Tensor:
    top, left, bottom, right = padding
    return F.pad(x, (left, right, top, bottom), value=value) if any(padding) else x


def _channels(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(array, np.float64)).to(like).view(-1, 1, 1)


_OPERATORS: dict[type[Node], Callable[..., Tensor]] = {
    Conv2d: _conv2d,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    PadChannels: lambda node, x, unit: F.pad(x, (0, 0, 0, 0, node.before, node.after)),
    Concat: lambda node, inputs, unit: torch.cat(inputs, 1),
    Identity: lambda node, x, unit: x.clone(),
    FixedConv2d: _fixed_conv2d,
    FixedMaxPool: _max_pool,
    FixedAveragePool: _fixed_average_pool,
    FixedCopy: _copy,
}
