"""The energy of a file's network, estimated from its graph."""

from __future__ import annotations

from math import prod

from netsuke.analyze.energy import Energy, arithmetic, maps, weights
from netsuke.artifact.graph import BinaryConv2d, Conv2d, Convolution, FixedConv2d, Graph, Int8Conv2d, Node, Read, Write
from netsuke.artifact.infer import Inference, Value

BITS = {"float32": 32, "bits": 1, "uint8": 8, "fixed": 8}  # of an element of a map, as the engine holds it


def file_energy(graph: Graph, size: int) -> Energy:
    """Picojoules of one image (`netsuke.analyze.energy`). size: of the file, in bytes.

    The file is read once from DRAM, what is coded in it included; every node reads its maps once and writes them once.
    Multiply-accumulates count by what they are done in; those with weights that are 0 count too, for convolutions do
    them. What stands behind a layer counts nothing but for its maps, as in `netsuke.analyze.cost`, and so does the
    offset of weights, which one sum a window serves.
    """
    inference = Inference(graph.model, graph.input_shape, graph.transform)
    total = weights(8 * size)
    for node in graph.nodes:
        first = len(inference.values)
        shape = inference.add_result(node)
        inference.add_epilogue(node, shape)
        read = [*node.inputs, *(step.value for step in node.epilogue if isinstance(step, Read))]
        written = [step.out for step in node.epilogue if isinstance(step, Write)]
        assert written == list(range(first, len(inference.values)))
        total += maps(*(sum(_bits(inference.values[index]) for index in side) for side in (read, written)))
        total += _computed(node, prod(shape))
    return total


def _computed(node: Node, results: int) -> Energy:
    if not isinstance(node, Convolution):
        return Energy()
    macs = results * prod(node.weight.shape[1:])
    if isinstance(node, BinaryConv2d):
        return arithmetic(binary_macs=macs)
    if isinstance(node, Int8Conv2d | FixedConv2d):
        return arithmetic(int8_macs=macs)
    assert isinstance(node, Conv2d)
    return arithmetic(float_macs=macs)


def _bits(value: Value) -> int:
    return prod(value.shape) * BITS[value.kind]
