"""The engine equals the reference bit for bit, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import netsuke
from netsuke.artifact import Graph, Reference, encode
from netsuke.artifact.graph import (
    Add,
    AveragePool,
    Binarize,
    Concat,
    FixedCopy,
    Gather,
    Identity,
    InputTransform,
    Int8Conv2d,
    Logic,
    MaxPool,
    Mean,
    Multiply,
    Output,
    PadChannels,
    Quantize,
    Sigmoid,
    Step,
    Store,
    ToFixed,
    TwoSlope,
)

STYLES = st.sampled_from(graphs.STYLES)


def check(graph: Graph, isa: str, images: np.ndarray, threads: int = 1) -> None:
    engine = netsuke.load(encode(graph), threads=threads, isa=isa)
    assert engine.isa == isa
    graphs.assert_same_bits(engine(images), Reference(graph)(images))


def some_images(graph: Graph, style: str = "normal", batch: int = 1) -> np.ndarray:
    return graphs.images(np.random.default_rng(len(graph.nodes)), style, batch, graph.input_shape)


# ----------------------------------------------------------------------------------------------- random networks
@settings(max_examples=100)
@given(graph=graphs.graphs(), style=STYLES, batch=st.integers(0, 3), threads=st.integers(1, 3))
def test_random_graphs(isa: str, graph: Graph, style: str, batch: int, threads: int) -> None:
    check(graph, isa, some_images(graph, style, batch), threads)


@settings(max_examples=50)
@given(graph=graphs.graphs(), style=STYLES)
def test_random_graphs_node_by_node(isa: str, graph: Graph, style: str) -> None:
    reference, engine = Reference(graph), netsuke.load(encode(graph), isa=isa)
    trace = reference.trace(some_images(graph, style, batch=2))
    for index in range(len(graph.nodes)):
        made, expected = engine.run_node(index, trace), reference.run_node(index, trace)
        assert sorted(made) == sorted(expected)
        for value in expected:
            graphs.assert_same_bits(made[value], expected[value])


@settings(max_examples=30)
@given(graph=graphs.graphs(), seed=st.integers(0, 99))
def test_random_graphs_on_uint8(isa: str, graph: Graph, seed: int) -> None:
    if graph.transform is None:
        return
    images = np.random.default_rng(seed).integers(0, 256, (2, *graph.input_shape), dtype=np.uint8)
    check(graph, isa, images)


@pytest.mark.parametrize("batch", [0, 1, 2, 5])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_residual_network(isa: str, threads: int, batch: int) -> None:
    graph = graphs.residual_network(blocks=1)
    check(graph, isa, some_images(graph, batch=batch), threads)


def test_every_operator_on_every_byte(isa: str) -> None:
    """The transform of all 256 values, channels reversed."""
    graph = graphs.every_operator()
    images = np.resize(np.arange(256, dtype=np.uint8), (3, *graph.input_shape))
    check(graph, isa, images)


# ----------------------------------------------------------------------------------------------- single nodes
@settings(max_examples=100)
@given(graph=graphs.binary_convolutions(), style=STYLES, threads=st.integers(1, 3))
def test_binary_convolution(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style), threads)


@settings(max_examples=75)
@given(graph=graphs.binary_convolutions(channels=300, size=4, whole_map=True), style=STYLES, threads=st.integers(1, 3))
def test_binary_linear(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style, batch=2), threads)


@settings(max_examples=75)
@given(graph=graphs.bits_nodes(), style=STYLES, threads=st.integers(1, 3))
def test_nodes_of_bits(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style, batch=2), threads)


@settings(max_examples=75)
@given(graph=graphs.convolutions(), style=STYLES, threads=st.integers(1, 3))
def test_float_convolution(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style), threads)


@settings(max_examples=40)
@given(graph=graphs.convolutions(channels=100, size=4, whole_map=True), style=STYLES)
def test_float_linear(isa: str, graph: Graph, style: str) -> None:
    check(graph, isa, some_images(graph, style, batch=2))


@settings(max_examples=75)
@given(graph=graphs.int8_convolutions(), style=STYLES, threads=st.integers(1, 3))
def test_int8_convolution(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style), threads)


@settings(max_examples=40)
@given(graph=graphs.int8_convolutions(channels=200, size=4, whole_map=True), style=STYLES)
def test_int8_linear(isa: str, graph: Graph, style: str) -> None:
    check(graph, isa, some_images(graph, style, batch=2))


def test_a_float_map_does_not_lie_in_the_place_of_codes(isa: str) -> None:
    """Codes that are added for the last time leave a quarter of the room that the sum takes."""
    enter = Identity("enter", [0], [ToFixed(0.25, 128, 1), ToFixed(0.5, 100, 2)])
    node = FixedCopy("sum", [1], [Add(2), Store(3)])
    graph = Graph("sum", (21, 5, 6), [enter, node], [Output(3, 4)])
    check(graph, isa, some_images(graph))


@pytest.mark.parametrize("most", [64, 65, 127])
def test_int8_sums_at_their_ends(isa: str, most: int) -> None:
    """Weights up to 64 may run from sums of two products in 16 bits: at the ends these are as large as can be."""
    rng = np.random.default_rng(0)
    weight = rng.choice(np.array([-most, most], np.int8), (40, 3, 3, 10))
    weight[:8], weight[8:16] = most, -most
    for node in (
        graphs.int8_conv2d(rng, 10, 40, (3, 3), weight=weight, zero=0, **SAME),
        graphs.fixed_conv2d(rng, 10, 40, (3, 3), weight=weight, **SAME),
    ):
        images = np.full((1, 10, 6, 7), 1e9, np.float32)
        images[:, ::3, 2:4] = -1e9
        if isinstance(node, Int8Conv2d):
            check(graphs.uint8_graph((10, 6, 7), node, Quantize(40.0, 0, 1)), isa, images)
        else:
            node.epilogue = [ToFixed(1.0, 128, 2)]
            check(graphs.fixed_graph((10, 6, 7), node, 2.0**-6, 0), isa, images)


@settings(max_examples=75)
@given(graph=graphs.fixed_convolutions(), style=STYLES, threads=st.integers(1, 3))
def test_fixed_convolution(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style), threads)


@settings(max_examples=30)
@given(graph=graphs.fixed_convolutions(channels=200, size=4, whole_map=True), style=STYLES)
def test_fixed_linear(isa: str, graph: Graph, style: str) -> None:
    check(graph, isa, some_images(graph, style, batch=2))


@settings(max_examples=75)
@given(graph=graphs.pools(), style=STYLES, threads=st.integers(1, 3))
def test_pools(isa: str, graph: Graph, style: str, threads: int) -> None:
    check(graph, isa, some_images(graph, style), threads)


# ----------------------------------------------------------------------------------------------- every tail length
SAME = {"padding": (1, 1, 1, 1)}


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_binary_convolution_of_every_depth(isa: str, kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for depth in [*range(1, 136), 191, 192, 193, 255, 256, 257, 511, 512, 513]:
        window = SAME if kernel == (3, 3) else {}
        graph = graphs.bits_graph((depth, 3, 4), graphs.binary_conv2d(rng, depth, 5, kernel, **window))
        check(graph, isa, some_images(graph))


def test_binary_convolution_of_every_number_of_outputs(isa: str) -> None:
    rng = np.random.default_rng(1)
    for outputs in range(1, 101):
        graph = graphs.bits_graph((7, 3, 3), graphs.binary_conv2d(rng, 7, outputs, (3, 3), **SAME))
        check(graph, isa, some_images(graph))


# Windows of a map of 2 rows are gathered (its halo would be the larger part), those of 7 rows are read where they lie.
@pytest.mark.parametrize("height", [2, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("depth", [3, 16, 64])
def test_binary_convolution_of_every_width(isa: str, depth: int, stride: int, height: int) -> None:
    rng = np.random.default_rng(2)
    for width in range(1, 42):
        node = graphs.binary_conv2d(rng, depth, 6, (3, 3), stride=(stride, stride), **SAME)
        graph = graphs.bits_graph((depth, height, width), node)
        check(graph, isa, some_images(graph))


@pytest.mark.parametrize("threads", [1, 3])
def test_convolutions_of_many_chunks(isa: str, threads: int) -> None:
    """Chunks that end within rows, for each family, with a halo of its own."""
    rng, shape = np.random.default_rng(8), (5, 61, 43)
    for kernel, stride, padding in (((3, 3), (1, 1), (1, 1, 1, 1)), ((5, 4), (2, 1), (2, 0, 1, 3))):
        window: dict[str, Any] = {"stride": stride, "padding": padding}
        for graph in (
            graphs.bits_graph(shape, graphs.binary_conv2d(rng, 5, 70, kernel, **window)),
            graphs.float_graph(shape, graphs.conv2d(rng, 5, 70, kernel, **window)),
            graphs.uint8_graph(shape, graphs.int8_conv2d(rng, 5, 70, kernel, **window)),
            fixed_graph(rng, shape, 70, kernel, window),
        ):
            check(graph, isa, some_images(graph), threads)


def fixed_graph(
    rng: np.random.Generator, shape: tuple[int, int, int], outputs: int, kernel: tuple[int, int], window: Any
) -> Graph:
    node = graphs.fixed_conv2d(rng, shape[0], outputs, kernel, epilogue=[ToFixed(0.25, 128, 2)], **window)
    return graphs.fixed_graph(shape, node, 2.0**-4, 128)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("width", [1, 43, 500])
def test_means_of_many_chunks(isa: str, width: int, threads: int) -> None:
    """Rows that threads share among them, and (500) rows longer than a chunk; of stretches of each border class."""
    rng, shape = np.random.default_rng(13), (5, 7 if width == 500 else 61, width)
    gate = graphs.conv2d(rng, 21, 21, (1, 1), name="gate")
    for graph in (
        graphs.bits_graph(shape, graphs.binary_conv2d(rng, 5, 21, (3, 3), **SAME)),
        graphs.float_graph(shape, graphs.conv2d(rng, 5, 21, (3, 3), **SAME)),
        graphs.uint8_graph(shape, graphs.int8_conv2d(rng, 5, 21, (3, 3), **SAME)),
    ):
        first = graph.outputs[0].value
        graph.nodes[-1].epilogue = [Store(first), Mean(first + 1)]
        gate.inputs, gate.epilogue = [first + 1], [Sigmoid(), Store(first + 2)]
        steps = [Multiply(first + 2), Multiply(first), Store(first + 3), Mean(first + 4), Sigmoid(), Mean(first + 5)]
        graph.nodes += [gate, Identity("gated", [first], steps)]
        graph.outputs = [Output(first + at, 4) for at in (1, 2, 3, 4, 5)]
        check(graph, isa, some_images(graph, batch=2), threads)


@pytest.mark.parametrize("threads", [1, 3])
def test_concat_of_every_depth(isa: str, threads: int) -> None:
    """Inputs that begin at whole vectors are read where they lie, others are copied together."""
    for first in (1, 7, 8, 15, 16, 17, 31, 32, 33, 48):
        shape = (first, 9, 11)
        nodes = [
            graphs.conv2d(np.random.default_rng(first), first, second, (1, 1), epilogue=[Store(number)])
            for number, second in enumerate((5, 16, first), 1)
        ]
        channels = first + 5 + 16 + first
        threshold = graphs.floats(np.random.default_rng(first), "grid", channels)
        slopes = [graphs.floats(np.random.default_rng(at), "normal", channels) for at in (1, 2)]
        steps = [Mean(4), Binarize(threshold, False, 5), TwoSlope(slopes[0], slopes[1]), Store(6), Mean(7)]
        join = Concat("join", [0, 2, 3, 1], steps)
        seen = graphs.binary_conv2d(np.random.default_rng(0), channels, 3, (1, 1), inputs=[5], epilogue=[Store(8)])
        graph = Graph("concat", shape, [*nodes, join, seen], [Output(v, 4) for v in (4, 6, 7, 8)])
        check(graph, isa, some_images(graph, batch=2), threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("read_alone", [False, True])
def test_signs_that_are_joined(isa: str, threads: int, read_alone: bool) -> None:
    """Signs of one node that a gather joins may be written where it would put them. read_alone: a convolution reads
    some by themselves too."""
    for channels in (8, 16, 17, 32, 48, 64):
        rng, zero = np.random.default_rng(channels), np.zeros(1, np.float32)
        signs: list[Step] = [Binarize(graphs.floats(rng, "grid", channels), False, number) for number in (1, 2, 3)]
        nodes = [
            graphs.conv2d(rng, 2, channels, (1, 1), epilogue=signs),
            Gather("join", [1, 2, 3], [Binarize(zero, False, 4)], pieces=[(3 * channels, 0)]),
            Gather("join again", [4, 3, 1], [Binarize(zero, False, 5)], pieces=[(5 * channels, 0)]),
            Gather("once more", [3, 2], [Binarize(zero, False, 6)], pieces=[(2 * channels, 0)]),
            Logic("both", [1, 2], [Store(7), Binarize(zero, False, 8)], kind="or"),
            Logic("equal", [8, 3], [Binarize(zero, False, 9)], kind="xnor"),
            Gather("of logic", [9, 8], [Binarize(zero, False, 10)], pieces=[(2 * channels, 0)]),
        ]
        made = 11
        for value, groups, count in ((4, 3, 3), (5, 1, 5), (6, 1, 2), (10, 1, 2), *([(2, 1, 1)] if read_alone else [])):
            node = graphs.binary_conv2d(rng, count * channels, 6, (3, 3), inputs=[value], groups=groups, **SAME)
            node.padding_mode, node.epilogue = "replicate", [Store(made)]
            nodes.append(node)
            made += 1
        graph = Graph("joined", (2, 7, 9), nodes, [Output(v, 4) for v in (7, *range(11, made))])
        check(graph, isa, some_images(graph, batch=2), threads)


def test_two_readers_of_one_halo(isa: str) -> None:
    """A value's halo serves the larger of its readers; int8 readers with different zeros cannot share one."""
    rng, shape = np.random.default_rng(9), (6, 12, 13)
    quantize = Quantize(20.0, 100, 1)
    for zeros in ((100, 100), (100, 7)):
        nodes: list[Any] = [Identity("codes", [0], [quantize, Store(2)])]
        for number, (zero, size) in enumerate(zip(zeros, (3, 5), strict=True)):
            pad = size // 2
            node = graphs.int8_conv2d(rng, 6, 4, (size, size), padding=(pad, pad, pad, pad), inputs=[1])
            node.zero, node.epilogue = zero, [Store(3 + number)]
            nodes.append(node)
        graph = Graph("readers", shape, nodes, [Output(3, 4), Output(4, 4)])
        check(graph, isa, some_images(graph, batch=2))


