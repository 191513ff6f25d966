"""Linear layers that run from a sparse form of their weights: the same bits as the reference, which adds every term."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import sparse_linear
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import netsuke
from netsuke.artifact import Graph, Reference, encode
from netsuke.artifact.graph import Identity, Output, Store, TwoSlope

OUTPUTS = 400  # so many that one full row does not make the layer dense: rows of every density run sparse


def check(graph: Graph, isa: str, images: np.ndarray, threads: int = 1, sparse: list[int] | None = None) -> None:
    engine = netsuke.load(encode(graph), threads=threads, isa=isa)
    assert engine.isa == isa
    assert list(engine.sparse_nodes) == ([0] if sparse is None else sparse)
    graphs.assert_same_bits(engine(images), Reference(graph)(images))


def some_images(graph: Graph, style: str = "normal", batch: int = 1) -> np.ndarray:
    return graphs.images(np.random.default_rng(0), style, batch, graph.input_shape)


def linear(terms: int, outputs: int, density: float, **fields: Any) -> Graph:
    node = graphs.conv2d(np.random.default_rng(terms), terms, outputs, (1, 1), density=density, **fields)
    return graphs.float_graph((terms, 1, 1), node)


# ----------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_network(isa: str, threads: int, batch: int) -> None:
    graph = graphs.sparse_linears()
    check(graph, isa, some_images(graph, batch=batch), threads, sparse=[1, 2])


def test_every_tail_of_outputs(isa: str) -> None:
    for outputs in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 79, 80, 81, 127, 128, 129, 200):
        graph = linear(700, outputs, 0.002)
        check(graph, isa, some_images(graph, batch=2), threads=1 + outputs % 3)


@pytest.mark.parametrize("terms", [1, 2, 7, 8, 9, 31, 300])
def test_rows_of_every_density(isa: str, terms: int) -> None:
    """Empty rows, full ones, and rows between them, in one layer."""
    graph = linear(terms, OUTPUTS, 1.0)
    weight = graph.nodes[0].weight.reshape(OUTPUTS, terms)
    weight[:] = 0
    rng = np.random.default_rng(1)
    for row, density in ((77, 1.0), (78, 0.5), (79, 0.2), (399, 0.1)):
        weight[row] = graphs.thinned(rng, graphs.floats(rng, "normal", terms), density)
    check(graph, isa, some_images(graph, batch=2), threads=2)


@settings(max_examples=75)
@given(
    terms=st.integers(1, 300),
    outputs=st.integers(100, 300),
    density=st.sampled_from([0.0, 0.001, 0.02]),
    style=st.sampled_from(graphs.STYLES),
    threads=st.integers(1, 4),
    batch=st.integers(1, 5),
)
def test_random_layers(
    isa: str, terms: int, outputs: int, density: float, style: str, threads: int, batch: int
) -> None:
    graph = linear(terms, outputs, density, style=style)
    engine = netsuke.load(encode(graph), threads=threads, isa=isa)
    images = some_images(graph, style, batch)
    graphs.assert_same_bits(engine(images), Reference(graph)(images))
    if density == 0:
        assert engine.sparse_nodes == {0: 0}


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((3, 4, 5), {"kernel": (4, 5)}),
        ((16, 1, 7), {"kernel": (1, 7)}),
        ((5, 4, 5), {"kernel": (6, 7), "padding": (1, 1, 1, 1)}),
        ((5, 3, 3), {"kernel": (2, 2), "dilation": (2, 2)}),
        ((20, 3, 3), {"kernel": (2, 2), "stride": (2, 2)}),
        ((20, 3, 3), {"kernel": (2, 2), "padding": (5, 5, 0, 0), "stride": (9, 9)}),
    ],
)
def test_one_window_of_any_kind(isa: str, shape: graphs.Shape, window: dict[str, Any]) -> None:
    """Over the input, whose pixels are packed, and over a map behind it."""
    rng = np.random.default_rng(2)
    node = graphs.conv2d(rng, shape[0], 130, density=0.02, **window)
    check(graph := graphs.float_graph(shape, node), isa, some_images(graph, batch=2))
    node.inputs, node.epilogue = [1], [Store(2)]
    check(
        Graph("map", shape, [Identity("map", [0], [Store(1)]), node], [Output(2, 2)]), isa, some_images(graph), 2, [1]
    )


def test_what_does_not_run_sparse(isa: str) -> None:
    rng = np.random.default_rng(3)
    many = graphs.float_graph((6, 3, 3), graphs.conv2d(rng, 6, 100, (2, 2), density=0.0))
    groups = graphs.float_graph((6, 1, 1), graphs.conv2d(rng, 6, 100, (1, 1), density=0.0, groups=2))
    long = graphs.float_graph((1 << 14, 1, 5), graphs.conv2d(rng, 1 << 14, 2, (1, 5), density=0.0))
    for graph in (many, groups, long, linear(100, 100, 0.5)):
        engine = netsuke.load(encode(graph), isa=isa)
        assert engine.sparse_nodes == {}


def test_the_longest_window(isa: str) -> None:
    """65,536 terms, those at the ends among them: as many as 16 bits count."""
    graph = graphs.float_graph((1 << 14, 1, 4), graphs.conv2d(np.random.default_rng(4), 1 << 14, 3, (1, 4)))
    weight = graph.nodes[0].weight.reshape(3, -1)
    weight[:, 1:-1] = 0
    check(graph, isa, some_images(graph))


# ----------------------------------------------------------------------------------------------- the epilogue
def test_every_step(isa: str) -> None:
    for graph in graphs.linear_steps(density=0.01):
        for threads in (1, 3):
            check(graph, isa, some_images(graph, batch=2), threads, sparse=[0, 2])


# ----------------------------------------------------------------------------------------------- numbers
def test_terms_left_out_that_are_not_finite(isa: str) -> None:
    """0 * infinity is NaN: the reference has it, though the sparse form holds no such term."""
    graph = linear(40, OUTPUTS, 0.01)
    node = graph.nodes[0]
    node.weight[0] = np.float32(1)  # meets every x, and has no NaN of its own
    node.inputs, node.epilogue = [1], [Store(2)]
    scale = np.ones(40, np.float32)
    scale[[3, 17]] = 3e38
    twice = [TwoSlope(scale, scale), TwoSlope(scale, scale), Store(1)]
    graph = Graph("infinite", (40, 1, 1), [Identity("large", [0], twice), node], [Output(2, 2), Output(1, 2)])
    images = np.abs(some_images(graph, batch=2)) + 1
    images[1, [3, 17]] = 0  # the second image stays finite
    with np.errstate(all="ignore"):
        expected = Reference(graph)(images)[0]
    assert np.isnan(expected[0]).sum() > OUTPUTS // 2
    assert np.isposinf(expected[0, 0])
    assert np.isfinite(expected[1]).all()
    check(graph, isa, images, sparse=[1])


def test_terms_left_out_that_change_the_sign_of_a_zero(isa: str) -> None:
    """-0 + 0 is 0, and -0 + -0 is -0: a bias of -0 comes through only where every term is -0."""
    for sign in (1, -1):
        graph = linear(5, OUTPUTS, 0.0)
        graph.nodes[0].bias[:] = -0.0
        graph.nodes[0].weight[7, 0, 0, 2] = sign * np.float32(1e-30)  # underflows, to zeros of both signs
        graph.nodes[0].weight[8] = np.float32(-0.0)  # counts as 0
        images = np.full((1, 5, 1, 1), -1e-30, np.float32)
        expected = Reference(graph)(images)
        assert np.signbit(expected[0]).ravel().tolist() == [row != 7 or sign > 0 for row in range(OUTPUTS)]
        check(graph, isa, images)
        check(graph, isa, np.concatenate([-images, images * 0, images], axis=0))


def test_dense_weights_of_minus_zero_count_as_zero(isa: str) -> None:
    graph = linear(3, 5, 1.0)
    graph.nodes[0].bias[:], graph.nodes[0].weight[:] = -0.0, -0.0
    graph.nodes[0].weight[:, 0, 0, 0] = 1e-30
    for image in ([-1e-30, 1, 1], [-1e-30, -1, -1]):
        check(graph, isa, np.float32(image).reshape(1, 3, 1, 1), sparse=[])


# ----------------------------------------------------------------------------------------------- the benchmark
@pytest.mark.usefixtures("compiled")
def test_the_benchmark_runs(tmp_path: Path) -> None:
    result = sparse_linear.run(tmp_path, threads=1, batches=[1, 2], runs=1, isa=None, smaller=8)
    fc6 = result["layers"]["fc6"]
    forms = ("dense", "sparse", "ternary", "scaled")
    assert [fc6[form]["runs"] for form in forms] == ["dense", "sparse", "codebook", "codebook"]
    assert fc6["sparse"]["weight_bytes"] < fc6["dense"]["weight_bytes"] / 6
    assert fc6["sparse"]["dram_millijoule"] < fc6["dense"]["dram_millijoule"] / 6
    assert fc6["dense"]["weight_bytes"] == 16 * fc6["ternary"]["weight_bytes"]
    assert list(fc6["batches"]) == [1, 2]
    rows = [line for line in sparse_linear.table(result).splitlines() if line.startswith("| fc")]
    assert len(rows) == 3 * 2 + 3 * 4
