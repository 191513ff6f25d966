"""Linear layers whose weights take few values and run from 2 bits each: the same bits as the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
import netsuke
from netsuke.artifact import Graph, Reference, encode
from netsuke.artifact.graph import Identity, Output, Store, TwoSlope


def check(graph: Graph, isa: str, images: np.ndarray, threads: int = 1, codebook: list[int] | None = None) -> None:
    engine = netsuke.load(encode(graph), threads=threads, isa=isa)
    assert engine.isa == isa
    assert engine.codebook_nodes == ([0] if codebook is None else codebook)
    graphs.assert_same_bits(engine(images), Reference(graph)(images))


def some_images(graph: Graph, style: str = "normal", batch: int = 1) -> np.ndarray:
    return graphs.images(np.random.default_rng(0), style, batch, graph.input_shape)


def linear(terms: int, outputs: int, **fields: Any) -> Graph:
    fields = {"values": 2, "density": 0.5, **fields}
    return graphs.float_graph(
        (terms, 1, 1), graphs.conv2d(np.random.default_rng(terms), terms, outputs, (1, 1), **fields)
    )


# ----------------------------------------------------------------------------------------------- shapes
@pytest.mark.parametrize("batch", [1, 2, 5])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_network(isa: str, threads: int, batch: int) -> None:
    graph = graphs.codebook_linears()
    check(graph, isa, some_images(graph, batch=batch), threads, codebook=[1, 2])


@pytest.mark.parametrize("scaled", [False, True])
def test_every_tail_of_outputs(isa: str, scaled: bool) -> None:
    for outputs in (1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 47, 49, 63, 64, 65, 79, 80, 81, 127, 128, 129, 200):
        scale = np.random.default_rng(outputs).uniform(-1, 1, outputs).astype(np.float32) if scaled else None
        graph = linear(70, outputs, weight_scale=scale)
        check(graph, isa, some_images(graph, batch=2), threads=1 + outputs % 3)


@pytest.mark.parametrize("scaled", [False, True])
def test_every_tail_of_terms(isa: str, scaled: bool) -> None:
    for terms in (*range(1, 35), 1000):
        graph = linear(terms, 20, values=4, density=1, weight_scale=np.full(20, 0.3, np.float32) if scaled else None)
        check(graph, isa, some_images(graph))


@settings(max_examples=75)
@given(
    terms=st.integers(1, 300),
    outputs=st.integers(1, 300),
    values=st.integers(1, 5),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    style=st.sampled_from(graphs.STYLES),
    threads=st.integers(1, 4),
    batch=st.integers(1, 5),
)
def test_random_layers(
    isa: str, terms: int, outputs: int, values: int, density: float, style: str, threads: int, batch: int
) -> None:
    graph = linear(terms, outputs, values=values, density=density, style=style)
    engine = netsuke.load(encode(graph), threads=threads, isa=isa)
    images = some_images(graph, style, batch)
    graphs.assert_same_bits(engine(images), Reference(graph)(images))


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((3, 4, 5), {"kernel": (4, 5)}),
        ((5, 4, 5), {"kernel": (6, 7), "padding": (1, 1, 1, 1)}),
        ((5, 3, 3), {"kernel": (2, 2), "dilation": (2, 2)}),
        ((20, 3, 3), {"kernel": (2, 2), "stride": (2, 2)}),
    ],
)
def test_one_window_of_any_kind(isa: str, shape: graphs.Shape, window: dict[str, Any]) -> None:
    """Over the input, whose pixels are packed, and over a map behind it."""
    node = graphs.conv2d(np.random.default_rng(2), shape[0], 130, values=3, **window)
    check(graph := graphs.float_graph(shape, node), isa, some_images(graph, batch=2))
    node.inputs, node.epilogue = [1], [Store(2)]
    check(
        Graph("map", shape, [Identity("map", [0], [Store(1)]), node], [Output(2, 2)]), isa, some_images(graph), 2, [1]
    )


def test_every_step(isa: str) -> None:
    for graph in graphs.linear_steps(values=3):
        for threads in (1, 3):
            check(graph, isa, some_images(graph, batch=2), threads, codebook=[0, 2])


# ----------------------------------------------------------------------------------------------- which layers
def test_what_runs_from_a_codebook(isa: str) -> None:
    """At most 4 values before the scale; -0 and 0 are one."""
    for count, codebook in ((1, [0]), (2, [0]), (3, [0]), (4, [0]), (5, [])):
        for scale in (None, np.linspace(0.5, 2, 100, dtype=np.float32)):
            graph = linear(100, 100, density=1, weight_scale=scale)
            weight = graph.nodes[0].weight
            weight.ravel()[:] = np.resize(np.arange(count) - 2, weight.size)
            weight.ravel()[::7][weight.ravel()[::7] == 0] = -0.0
            check(graph, isa, some_images(graph), codebook=codebook)


def test_what_does_not_run_from_a_codebook(isa: str) -> None:
    rng = np.random.default_rng(3)
    many = graphs.float_graph((6, 3, 3), graphs.conv2d(rng, 6, 100, (2, 2), values=2))
    groups = graphs.float_graph((6, 1, 1), graphs.conv2d(rng, 6, 100, (1, 1), values=2, groups=2))
    thin = linear(400, 200, density=0.005)
    for graph in (many, groups, thin):
        check(graph, isa, some_images(graph), codebook=[])
    assert list(netsuke.load(encode(thin), isa=isa).sparse_nodes) == [0]


def test_a_scale_that_makes_zeros_of_weights(isa: str) -> None:
    """-1e-30 * 1e-30 is -0, which counts as 0: such a layer runs dense."""
    scale = np.ones(20, np.float32)
    scale[3] = 1e-30
    graph = linear(40, 20, weight_scale=scale)
    graph.nodes[0].bias[:] = -0.0
    weight = graph.nodes[0].weight
    weight[:] = np.where(weight > 0, np.float32(-1e-30), np.float32(0))
    check(graph, isa, -np.abs(some_images(graph)), codebook=[])
    graph.nodes[0].weight_scale[3] = 0  # a scale of 0 makes none but exact ones
    check(graph, isa, -np.abs(some_images(graph)))


# ----------------------------------------------------------------------------------------------- numbers
@pytest.mark.parametrize("scaled", [False, True])
def test_infinities(isa: str, scaled: bool) -> None:
    """0 * infinity is NaN, and infinities of both signs meet."""
    node = linear(40, 100, weight_scale=np.full(100, -0.5, np.float32) if scaled else None).nodes[0]
    node.weight[0] = node.weight.max()  # meets every x, and has no NaN of its own
    node.inputs, node.epilogue = [1], [Store(2)]
    factor = np.ones(40, np.float32)
    factor[[3, 17]] = 3e38
    twice = [TwoSlope(factor, factor), TwoSlope(factor, factor), Store(1)]
    graph = Graph("infinite", (40, 1, 1), [Identity("large", [0], twice), node], [Output(2, 2), Output(1, 2)])
    images = np.abs(some_images(graph, batch=2)) + 1
    images[1, [3, 17]] = 0  # the second image stays finite
    with np.errstate(all="ignore"):
        expected = Reference(graph)(images)[0]
    assert np.isnan(expected[0]).any()
    assert np.isinf(expected[0]).any()
    assert np.isfinite(expected[1]).all()
    check(graph, isa, images, codebook=[1])


@pytest.mark.parametrize("scale", [None, 1, -1])
def test_the_sign_of_a_zero(isa: str, scale: int | None) -> None:
    """-0 + 0 is 0, and -0 + -0 is -0: a bias of -0 comes through only where every term is -0."""
    graph = linear(5, 40, weight_scale=None if scale is None else np.full(40, scale, np.float32))
    node = graph.nodes[0]
    node.bias[:], node.weight[:] = -0.0, -0.0
    node.weight[7], node.weight[8] = 1e-30, -1e-30  # underflow, to zeros of both signs
    images = np.full((1, 5, 1, 1), -1e-30, np.float32)
    expected = Reference(graph)(images)
    assert np.signbit(expected[0]).sum() == 39
    check(graph, isa, np.concatenate([images, -images, images * 0, images * -0.0], axis=0))
