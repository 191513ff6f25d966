"""The pass that makes float convolutions 8-bit or 4-bit ones, given how each activation is coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

import numpy as np
import torch

from netsuke.artifact.graph import Conv2d, Graph, Identity, Int8Conv2d, Node, Quantize, Write
from netsuke.lowering.passes import drop_dead, fuse_taps
from netsuke.nn.coding import Coding
from netsuke.nn.quantized import fits, is_ternary, quantize_weight

BitsOf = Callable[[str], int | None]  # by a layer's name


def activations(graph: Graph, bits_of: BitsOf) -> list[tuple[int, int]]:
    """The values that layers to be quantized read, each with its bits, ascending. bits_of: None leaves a layer out."""
    wanted = [(node.inputs[0], bits_of(node.name)) for node in graph.nodes if _fits(node)]
    return sorted({(value, bits) for value, bits in wanted if bits is not None})


def quantize(graph: Graph, coding_of: Callable[[Conv2d], Coding | None]) -> tuple[Graph, dict[int, tuple[int, Coding]]]:
    """The float convolutions that have a coding, and whose windows 8-bit ones may have, as such ones over codes.

    A value is quantized once, where it is made, for all its readers of one coding; its float form is stored only if
    others read it. coding_of: of what a layer reads; its bits are the weights' too; None leaves the layer float.
    Expects batch norm folded and arrays in float64. Returned beside the graph: each value of codes, with the float
    value that it is made of.
    """
    codes: dict[tuple[int, Coding], int] = {}  # a float value's id and coding -> its quantized form's id
    unused = 1 + max(step.out for node in graph.nodes for step in node.epilogue if isinstance(step, Write))
    nodes: list[Node] = []
    for node in graph.nodes:
        code = coding_of(node) if _fits(node) else None
        if _fits(node) and code is not None:
            source = (node.inputs[0], code)
            if source not in codes:
                codes[source] = unused + len(codes)
                step = Quantize(float(np.float32(1 / code.scale)), code.zero, codes[source], code.bits)
                nodes.append(Identity(f"{node.name}.quantize"[-200:], [node.inputs[0]], [step]))
            node = _int8(node, codes[source], code)
        nodes.append(node)
    return drop_dead(fuse_taps(replace(graph, nodes=nodes))), {out: source for source, out in codes.items()}


def _fits(node: Node) -> TypeGuard[Conv2d]:
    return isinstance(node, Conv2d) and fits(node.weight)


def _int8(node: Conv2d, source: int, code: Coding) -> Int8Conv2d:
    of = torch.from_numpy(node.weight)
    settled = node.weight_scale is None or not is_ternary(of)  # the scales of a batch norm would hide the three values
    weight, scale = (
        x.numpy() for x in quantize_weight(torch.from_numpy(node.scaled_weight) if settled else of, code.bits)
    )
    if not settled:
        scale = scale * node.weight_scale
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
