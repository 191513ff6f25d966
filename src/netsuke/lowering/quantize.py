"""The pass that makes float convolutions 8-bit ones, given how each activation is coded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TypeGuard

import numpy as np

from netsuke.artifact.contract import MAX_INT8_WINDOW
from netsuke.artifact.graph import Conv2d, Graph, Identity, Int8Conv2d, Node, Quantize, Write
from netsuke.lowering.passes import drop_dead, fuse_taps

SMALLEST_SCALE = 2.0**-100  # below it an activation is as good as dead, and 1 / scale would leave float32


@dataclass(frozen=True)
class Coding:
    """How a float tensor becomes uint8 codes q: q stands for scale * (q - zero)."""

    scale: float
    zero: int


def coding(low: float, high: float) -> Coding:
    """The 256 codes spread evenly over [low, high], which is widened to hold 0; 0 is represented exactly.

    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    section 2.1. An activation that is always 0 gets the scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255))
    if scale < SMALLEST_SCALE:
        return Coding(1.0, 0)
    return Coding(scale, int(np.clip(np.rint(-low / scale), 0, 255)))


def activations(graph: Graph) -> list[int]:
    """The values that `quantize` needs codings of, ascending."""
    return sorted({node.inputs[0] for node in graph.nodes if _fits(node)})


def quantize(graph: Graph, codings: Mapping[int, Coding]) -> Graph:
    """Every float convolution whose window an 8-bit one may have, as an 8-bit one over its quantized input.

    A value is quantized once, where it is made, for all its readers; its float form is stored only if others read it.
    codings: by value id, one for each of `activations(graph)`. Expects batch norm folded and arrays in float64.
    """
    codes: dict[int, int] = {}  # a float value's id -> its quantized form's
    unused = 1 + max(step.out for node in graph.nodes for step in node.epilogue if isinstance(step, Write))
    nodes: list[Node] = []
    for node in graph.nodes:
        if _fits(node):
            source = node.inputs[0]
            code = codings[source]
            if source not in codes:
                codes[source] = unused + len(codes)
                step = Quantize(float(np.float32(1 / code.scale)), code.zero, codes[source])
                nodes.append(Identity(f"{node.name}.quantize"[-200:], [source], [step]))
            node = _int8(node, codes[source], code)
        nodes.append(node)
    return drop_dead(fuse_taps(replace(graph, nodes=nodes)))


def quantize_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights -127 to 127 and their scales, float32 (O,), from float64 weights (O, kh, kw, C / groups).

    One symmetric scale an output channel, max |w| / 127 (Krishnamoorthi 2018, "Quantizing deep convolutional networks
    for efficient inference", section 3.1). A channel of zeros has the scale 1.
    """
    largest = np.abs(weight).max(axis=(1, 2, 3))
    scale = (largest / 127).astype(np.float32)
    scale = np.where(scale < SMALLEST_SCALE, np.float32(1), scale)
    codes = np.rint(weight / scale.astype(np.float64)[:, None, None, None])
    return np.clip(codes, -127, 127).astype(np.int8), scale


def _fits(node: Node) -> TypeGuard[Conv2d]:
    return isinstance(node, Conv2d) and prod(node.weight.shape[1:]) <= MAX_INT8_WINDOW


def _int8(node: Conv2d, source: int, code: Coding) -> Int8Conv2d:
    weight, scale = quantize_weight(node.weight)
    return Int8Conv2d(
        node.name,
        [source],
        node.epilogue,
        weight=weight,
        weight_scale=scale,
        bias=node.bias,
        activation_scale=code.scale,
        zero=code.zero,
        stride=node.stride,
        padding=node.padding,
        dilation=node.dilation,
        groups=node.groups,
    )