def test_int8_convolution_of_every_depth_and_number_of_outputs(isa: str) -> None:
    rng = np.random.default_rng(10)
    for number in range(1, 70):
        for depth, outputs in ((number, 5), (6, number)):
            for kernel, window in (((1, 1), {}), ((3, 3), SAME)):
                node = graphs.int8_conv2d(rng, depth, outputs, kernel, **window)
                graph = graphs.uint8_graph((depth, 5, 6), node)
                check(graph, isa, some_images(graph))


@pytest.mark.parametrize("height", [2, 7])
def test_int8_convolution_of_every_width(isa: str, height: int) -> None:
    rng = np.random.default_rng(11)
    for width in range(1, 42):
        graph = graphs.uint8_graph((3, height, width), graphs.int8_conv2d(rng, 3, 6, (3, 3), **SAME))
        check(graph, isa, some_images(graph))


@pytest.mark.parametrize("groups", [2, 3, 16])
def test_int8_convolution_of_groups(isa: str, groups: int) -> None:
    rng = np.random.default_rng(12)
    for depth in (1, 2, 5):
        for outputs in (1, 17):
            node = graphs.int8_conv2d(rng, groups * depth, groups * outputs, (2, 3), groups=groups, **SAME)
            check(graph := graphs.uint8_graph((groups * depth, 6, 7), node), isa, some_images(graph))


