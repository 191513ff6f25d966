"""Boxes of an SSD, and pixels made unit vectors: the engine has the reference's bits, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import netsuke
from netsuke.artifact import Graph, Reference, encode
from netsuke.artifact.graph import Detect, Gather, Output, Store

STYLES = st.sampled_from(graphs.STYLES)


def check(graph: Graph, isa: str, images: np.ndarray, threads: int = 1) -> None:
    engine = netsuke.load(encode(graph), threads=threads, isa=isa)
    assert engine.isa == isa
    graphs.assert_same_bits(engine(images), Reference(graph)(images))


@settings(max_examples=20)
@given(graph=graphs.detections(), style=STYLES, batch=st.integers(0, 3), threads=st.integers(1, 3))
def test_random_detections(isa: str, graph: Graph, style: str, batch: int, threads: int) -> None:
    check(graph, isa, graphs.images(np.random.default_rng(1), style, batch, graph.input_shape), threads)


@settings(max_examples=30)
@given(graph=graphs.normalizations(), style=STYLES, batch=st.integers(0, 2), threads=st.integers(1, 3))
def test_random_normalizations(isa: str, graph: Graph, style: str, batch: int, threads: int) -> None:
    check(graph, isa, graphs.images(np.random.default_rng(1), style, batch, graph.input_shape), threads)


def over_maps(sizes: list[tuple[int, int]], boxes: list[int], labels: int, **fields: Any) -> tuple[Graph, list[Any]]:
    """A graph whose last node is a detect of maps of these sizes, and the shapes of what it reads."""
    node = graphs.detect(np.random.default_rng(0), boxes, labels, **fields)
    shapes = [
        (channels * count, *size) for size, count in zip(sizes, boxes, strict=True) for channels in (4, labels + 1)
    ]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    nodes: list[Any] = []
    for _, h, w in shapes:
        window = {"stride": (1, 1), "padding": (0, 0, 0, 0)}
        nodes.append(
            graphs.MaxPool("cut", [0], [Store(len(nodes) + 1)], kernel=(height - h + 1, width - w + 1), **window)
        )
    cut = len(nodes)
    for i, (channels, _, _) in enumerate(shapes):
        nodes.append(Gather("map", [i + 1], [Store(len(nodes) + 1)], pieces=[(1, 0)] * channels))
    node.inputs = list(range(cut + 1, len(nodes) + 1))
    node.epilogue = [Store(len(nodes) + 1)]
    return Graph("maps", (1, height, width), [*nodes, node], [Output(len(nodes) + 1, 3)]), shapes


def run_detect(graph: Graph, isa: str, threads: int, maps: list[np.ndarray]) -> np.ndarray:
    """The rows that both make of the maps, the same ones."""
    node, at = graph.nodes[-1], len(graph.nodes) - 1
    values = dict(zip(node.inputs, maps, strict=True))
    found = netsuke.load(encode(graph), threads=threads, isa=isa).run_node(at, values)
    expected = Reference(graph).run_node(at, values)
    (out,) = expected
    graphs.assert_same_bits(found[out], expected[out])
    return expected[out][..., 0]


def test_an_ssd300(isa: str) -> None:
    """The 8,732 boxes and 21 classes of VOC, more of them than are taken."""
    sides, boxes = [38, 19, 10, 5, 3, 1], [4, 6, 6, 6, 4, 4]
    graph, shapes = over_maps([(side, side) for side in sides], boxes, 20, candidates=400, keep=200)
    rng = np.random.default_rng(3)
    rows = run_detect(graph, isa, 3, [2 * rng.standard_normal((1, *shape), np.float32) for shape in shapes])
    assert len(np.unique(rows[..., 5])) > 10


STRANGE = np.array([0, -0.0, 1, 1, 1, -1, 5, 1e30, -1e30, np.inf, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize("labels", [1, 7, 16])
def test_strange_numbers(isa: str, labels: int) -> None:
    """Ties, infinities and NaN, in logits and in locations; few values, so that whole boxes are equal."""
    rng = np.random.default_rng(labels)
    graph, shapes = over_maps([(4, 5), (3, 3)], [2, 1], labels, score_threshold=0.0, candidates=60, keep=90)
    for strange in (STRANGE[:6], STRANGE[:9], STRANGE):
        for share in (0.1, 1.0):
            maps = [
                np.where(rng.random((2, *shape)) < share, rng.choice(strange, (2, *shape)), np.float32(0.5))
                for shape in shapes
            ]
            run_detect(graph, isa, 2, [one.astype(np.float32) for one in maps])


def test_nothing_is_found(isa: str) -> None:
    graph, shapes = over_maps([(4, 5)], [3], 5, score_threshold=0.9)
    rows = run_detect(graph, isa, 2, [np.zeros((3, *shape), np.float32) for shape in shapes])
    assert (rows == np.array([0, 0, 0, 0, 0, -1], np.float32)).all()


@pytest.mark.parametrize("boxes", [1, 7, 8, 15, 16, 17, 255, 256, 257, 512, 600])
def test_every_tail_of_boxes(isa: str, boxes: int) -> None:
    """Chunks and vectors that boxes fill and do not fill; one that is the best lies last."""
    graph, shapes = over_maps([(1, boxes)], [1], 3, keep=4)
    maps = [graphs.floats(np.random.default_rng(boxes), "normal", 1, *shape) for shape in shapes]
    maps[1][0, 2, 0, -1] = 9
    rows = run_detect(graph, isa, 3, maps)
    assert rows[0, 0, 5] == 1


def test_two_detects_of_one_network(isa: str) -> None:
    graph, _ = over_maps([(4, 5)], [3], 5)
    first = graph.nodes[-1]
    assert isinstance(first, Detect)
    last = graph.outputs[0].value + 1
    second = graphs.detect(np.random.default_rng(5), [3], 5, inputs=first.inputs, keep=7, epilogue=[Store(last)])
    graph.nodes.append(second)
    graph.outputs.append(Output(last, 2))
    check(graph, isa, graphs.images(np.random.default_rng(2), "normal", 2, graph.input_shape), threads=2)
