"""Passes: small functions Graph -> Graph that change how a network is computed, never what.

The arrays are float64 until `round_arrays`, so that folded constants are rounded once.
"""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any, TypeGuard

import numpy as np

from netsuke.artifact import has_few_values
from netsuke.artifact.contract import MAX_KERNEL, MAX_STEPS, Error
from netsuke.artifact.graph import (
    Add,
    Affine,
    Binarize,
    BinaryConv2d,
    Conv2d,
    Graph,
    Identity,
    MaxPool,
    Mean,
    Node,
    Output,
    Read,
    Step,
    Store,
    Write,
)


def optimise(graph: Graph) -> Graph:
    """All passes that keep float64 arrays and the ids of the values that are left, in order."""
    graph = drop_dead(graph)
    graph = merge_strides(graph)
    graph = fuse_taps(graph)
    graph = share_writes(graph)
    graph = fuse_epilogues(graph)
    graph = drop_dead(graph)  # a dead store would stand between a convolution and its batch norm
    return fold_affine(graph)


def drop_dead(graph: Graph) -> Graph:
    """Without values that nobody reads, steps behind the last one that writes, and nodes that write nothing."""
    used = {output.value for output in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        steps: list[Step] = []
        for step in reversed(node.epilogue):
            if isinstance(step, Write):
                if step.out in used:
                    steps.append(step)
            elif steps:
                steps.append(step)
        if steps:
            steps.reverse()
            used.update(node.inputs)
            used.update(step.value for step in steps if isinstance(step, Read))
            kept.append(replace(node, epilogue=steps))
    return replace(graph, nodes=kept[::-1])


def merge_strides(graph: Graph) -> Graph:
    """x[:, :, ::a][:, :, :, ::b] in one node: a pool of one pixel that feeds only another such pool joins it."""
    nodes = list(graph.nodes)
    uses = _uses(graph)
    for i, node in enumerate(nodes):
        for j, source in enumerate(nodes[:i]):
            if not (_is_slice(node) and _is_slice(source)):
                continue
            if source.epilogue != [Store(node.inputs[0])] or uses[node.inputs[0]] != 1:
                continue
            stride = (node.stride[0] * source.stride[0], node.stride[1] * source.stride[1])
            if max(stride) <= MAX_KERNEL:
                nodes[i] = node = replace(node, inputs=source.inputs, stride=stride)
                nodes[j] = replace(source, epilogue=[])
    return replace(graph, nodes=[node for node in nodes if node.epilogue])


def _is_slice(node: Node) -> TypeGuard[MaxPool]:
    return isinstance(node, MaxPool) and node.kernel == (1, 1) and not any(node.padding)


def fuse_taps(graph: Graph) -> Graph:
    """Identity nodes that only write (binarize, quantize, store, mean) move to where their input is stored."""
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, epilogue=list(node.epilogue))
        host = _storer(nodes, node.inputs[0]) if isinstance(node, Identity) else None
        taps = all(isinstance(step, Write) for step in node.epilogue)
        if host is not None and taps and len(host.epilogue) + len(node.epilogue) <= MAX_STEPS:
            at = _position(host, node.inputs[0]) + 1
            host.epilogue[at:at] = node.epilogue
        else:
            nodes.append(node)
    return replace(graph, nodes=nodes)


def share_writes(graph: Graph) -> Graph:
    """Means and bits of one map that several nodes ask for are written once: of those that only writes lie between."""
    same: dict[int, int] = {}
    nodes = []
    for node in graph.nodes:
        steps: list[Step] = []
        written: list[Mean | Binarize] = []  # of y as it is
        for step in node.epilogue:
            if not isinstance(step, Write):
                written = []
            if isinstance(step, Mean | Binarize):
                first = next((other for other in written if _writes_the_same(other, step)), None)
                if first is not None:
                    same[step.out] = first.out
                    continue
                written.append(step)
            steps.append(replace(step, value=same.get(step.value, step.value)) if isinstance(step, Read) else step)
        nodes.append(replace(node, inputs=[same.get(v, v) for v in node.inputs], epilogue=steps))
    outputs = [replace(output, value=same.get(output.value, output.value)) for output in graph.outputs]
    return replace(graph, nodes=nodes, outputs=outputs)