@pytest.mark.parametrize("groups", [2, 3, 16, 33])
def test_binary_convolution_of_groups(isa: str, groups: int) -> None:
    rng = np.random.default_rng(3)
    for depth in (1, 2, 31, 33):
        for outputs in (1, 2, 17):
            node = graphs.binary_conv2d(rng, groups * depth, groups * outputs, (2, 3), groups=groups, **SAME)
            graph = graphs.bits_graph((groups * depth, 4, 4), node)
            check(graph, isa, some_images(graph))


@pytest.mark.parametrize("size", range(1, 8))
def test_binary_convolution_with_any_borders(isa: str, size: int) -> None:
    """Kernels larger than the image, windows that see padding only, dilation and stride over the border."""
    rng = np.random.default_rng(4)
    for kernel in (1, 2, 5):
        for padding in ((0, 0, 5, 5), (4, 4, 4, 4), (3, 0, 0, 3), (6, 7, 8, 9)):
            for dilation, stride in ((1, 1), (2, 1), (3, 2)):
                node = graphs.binary_conv2d(
                    rng, 5, 3, (kernel, kernel), padding=padding, dilation=(dilation, 1), stride=(stride, 2)
                )
                if (
                    size + padding[0] + padding[2] > dilation * (kernel - 1)
                    and size + padding[1] + padding[3] >= kernel
                ):
                    graph = graphs.bits_graph((5, size, size), node)
                    check(graph, isa, some_images(graph))


