"""The checks on a graph in memory, and the shapes that come of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import graphs
from netsuke.artifact import Error, Graph, Reference, Value, encode, infer
from netsuke.artifact.graph import Affine, Binarize, Conv2d, Node, Output, Store
from netsuke.artifact.images import DTYPES
from netsuke.artifact.infer import _border_classes


def test_values_of_every_operator() -> None:
    assert infer(graphs.every_operator()) == [
        Value("float32", (3, 10, 9)),
        Value("float32", (6, 5, 9)),
        Value("bits", (6, 5, 9)),
        Value("float32", (6, 5, 9)),
        Value("bits", (6, 5, 9)),
        Value("float32", (6, 3, 4)),
        Value("float32", (6, 3, 4)),
        Value("float32", (18, 3, 4)),
        Value("float32", (21, 3, 4)),
        Value("float32", (21, 3, 4)),
        Value("uint8", (6, 5, 9)),
        Value("float32", (4, 5, 5)),
        Value("float32", (6, 1, 1)),
        Value("float32", (6, 1, 1)),
        Value("float32", (6, 5, 9)),
        Value("float32", (6, 1, 1)),
        Value("uint8", (6, 5, 9)),
        Value("float32", (3, 5, 7)),
        Value("fixed", (6, 5, 9), 2.0**-4, 128),
        Value("fixed", (4, 5, 9), 2.0**-4, 100),
        Value("float32", (4, 5, 9)),
        Value("fixed", (4, 5, 5), 2.0**-3, 7),
        Value("fixed", (4, 5, 5), 2.0**-5, 128),
        Value("float32", (12, 5, 5)),
        Value("fixed", (12, 5, 5), 2.0**-2, 3),
        Value("float32", (4, 5, 5)),
        Value("float32", (3, 3, 9)),
        Value("float32", (3, 3, 9)),
        Value("bits", (8, 5, 9)),
        Value("float32", (8, 5, 9)),
        Value("bits", (8, 5, 9)),
        Value("float32", (8, 5, 9)),
        Value("float32", (6, 5, 9)),
        Value("float32", (6, 5, 9)),
        Value("float32", (12, 6, 1)),
    ]


@given(graphs.graphs())
def test_values_are_what_the_reference_makes(graph: Graph) -> None:
    images = graphs.images(np.random.default_rng(0), "normal", 2, graph.input_shape)
    made = Reference(graph).trace(images)
    found = [(made[index].dtype, made[index].shape[1:]) for index in range(len(made))]
    assert found == [(np.dtype(DTYPES[value.kind]), value.shape) for value in infer(graph)]


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_border_classes_are_the_distinct_sets_of_inside_taps(before: int, stride: int, dilation: int) -> None:
    for size in range(1, 9):
        for kernel in range(1, 5):
            out = graphs.extent(size, before, before, kernel, dilation, stride)
            sets = {
                frozenset(k for k in range(kernel) if 0 <= y * stride - before + k * dilation < size)
                for y in range(out)
            }
            if out > 0:
                assert _border_classes(size, before, out, kernel, dilation, stride) == len(sets)


def conv(graph: Graph) -> Conv2d:
    assert isinstance(graph.nodes[0], Conv2d)
    return graph.nodes[0]


CHANGES: dict[str, tuple[str, Callable[[Graph], Any]]] = {
    "weight of float64": ("float32 array", lambda g: setattr(conv(g), "weight", conv(g).weight.astype(np.float64))),
    "weight that is a list": ("not a numpy array", lambda g: setattr(conv(g), "weight", [1.0])),
    "weight for other channels": (
        "input channels",
        lambda g: setattr(conv(g), "weight", conv(g).weight[..., :2].copy()),
    ),
    "bias of another length": ("bias", lambda g: setattr(conv(g), "bias", conv(g).bias[:-1].copy())),
    "bias with a NaN": ("not finite", lambda g: conv(g).bias.fill(np.nan)),
    "stride of floats": ("stride", lambda g: setattr(conv(g), "stride", (1.0, 1.0))),
    "padding of two numbers": ("padding has 4", lambda g: setattr(conv(g), "padding", (1, 1))),
    "groups that are True": ("groups", lambda g: setattr(conv(g), "groups", True)),
    "binary weight of 0": ("each -1 or", lambda g: g.nodes[1].weight.fill(0)),
    "binary weight of float32": (
        "each -1 or",
        lambda g: setattr(g.nodes[1], "weight", g.nodes[1].weight * np.float32(1)),
    ),
    "padding_mode of torch alone": ("padding_mode", lambda g: setattr(g.nodes[1], "padding_mode", "reflect")),
    "alpha_a of 0": ("alpha_a", lambda g: setattr(g.nodes[1], "alpha_a", 0.0)),
    "alpha_a that float32 rounds to 0": ("alpha_a", lambda g: setattr(g.nodes[1], "alpha_a", 1e-60)),
    "gamma beyond float32": ("gamma", lambda g: setattr(g.nodes[1], "gamma", 1e60)),
    "8-bit weight of -128": ("-127 to 127", lambda g: g.nodes[8].weight.fill(-128)),
    "8-bit weight of uint8": (
        "-127 to 127",
        lambda g: setattr(g.nodes[8], "weight", np.zeros_like(g.nodes[8].weight, np.uint8)),
    ),
    "8-bit weights without a scale each": (
        "weight_scale",
        lambda g: setattr(g.nodes[8], "weight_scale", np.ones(1, "f4")),
    ),
    "activation_scale of infinity": ("activation_scale", lambda g: setattr(g.nodes[8], "activation_scale", np.inf)),
    "zero of -1": ("`zero`", lambda g: setattr(g.nodes[8], "zero", -1)),
    "zero of 1.0": ("`zero`", lambda g: setattr(g.nodes[8], "zero", 1.0)),
    "multiplier beyond float32": ("multiplier", lambda g: setattr(g.nodes[7].epilogue[0], "multiplier", 1e60)),
    "multiplier that is an array": (
        "multiplier",
        lambda g: setattr(g.nodes[7].epilogue[0], "multiplier", np.ones(6, "f4")),
    ),
    "quantize to 256": ("`zero`", lambda g: setattr(g.nodes[7].epilogue[0], "zero", 256)),
    "threshold of another length": (
        "threshold",
        lambda g: g.nodes[0].epilogue.insert(0, Binarize(np.ones(2, "f4"), False, 1)),
    ),
    "flip that is a number": ("flip", lambda g: setattr(g.nodes[1].epilogue[-1], "flip", 1)),
    "scale of shape (6, 1)": (
        "scale",
        lambda g: g.nodes[1].epilogue.insert(0, Affine(np.ones((6, 1), "f4"), np.ones(6, "f4"))),
    ),
    "a step that is a node": ("not a step", lambda g: g.nodes[6].epilogue.insert(0, g.nodes[0])),
    "an operator of no format": ("not an operator", lambda g: g.nodes.append(Node("strange", [9], [Store(12)]))),
    "a name with a quote": ("printable ASCII", lambda g: setattr(conv(g), "name", 'a"b')),
    "a name that is no string": ("its name", lambda g: setattr(conv(g), "name", None)),
    "a model of 201 characters": ("model", lambda g: setattr(g, "model", "x" * 201)),
    "an input of two axes": ("input's shape", lambda g: setattr(g, "input_shape", (3, 4))),
    "an output twice as deep": ("rank", lambda g: setattr(g.outputs[0], "rank", 8)),
    "a transform for 4 channels": ("transform's scale", lambda g: setattr(g.transform, "scale", np.ones(4, "f4"))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_refused(change: str) -> None:
    words, apply = CHANGES[change]
    graph = copy.deepcopy(graphs.every_operator())
    apply(graph)
    for function in (infer, encode, Reference):
        with pytest.raises(Error, match=words) as caught:
            function(graph)
        assert len(str(caught.value)) < 400


def test_numbers_of_numpy_are_as_good() -> None:
    graph = graphs.every_operator()
    expected = encode(graph)
    conv(graph).stride = tuple(np.array(conv(graph).stride))
    graph.outputs = [Output(np.int64(output.value), np.int32(output.rank)) for output in graph.outputs]
    graph.nodes[1].epilogue[-1].flip = np.bool_(True)
    assert encode(graph) == expected


def test_the_message_names_the_node() -> None:
    graph = graphs.every_operator()
    graph.nodes[2].stride = (0, 1)
    with pytest.raises(Error, match=r"node 2 \('max'\): its stride is 1 to 255, not 0"):
        infer(graph)
