"""Cross-layer equalisation: the same network, its channels scaled so that one scale a layer serves them all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from netsuke.artifact.graph import Add, Clamp, Conv2d, Graph, Multiply, Step, Store, TwoSlope

ROUNDS = 50


def equalise(graph: Graph) -> Graph:
    """Scale the channels between convolutions, output by s and the next one's input by 1 / s, until both convolutions'
    weights of a channel have one range: s = sqrt(r1 / r2) (Nagel et al. 2019, "Data-Free Quantization Through Weight
    Equalization and Bias Correction", section 4.1, equation 11). What it computes stays the same.

    It takes pairs with nothing between them but ReLU and clamps, whose ends are scaled too (so that of ReLU6 nothing is
    lost, where the paper makes it a ReLU). Expects float64 arrays, batch norm folded.
    """
    nodes = [_settled(node) if isinstance(node, Conv2d) else node for node in graph.nodes]
    places = _pairs(replace(graph, nodes=nodes))
    for _ in range(ROUNDS):
        moved = 0.0
        for first, second in places:
            one, other = nodes[first], nodes[second]
            assert isinstance(one, Conv2d)
            assert isinstance(other, Conv2d)
            s = _scales(one, other)
            nodes[first], nodes[second] = _scaled_output(one, 1 / s), _scaled_input(other, s)
            moved = max(moved, float(np.abs(np.log(s)).max(initial=0.0)))
        if moved < 1e-3:
            break
    return replace(graph, nodes=nodes)


def _settled(node: Conv2d) -> Conv2d:
    return replace(node, weight=node.scaled_weight, weight_scale=None)


def _pairs(graph: Graph) -> list[tuple[int, int]]:
    """Positions of convolutions, the second of which alone reads what the first makes."""
    readers: dict[int, list[int]] = {}
    shared = {output.value for output in graph.outputs}
    for position, node in enumerate(graph.nodes):
        for value in node.inputs:
            readers.setdefault(value, []).append(position)
        shared |= {step.value for step in node.epilogue if isinstance(step, (Add, Multiply))}
    made = []
    for position, node in enumerate(graph.nodes):
        if not isinstance(node, Conv2d) or not all(_scales_through(step) for step in node.epilogue):
            continue
        stores = [step.out for step in node.epilogue if isinstance(step, Store)]
        if len(stores) != 1 or not isinstance(node.epilogue[-1], Store) or stores[0] in shared:
            continue
        following = readers.get(stores[0], [])
        if len(following) != 1:
            continue
        reader = graph.nodes[following[0]]
        if isinstance(reader, Conv2d) and (reader.groups == 1 or reader.weight.shape[3] == 1):
            made.append((position, following[0]))
    return made


def _scales_through(step: Step) -> bool:
    """Whether scaling y and the step's own numbers by a positive factor scales what comes of it."""
    return isinstance(step, (TwoSlope, Clamp, Store))


def _scales(one: Conv2d, other: Conv2d) -> np.ndarray:
    first = np.abs(one.weight).max((1, 2, 3))
    size = np.abs(other.weight)
    second = size.max((1, 2, 3)).reshape(other.groups, -1).max(1) if other.groups > 1 else size.max((0, 1, 2))
    usable = (first > 0) & (second > 0)
    return np.where(usable, np.sqrt(np.where(usable, first, 1) / np.where(usable, second, 1)), 1.0)


def _scaled_output(node: Conv2d, by: np.ndarray) -> Conv2d:
    steps = [replace(s, low=s.low * by, high=s.high * by) if isinstance(s, Clamp) else s for s in node.epilogue]
    return replace(node, weight=node.weight * by[:, None, None, None], bias=node.bias * by, epilogue=steps)


def _scaled_input(node: Conv2d, by: np.ndarray) -> Conv2d:
    """Of a depthwise convolution input channel i is read by output i alone (or, with a multiplier, by several)."""
    if node.groups > 1:
        outputs = len(node.weight) // node.groups
        return replace(node, weight=node.weight * np.repeat(by, outputs)[:, None, None, None])
    return replace(node, weight=node.weight * by)