COUNTED = ("ones", "replicate")  # modes in which taps outside the image count


@pytest.mark.parametrize("mode", COUNTED)
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_padding_that_counts_of_every_depth(isa: str, groups: int, mode: str) -> None:
    """Read from a halo, and (groups that do not begin at a byte) gathered; some have bits past the last channel."""
    rng = np.random.default_rng(14)
    for depth in (1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65):
        node = graphs.binary_conv2d(rng, groups * depth, groups * 5, (3, 3), groups=groups, padding_mode=mode, **SAME)
        graph = graphs.bits_graph((groups * depth, 5, 7), node)
        check(graph, isa, some_images(graph))


@pytest.mark.parametrize("mode", COUNTED)
@pytest.mark.parametrize("size", [1, 2, 3, 6, 20])
def test_padding_that_counts_with_any_borders(isa: str, size: int, mode: str) -> None:
    """Windows that see padding only, halos that would be larger than the map, dilation and stride over the border."""
    rng = np.random.default_rng(15)
    for kernel in (1, 3, 5):
        for padding in ((1, 1, 1, 1), (0, 0, 5, 5), (4, 4, 4, 4), (3, 0, 0, 3), (6, 7, 8, 9)):
            for dilation, stride in ((1, 1), (2, 1), (3, 2)):
                fields: dict[str, Any] = {"padding": padding, "dilation": (dilation, 1), "stride": (stride, 2)}
                height, width = size + padding[0] + padding[2], size + padding[1] + padding[3]
                if height > dilation * (kernel - 1) and width >= kernel:
                    node = graphs.binary_conv2d(rng, 5, 3, (kernel, kernel), padding_mode=mode, **fields)
                    graph = graphs.bits_graph((5, size, size), node)
                    check(graph, isa, some_images(graph))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("first", ["zeros", *COUNTED])