def _writes_the_same(a: Mean | Binarize, b: Mean | Binarize) -> bool:
    if isinstance(a, Binarize) and isinstance(b, Binarize):
        return a.flip == b.flip and np.array_equal(a.threshold, b.threshold)
    return isinstance(a, Mean) and isinstance(b, Mean)


def fuse_epilogues(graph: Graph) -> Graph:
    """Identity nodes move into the epilogue of the node that made their input, or one operand of their addition.

    The host is the convolution if there is a choice, a binary one first: its result is still in registers. Operands
    of additions and products must be made before the host, which moves down behind them where nothing in between reads
    it.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, epilogue=list(node.epilogue))
        if not (isinstance(node, Identity) and _take_over(nodes, node)):
            nodes.append(node)
    return replace(graph, nodes=nodes)


def _take_over(nodes: list[Node], node: Identity) -> bool:
    """Try to append `node` to a host among `nodes`, which all come before it."""
    variants = [node]
    if isinstance(node.epilogue[0], Add):  # a + b is b + a
        swapped: list[Step] = [Add(node.inputs[0]), *node.epilogue[1:]]
        variants.append(replace(node, inputs=[node.epilogue[0].value], epilogue=swapped))
    candidates = []
    for variant in variants:
        host = _storer(nodes, variant.inputs[0])
        if host is not None and _is_last(host, variant.inputs[0]):
            candidates.append((_rank(host), -_index(nodes, host), host, variant))
    for _, _, host, variant in sorted(candidates, key=lambda c: c[:2]):
        operands = {step.value for step in variant.epilogue if isinstance(step, Read)}
        if operands & _written(host) or len(host.epilogue) + len(variant.epilogue) > MAX_STEPS:
            continue
        at = _index(nodes, host)
        makers = [_index(nodes, maker) for v in operands if (maker := _producer(nodes, v)) is not None]
        last = max(makers, default=-1)
        if last > at:
            between = nodes[at + 1 : last + 1]
            if any(_written(host) & _read(other) for other in between):
                continue
            nodes.insert(last, nodes.pop(at))
        host.epilogue += variant.epilogue
        return True
    return False


def _rank(node: Node) -> int:
    return 0 if isinstance(node, BinaryConv2d) else 1 if isinstance(node, Conv2d) else 2


def fold_affine(graph: Graph) -> Graph:
    """Affine steps in a row become one; one that comes first behind a convolution moves into its constants.

    This is how batch norm disappears: scale * (alpha_w * D + beta_w * Sa + bias) + shift, and likewise for floats.
    """
    nodes = []
    for node in graph.nodes:
        node = replace(node, epilogue=_merge_affines(node.epilogue))
        if isinstance(node, (Conv2d, BinaryConv2d)) and isinstance(node.epilogue[0], Affine):
            scale, shift = node.epilogue[0].scale, node.epilogue[0].shift
            bias = node.bias * scale + shift
            rest = node.epilogue[1:]
            if isinstance(node, BinaryConv2d):
                node = replace(node, alpha_w=node.alpha_w * scale, beta_w=node.beta_w * scale, bias=bias, epilogue=rest)
            else:
                node = replace(node, weight_scale=scale, bias=bias, epilogue=rest)
        nodes.append(node)
    return replace(graph, nodes=nodes)


def settle_scales(graph: Graph) -> Graph:
    """Scales of weights are multiplied into them, but of those whose few values make a small file."""
    return replace(
        graph,
        nodes=[
            node
            if not isinstance(node, Conv2d) or node.weight_scale is None or has_few_values(node.weight)
            else replace(node, weight=node.scaled_weight, weight_scale=None)
            for node in graph.nodes
        ],
    )


def _merge_affines(steps: list[Step]) -> list[Step]:
    merged: list[Step] = []
    for step in steps:
        if isinstance(step, Affine) and merged and isinstance(last := merged[-1], Affine):
            merged[-1] = Affine(last.scale * step.scale, last.shift * step.scale + step.shift)
        else:
            merged.append(step)
    return merged


def round_arrays(graph: Graph) -> Graph:
    """Every float rounded to float32. Raises netsuke.Error where one is not finite."""
    return replace(graph, nodes=[_rounded(node, node.name) for node in graph.nodes])


def _rounded(item: Any, name: str) -> Any:
    """A node or step with its floats rounded; int8 weights stay."""
    changes: dict[str, Any] = {}
    for f in fields(item):
        value = getattr(item, f.name)
        if f.name == "epilogue":
            changes[f.name] = [_rounded(step, name) for step in value]
        elif f.name in _FLOATS or isinstance(value, np.ndarray) and value.dtype != np.int8:
            with np.errstate(over="ignore"):
                rounded = np.ascontiguousarray(value, np.float32)
            if not np.isfinite(rounded).all():
                raise Error(
                    f"layer {name!r} has numbers that are not finite: the model is damaged or training diverged"
                )
            changes[f.name] = rounded if isinstance(value, np.ndarray) else rounded.item()
    return replace(item, **changes)


_FLOATS = ("alpha_a", "gamma", "activation_scale", "multiplier", "eps", "score_threshold", "iou_threshold")


def renumber(graph: Graph) -> tuple[Graph, dict[int, int]]:
    """Value ids in the order of the steps that write them. Returns the graph and the map from old to new ids."""
    ids = {0: 0}
    nodes = []
    for node in graph.nodes:
        steps: list[Step] = []
        for step in node.epilogue:
            if isinstance(step, Read):
                step = replace(step, value=ids[step.value])
            elif isinstance(step, Write):
                ids[step.out] = len(ids)
                step = replace(step, out=ids[step.out])
            steps.append(copy.copy(step))
        nodes.append(replace(node, inputs=[ids[v] for v in node.inputs], epilogue=steps))
    outputs = [Output(ids[o.value], o.rank) for o in graph.outputs]
    return replace(graph, nodes=nodes, outputs=outputs), ids


# ------------------------------------------------------------------------------------------- small questions
def _uses(graph: Graph) -> dict[int, int]:
    """How often each value is read."""
    count: dict[int, int] = {}
    for node in graph.nodes:
        for value in [*node.inputs, *(s.value for s in node.epilogue if isinstance(s, Read))]:
            count[value] = count.get(value, 0) + 1
    for output in graph.outputs:
        count[output.value] = count.get(output.value, 0) + 1
    return count


def _written(node: Node) -> set[int]:
    return {step.out for step in node.epilogue if isinstance(step, Write)}


def _read(node: Node) -> set[int]:
    return {*node.inputs, *(step.value for step in node.epilogue if isinstance(step, Read))}


def _producer(nodes: list[Node], value: int) -> Node | None:
    return next((node for node in nodes if value in _written(node)), None)


def _storer(nodes: list[Node], value: int) -> Node | None:
    """The node at some step of which y is `value`: it stores it. (The mean of y is another value.)"""
    return next((node for node in nodes if any(isinstance(s, Store) and s.out == value for s in node.epilogue)), None)


def _index(nodes: list[Node], node: Node) -> int:
    return next(i for i, other in enumerate(nodes) if other is node)


def _position(node: Node, value: int) -> int:
    return next(i for i, s in enumerate(node.epilogue) if isinstance(s, Store) and s.out == value)


def _is_last(node: Node, value: int) -> bool:
    """Whether y still is `value` at the end of the epilogue."""
    return all(isinstance(step, Write) for step in node.epilogue[_position(node, value) :])
