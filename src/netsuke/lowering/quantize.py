"""The pass that makes float convolutions 8-bit or 4-bit ones, given how each activation is coded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TypeGuard

import numpy as np

from netsuke.artifact.contract import MAX_INT8_WINDOW
from netsuke.artifact.graph import Conv2d, Graph, Identity, Int8Conv2d, Node, Quantize, Write
from netsuke.lowering.passes import drop_dead, fuse_taps

BitsOf = Callable[[str], int | None]  # by a layer's name
FRACTIONS = np.arange(32, 65)[::-1] / 64
SMALLEST_SCALE = 2.0**-100  # below it an activation is as good as dead, and 1 / scale would leave float32


@dataclass(frozen=True)
class Coding:
    """How a float tensor becomes codes q of `bits` bits: q stands for scale * (q - zero)."""

    scale: float
    zero: int
    bits: int = 8


def coding(low: float, high: float, bits: int = 8) -> Coding:
    """The 2^bits codes spread evenly over [low, high], which is widened to hold 0; 0 is represented exactly.

    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    section 2.1. An activation that is always 0 gets the scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    most = (1 << bits) - 1
    scale = float(np.float32((high - low) / most))
    if scale < SMALLEST_SCALE:
        return Coding(1.0, 0, bits)
    return Coding(scale, int(np.clip(np.rint(-low / scale), 0, most)), bits)


def activations(graph: Graph, bits_of: BitsOf) -> list[tuple[int, int]]:
    """The values that `quantize` needs codings of, each with its bits, ascending."""
    wanted = [(node.inputs[0], bits_of(node.name)) for node in graph.nodes if _fits(node)]
    return sorted({(value, bits) for value, bits in wanted if bits is not None})


def quantize(graph: Graph, codings: Mapping[tuple[int, int], Coding], bits_of: BitsOf) -> Graph:
    """The float convolutions that are to be, and whose windows 8-bit ones may have, as such ones over quantized inputs.

    A value is quantized once, where it is made, for all its readers of as many bits; its float form is stored only if
    others read it. codings: by value id and bits, one for each of `activations(graph, bits_of)`. bits_of: of weights
    and activations of a layer, by its name; None leaves it float. Expects batch norm folded and arrays in float64.
    """
    codes: dict[tuple[int, int], int] = {}  # a float value's id and bits -> its quantized form's id
    unused = 1 + max(step.out for node in graph.nodes for step in node.epilogue if isinstance(step, Write))
    nodes: list[Node] = []
    for node in graph.nodes:
        bits = bits_of(node.name) if _fits(node) else None
        if _fits(node) and bits is not None:
            source = (node.inputs[0], bits)
            code = codings[source]
            if source not in codes:
                codes[source] = unused + len(codes)
                step = Quantize(float(np.float32(1 / code.scale)), code.zero, codes[source], bits)
                nodes.append(Identity(f"{node.name}.quantize"[-200:], [node.inputs[0]], [step]))
            node = _int8(node, codes[source], code)
        nodes.append(node)
    return drop_dead(fuse_taps(replace(graph, nodes=nodes)))


def quantize_weight(weight: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """int8 weights and their scales, float32 (O,), from float64 weights (O, kh, kw, C / groups).

    One symmetric scale an output channel: max |w| / 127 for weights of -127 to 127 (Krishnamoorthi 2018, "Quantizing
    deep convolutional networks for efficient inference", section 3.1). Of 4 bits, -7 to 7, the scale of a grid below
    max |w| / 7 that has the least squared error: so few steps are better spent on the many small weights.
    A channel of zeros has the scale 1.
    """
    most = (1 << (bits - 1)) - 1
    largest = np.abs(weight).max(axis=(1, 2, 3))
    best, least = np.ones(len(weight), np.float32), np.full(len(weight), np.inf)
    for fraction in FRACTIONS if bits < 8 else (1.0,):
        scale = (fraction * largest / most).astype(np.float32)
        scale = np.where(scale < SMALLEST_SCALE, np.float32(1), scale)
        wide = scale.astype(np.float64)[:, None, None, None]
        error = ((_codes(weight, wide, most) * wide - weight) ** 2).sum(axis=(1, 2, 3))
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return _codes(weight, best.astype(np.float64)[:, None, None, None], most).astype(np.int8), best


def _codes(weight: np.ndarray, scale: np.ndarray, most: int) -> np.ndarray:
    return np.clip(np.rint(weight / scale), -most, most)


def _fits(node: Node) -> TypeGuard[Conv2d]:
    return isinstance(node, Conv2d) and prod(node.weight.shape[1:]) <= MAX_INT8_WINDOW


def _int8(node: Conv2d, source: int, code: Coding) -> Int8Conv2d:
    weight, scale = quantize_weight(node.weight, code.bits)
    return Int8Conv2d(
        node.name,
        [source],
        node.epilogue,
        weight=weight,
        weight_scale=scale,
        bias=node.bias,
        activation_scale=code.scale,
        zero=code.zero,
        bits=code.bits,
        stride=node.stride,
        padding=node.padding,
        dilation=node.dilation,
        groups=node.groups,
    )