def test_readers_with_padding_of_their_own(isa: str, first: str, threads: int) -> None:
    """One halo serves those of one mode, the smaller inside the larger; the others' windows are gathered."""
    rng, shape = np.random.default_rng(16), (21, 23, 19)
    modes = [first, *(mode for mode in ("replicate", "zeros", "ones") if mode != first), first]
    nodes: list[Any] = [Identity("bits", [0], [Binarize(np.zeros(1, np.float32), False, 1)])]
    for number, mode in enumerate(modes):
        pad = 1 + number % 2
        window: dict[str, Any] = {"padding": (pad, pad, pad, pad), "padding_mode": mode}
        node = graphs.binary_conv2d(rng, 21, 6, (2 * pad + 1, 2 * pad + 1), **window)
        node.epilogue = [Store(2 + number)]
        nodes.append(node)
    graph = Graph("readers", shape, nodes, [Output(2 + number, 4) for number in range(len(modes))])
    check(graph, isa, some_images(graph, batch=2), threads)


def test_float_convolution_of_every_width_and_number_of_outputs(isa: str) -> None:
    rng = np.random.default_rng(5)
    for number in range(1, 70):
        shapes = [((3, 3, number), 5), ((2, 2, 5), number)]
        for shape, outputs in shapes:
            graph = graphs.float_graph(shape, graphs.conv2d(rng, shape[0], outputs, (3, 3), **SAME))
            check(graph, isa, some_images(graph))


