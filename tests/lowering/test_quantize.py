"""The pass that makes float convolutions 8-bit: what it changes, and how numbers are coded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netsuke.artifact import Graph, Reference, infer
from netsuke.artifact.contract import MAX_STEPS
from netsuke.artifact.graph import (
    Add,
    Affine,
    Binarize,
    BinaryConv2d,
    Conv2d,
    Identity,
    Int8Conv2d,
    MaxPool,
    Node,
    Output,
    Quantize,
    Step,
    Store,
)
from netsuke.lowering import passes
from netsuke.lowering.quantize import activations, quantize
from netsuke.nn.coding import Coding, coding
from netsuke.nn.quantized import quantize_weight

RNG = np.random.default_rng(0)
CODE = Coding(0.5, 3)


def int8(name: str) -> int:
    return 8


def quantized_weight(weight: np.ndarray, bits: int = 8) -> tuple[np.ndarray, np.ndarray]:
    codes, scale = quantize_weight(torch.from_numpy(weight), bits)
    return codes.numpy(), scale.numpy()


def conv(source: int, *steps: Step, name: str = "conv", depth: int = 2, kernel: int = 1) -> Conv2d:
    weight, bias = RNG.normal(size=(2, kernel, kernel, depth)), RNG.normal(size=2)
    return Conv2d(name, [source], list(steps), weight=weight, bias=bias)


def graph(*nodes: Node, outputs: tuple[int, ...], shape: tuple[int, int, int] = (2, 3, 3)) -> Graph:
    return Graph("made by hand", shape, list(nodes), [Output(value, 4) for value in outputs])


def quantized(before: Graph) -> Graph:
    """With one coding for all, and checked to be a graph that a file may hold."""
    after, _ = passes.renumber(passes.round_arrays(quantize(before, lambda _: CODE)[0]))
    infer(after)
    return after


# ------------------------------------------------------------------------------------------- the pass
def test_the_input_is_quantized_by_a_node_in_front() -> None:
    after = quantized(graph(conv(0, Store(1)), outputs=(1,)))
    assert [type(node) for node in after.nodes] == [Identity, Int8Conv2d]
    assert after.nodes[0].epilogue == [Quantize(2.0, 3, 1)]
    assert after.nodes[0].name == "conv.quantize"
    assert after.nodes[1].inputs == [1]
    assert (after.nodes[1].activation_scale, after.nodes[1].zero) == (0.5, 3)


def test_a_value_is_quantized_where_it_is_made_and_no_longer_stored() -> None:
    before = graph(MaxPool("pool", [0], [Store(1)], kernel=(1, 1), stride=(1, 1)), conv(1, Store(2)), outputs=(2,))
    after = quantized(before)
    assert [type(node) for node in after.nodes] == [MaxPool, Int8Conv2d]
    assert after.nodes[0].epilogue == [Quantize(2.0, 3, 1)]


def test_a_value_that_others_read_stays_stored_too() -> None:
    before = graph(conv(0, Store(1)), conv(1, Add(1), Store(2)), outputs=(2,))
    after = quantized(before)
    assert after.nodes[1].epilogue == [Store(2), Quantize(2.0, 3, 3)]
    assert after.nodes[2].inputs == [3]
    assert after.nodes[2].epilogue == [Add(2), Store(4)]


def test_readers_share_one_quantized_value() -> None:
    before = graph(conv(0, Store(1)), conv(1, Store(2)), conv(1, Store(3)), conv(0, Store(4)), outputs=(2, 3, 4))
    after = quantized(before)
    steps = [step for node in after.nodes for step in node.epilogue]
    assert sum(isinstance(step, Quantize) for step in steps) == 2
    assert [node.inputs for node in after.nodes] == [[0], [1], [2], [2], [1]]


def test_the_quantize_step_sees_y_as_it_is_stored() -> None:
    """Not what later steps of the epilogue make of it."""
    affine = Affine(np.full(2, 2.0), np.ones(2))
    before = graph(Identity("x", [0], [Store(1), affine, Store(2)]), conv(1, Store(3)), outputs=(2, 3))
    after = quantized(before)
    assert [type(step) for step in after.nodes[0].epilogue] == [Quantize, Affine, Store]


def test_an_epilogue_that_is_full_is_left_alone() -> None:
    steps = [Store(n) for n in range(1, MAX_STEPS + 1)]
    outputs = tuple(range(2, MAX_STEPS)) + (MAX_STEPS + 1,)
    before = graph(Identity("x", [0], list(steps)), conv(1, Add(1), Store(MAX_STEPS + 1)), outputs=outputs)
    after = quantized(before)
    assert [type(node) for node in after.nodes] == [Identity, Identity, Int8Conv2d]


def test_binary_convolutions_and_their_bits_stay() -> None:
    signs = RNG.choice(np.array([-1, 1], np.int8), size=(2, 1, 1, 2))
    constants = {"alpha_w": np.ones(2), "beta_w": np.zeros(2), "bias": np.zeros(2), "alpha_a": 0.5, "gamma": 0.0}
    binary = BinaryConv2d("binary", [1], [Store(2)], weight=signs, **constants)  # type: ignore[arg-type]
    before = graph(conv(0, Binarize(np.zeros(1), False, 1)), binary, conv(2, Store(3)), outputs=(3,))
    after = quantized(before)
    assert [type(node) for node in after.nodes] == [Identity, Int8Conv2d, BinaryConv2d, Int8Conv2d]
    np.testing.assert_array_equal(after.nodes[2].weight, signs)


def test_a_window_whose_sums_might_overflow_stays_float() -> None:
    wide = graph(conv(0, Store(1), depth=40000, kernel=1), outputs=(1,), shape=(40000, 3, 3))
    assert activations(wide, int8) == [(0, 8)]
    wider = graph(conv(0, Store(1), depth=10000, kernel=3), outputs=(1,), shape=(10000, 3, 3))
    assert activations(wider, int8) == []
    assert quantized(wider).nodes[0].weight.dtype == np.float32


def test_layers_of_4_and_of_8_bits_and_float_ones_beside_each_other() -> None:
    """Each width of codes is made once, of the one value that all read."""
    names = {"a": 4, "b": 8, "c": None, "d": 4}
    before = graph(*(conv(0, Store(1 + i), name=name) for i, name in enumerate(names)), outputs=(1, 2, 3, 4))
    wanted = activations(before, names.get)
    assert wanted == [(0, 4), (0, 8)]
    codings = {4: Coding(0.5, 3, 4), 8: CODE, None: None}
    after, _ = passes.renumber(passes.round_arrays(quantize(before, lambda node: codings[names[node.name]])[0]))
    infer(after)
    steps = [step for node in after.nodes for step in node.epilogue if isinstance(step, Quantize)]
    assert [(step.bits, step.zero, step.multiplier) for step in steps] == [(4, 3, 2.0), (8, 3, 2.0)]
    kinds = {node.name: node.bits if isinstance(node, Int8Conv2d) else None for node in after.nodes}
    assert {name: kinds[name] for name in names} == names
    largest = {node.name: np.abs(node.weight).max() for node in after.nodes if isinstance(node, Int8Conv2d)}
    assert largest == {"a": 7, "b": 127, "d": 7}


def test_the_network_computes_nearly_the_same() -> None:
    """Codes of 1/64 over -2 to 2: each product is off by half a code at most."""
    before = graph(conv(0, Store(1), kernel=3, depth=2), outputs=(1,))
    after, _ = passes.renumber(passes.round_arrays(quantize(before, lambda _: Coding(1 / 64, 128))[0]))
    x = np.random.default_rng(1).uniform(-1.9, 1.9, (5, 2, 3, 3)).astype(np.float32)
    weight, bias = before.nodes[0].weight, before.nodes[0].bias
    expected = np.einsum("nchw,ohwc->no", x.astype(np.float64), weight) + bias
    rounding = np.abs(weight).sum((1, 2, 3)) / 128 + np.abs(weight).max((1, 2, 3)) / 254 * 18 * 2
    assert (np.abs(Reference(after)(x)[:, :, 0, 0] - expected) <= rounding).all()


# ------------------------------------------------------------------------------------------- weights
@given(st.integers(0, 2**32 - 1))
def test_weights_are_rounded_to_the_nearest_multiple_of_their_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(3, 2, 2, 5)) * 10.0 ** rng.integers(-6, 7, (3, 1, 1, 1))
    codes, scale = quantized_weight(weight)
    assert codes.dtype == np.int8
    assert scale.dtype == np.float32
    assert np.abs(codes).max(axis=(1, 2, 3)).tolist() == [127, 127, 127]
    for place in np.ndindex(weight.shape):
        exact = Fraction(float(weight[place])) / Fraction(float(scale[place[0]]))
        assert abs(exact - int(codes[place])) <= Fraction(1, 2) + Fraction(1, 10**4)  # 127.00001 is 127 too


@given(st.integers(0, 2**32 - 1))
def test_weights_of_4_bits_lose_no_more_than_with_the_whole_range(seed: int) -> None:
    weight = np.random.default_rng(seed).standard_t(3, (3, 1, 1, 40))
    codes, scale = quantized_weight(weight, 4)
    assert np.abs(codes).max() <= 7
    whole = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 7
    plain = ((np.rint(weight / whole) * whole - weight) ** 2).sum(axis=(1, 2, 3))
    error = ((codes * scale.astype(np.float64).reshape(3, 1, 1, 1) - weight) ** 2).sum(axis=(1, 2, 3))
    assert (error <= plain * (1 + 1e-6)).all()


def test_weights_of_zeros_and_of_almost_zeros() -> None:
    weight = np.zeros((3, 1, 1, 4))
    weight[1, 0, 0, 2] = 1e-300
    weight[2] = 1e-44  # a float32, if hardly
    codes, scale = quantized_weight(weight)
    assert not codes.any()
    assert scale.tolist() == [1.0, 1.0, 1.0]


def test_weights_are_rounded_from_float64() -> None:
    """0.5 and a little is 1, though float32 would make it 0.5, and then 0."""
    weight = np.array([127.0, 0.5 + 1e-9, -0.5 - 1e-9, 0.5]).reshape(1, 1, 1, 4)
    assert quantized_weight(weight)[0].reshape(-1).tolist() == [127, 1, -1, 0]


# ------------------------------------------------------------------------------------------- activations
@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
def test_a_coding_spans_its_range_and_holds_zero(one: float, other: float) -> None:
    low, high = sorted([one, other])
    code = coding(low, high)
    assert 0 <= code.zero <= 255
    assert code.scale == np.float32(code.scale) > 0
    assert np.isfinite(np.float32(1 / code.scale))
    low, high = min(low, 0.0), max(high, 0.0)
    slack = 0.5001 * code.scale  # the zero point is a whole number
    assert -code.zero * code.scale <= low + slack
    assert (255 - code.zero) * code.scale >= high - slack


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.0, 1e-40), (-1e-35, 0.0)])
def test_a_dead_activation(low: float, high: float) -> None:
    assert coding(low, high) == Coding(1.0, 0)


def test_codings_of_common_ranges() -> None:
    assert coding(0.0, 255.0) == Coding(1.0, 0)
    assert coding(2.0, 510.0) == Coding(2.0, 0)
    assert coding(-255.0, 0.0) == Coding(1.0, 255)
    assert coding(-128.0, 127.0) == Coding(1.0, 128)