def test_depthwise_convolution_of_every_depth(isa: str) -> None:
    rng = np.random.default_rng(6)
    for depth in range(1, 40):
        graph = graphs.float_graph((depth, 4, 5), graphs.conv2d(rng, depth, depth, (3, 3), groups=depth, **SAME))
        check(graph, isa, some_images(graph))


def test_pools_and_copies_of_every_depth(isa: str) -> None:
    window: dict[str, Any] = {"kernel": (2, 3), "stride": (2, 2), "padding": (1, 1, 0, 1)}
    for depth in range(1, 70):
        for node in (
            MaxPool("pool", [0], [Store(1)], **window),
            AveragePool("pool", [0], [Store(1)], **window),
            PadChannels("pad", [0], [Store(1)], before=depth % 7, after=depth % 5),
        ):
            graph = graphs.float_graph((depth, 4, 5), node)
            check(graph, isa, some_images(graph))


def test_binarize_packs_every_depth(isa: str) -> None:
    """The bits that a step writes are read by the next node, whatever their number."""
    for depth in range(1, 140):
        threshold = graphs.floats(np.random.default_rng(depth), "grid", depth)
        sign = Identity("sign", [0], [Binarize(threshold, depth % 2 == 0, 1)])
        node = graphs.binary_conv2d(np.random.default_rng(7), depth, 2, (1, 1))
        graph = Graph("packing", (depth, 2, 3), [sign, node], [Output(2, 4)])
        check(graph, isa, some_images(graph, "grid"))


# ----------------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("flip", [False, True])
def test_a_value_on_the_threshold(isa: str, flip: bool) -> None:
    """>= and <= at the very number, the ones beside it, both zeros, infinity and NaN."""
    numbers = np.float32(
        [1, np.nextafter(np.float32(1), np.float32(2)), np.nextafter(np.float32(1), np.float32(0)), 0, -0.0]
    )
    for threshold in (1.0, 0.0, -0.0):
        # Dividing by a slope of 1e-38 twice overflows: infinity, and NaN by adding the opposite infinity.
        large = TwoSlope(np.full(1, 3e38, np.float32), np.full(1, 3e38, np.float32))
        for steps in (
            [],
            [large, large],
            [large, large, Store(1), TwoSlope(-np.ones(1, np.float32), -np.ones(1, np.float32)), Add(1)],
        ):
            graph = threshold_graph(steps, threshold, flip)
            check(graph, isa, numbers.reshape(1, 1, 1, 5))


def threshold_graph(steps: list[Any], threshold: float, flip: bool) -> Graph:
    """Steps, then a threshold, then the bits made visible by a binary convolution."""
    nodes, value = [], 0
    if Store(1) in steps:  # a node cannot add what it makes itself
        nodes.append(Identity("first", [0], steps[: steps.index(Store(1)) + 1]))
        steps, value = steps[steps.index(Store(1)) + 1 :], 1
    binarize = Binarize(np.full(1, threshold, np.float32), flip, value + 1)
    nodes.append(Identity("threshold", [value], [*steps, binarize]))
    node = graphs.binary_conv2d(np.random.default_rng(0), 1, 1, (1, 1), inputs=[value + 1])
    node.epilogue = [Store(value + 2)]
    return Graph("threshold", (1, 1, 5), [*nodes, node], [Output(value + 2, 4)])


def test_the_largest_int8_sums(isa: str) -> None:
    """65,536 products of 255 and 127: just below 2^31, where 16-bit and saturating steps would show."""
    for sign in (1, -1):
        node = graphs.int8_conv2d(np.random.default_rng(0), 16384, 3, (2, 2))
        node.weight[:], node.zero = 127 * sign, 0
        graph = graphs.uint8_graph((16384, 2, 2), node, Quantize(1.0, 0, 1))
        images = np.full((1, *graph.input_shape), 255, np.float32)
        check(graph, isa, images)


def test_ties_round_to_even_and_ends_are_clipped(isa: str) -> None:
    """Quantize at and beside every half, below 0 and above 255, infinities included."""
    halves = np.arange(-3, 260, dtype=np.float32) + np.float32(0.5)
    numbers = np.concatenate([halves, np.nextafter(halves, np.float32(-1e9)), np.float32([0, -0.0, 3e38, -3e38])])
    node = graphs.int8_conv2d(np.random.default_rng(0), 1, 2, (1, 1))
    for step in (Quantize(1.0, 0, 1), Quantize(-1.0, 200, 1), Quantize(3e38, 128, 1)):
        graph = graphs.uint8_graph((1, 1, len(numbers)), node, step)
        check(graph, isa, numbers.reshape(1, 1, 1, -1))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_an_input_that_is_only_quantized(isa: str, channels: int) -> None:
    """Images become codes at once then, without the float map: the same bits, from float32 and from uint8."""
    rng = np.random.default_rng(channels)
    graph = graphs.uint8_graph((channels, 9, 70), graphs.int8_conv2d(rng, channels, 7, (3, 3), **SAME))
    scale, shift = graphs.floats(rng, "normal", channels), graphs.floats(rng, "normal", channels)
    graph.transform = InputTransform(scale, shift, "BGR" if channels == 3 else "RGB")
    check(graph, isa, some_images(graph, batch=2))
    check(graph, isa, rng.integers(0, 256, (2, *graph.input_shape), dtype=np.uint8))
    images = some_images(graph)
    images[0, -1, -1, -1] = np.inf
    with pytest.raises(netsuke.Error, match="not finite"):
        netsuke.load(encode(graph), isa=isa)(images)


def test_subnormal_numbers_are_kept(isa: str) -> None:
    graph = graphs.float_graph((16, 1, 3), graphs.conv2d(np.random.default_rng(0), 16, 16, (1, 1)))
    graph.nodes[0].weight[:] = np.float32(2**-10)
    graph.nodes[0].bias[:] = 0
    images = np.full((1, *graph.input_shape), 2.0**-130, np.float32)
    check(graph, isa, images)
    assert Reference(graph)(images).max() > 0


def test_linear_of_a_whole_large_map(isa: str) -> None:
    """4,096 channels of 2 x 2: sums of 16,384 signs."""
    graph = graphs.bits_graph((4096, 2, 2), graphs.binary_conv2d(np.random.default_rng(0), 4096, 10, (2, 2)))
    check(graph, isa, np.ones((1, 4096, 2, 2), np.float32))
    check(graph, isa, some_images(graph, batch=2), threads=2)
