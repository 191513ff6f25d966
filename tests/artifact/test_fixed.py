"""Fixed-point nodes: their arithmetic by hand, and what is refused of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import graphs
from netsuke import Error
from netsuke.artifact.graph import (
    Add,
    Clamp,
    FixedAveragePool,
    FixedConv2d,
    FixedCopy,
    FixedMaxPool,
    Graph,
    Identity,
    Node,
    Output,
    Quantize,
    Sigmoid,
    Store,
    ToFixed,
)
from netsuke.artifact.infer import infer
from netsuke.artifact.reference import Reference


def run(node: Node, q: np.ndarray, scale: float = 0.25, zero: int = 10) -> dict[int, np.ndarray]:
    """What a node over value 1 makes of the codes (N, C, H, W)."""
    enter = Identity("enter", [0], [ToFixed(scale, zero, 1)])
    leave = Identity("leave", [0], [Store(max(s.out for s in node.epilogue if hasattr(s, "out")) + 1)])
    graph = Graph("test", q.shape[1:], [enter, node, leave], [Output(leave.epilogue[0].out, 4)])  # type: ignore[union-attr]
    return Reference(graph).run_node(1, {1: q.astype(np.uint8)})


def line(*numbers: int) -> np.ndarray:
    return np.array(numbers).reshape(1, 1, 1, -1)


def halves_to_even(y: int, unit: Fraction, scale: Fraction) -> int:
    return round(y * unit / scale)  # Python rounds so


@pytest.mark.parametrize("shift", [0, 1, 2, 5])
def test_a_result_is_rounded_to_nearest_even(shift: int) -> None:
    q = np.arange(256)
    made = run(FixedCopy("copy", [1], [ToFixed(0.25 * 2**shift, 100, 2)]), line(*q))[2].reshape(-1)
    expected = [halves_to_even(int(n) - 10, Fraction(1, 4), Fraction(2**shift, 4)) + 100 for n in q]
    assert made.tolist() == np.clip(expected, 0, 255).tolist()


def test_a_convolution_by_hand() -> None:
    weight = np.array([[3, -2], [127, 1]], np.int8).reshape(2, 1, 1, 2)
    bias = np.array([0.3, -1.0], np.float32)
    scale = np.array([2.0**-3, 2.0**-1], np.float32)
    node = FixedConv2d("conv", [1], [Store(2), ToFixed(0.5, 128, 3)], weight=weight, weight_scale=scale, bias=bias)
    q = np.array([[12, 200], [0, 7]]).reshape(1, 2, 1, 2)
    made = run(node, q)
    # Y is 1/32 and 1/8: biases are 0.3 * 32 = 9.6, so 10, and -8.
    sums = [[3 * 2 - 2 * -10 + 10, 3 * 190 - 2 * -3 + 10], [127 * 2 - 10 - 8, 127 * 190 - 3 - 8]]
    assert made[2].reshape(2, 2).tolist() == [[n / 32 for n in sums[0]], [n / 8 for n in sums[1]]]
    assert made[3].reshape(2, 2).tolist() == [
        [round(Fraction(n, 16)) + 128 for n in sums[0]],
        [min(255, round(Fraction(n, 4)) + 128) for n in sums[1]],
    ]


def test_taps_outside_are_zeros() -> None:
    weight = np.ones((1, 1, 3, 1), np.int8)
    one = np.ones(1, np.float32)
    node = FixedConv2d("conv", [1], [Store(2)], weight=weight, weight_scale=one, bias=0 * one, padding=(0, 1, 0, 1))
    assert run(node, line(14, 10, 8))[2].reshape(-1).tolist() == [1.0, 0.5, -0.5]


def test_a_mean_multiplies_by_a_whole_number() -> None:
    pool = FixedAveragePool("mean", [1], [Store(2), ToFixed(0.25, 10, 3)], kernel=(1, 3), stride=(1, 1))
    assert pool.multiplier == (round(2**22 / 3), 22)
    made = run(pool, line(13, 20, 10, 90))
    assert made[2].reshape(-1).tolist() == [float(np.float32(n * pool.multiplier[0])) / 2**24 for n in (13, 90)]
    assert made[3].reshape(-1).tolist() == [10 + round(13 / 3), 10 + 30]
    whole = FixedAveragePool("mean", [1], [Store(2)], kernel=(1, 4), stride=(1, 1))
    assert whole.multiplier == (1, 2)
    assert run(whole, line(13, 20, 10, 90))[2].item() == 93 / 16


@pytest.mark.parametrize("taps", [3, 49, 169, 65025])
def test_the_sum_of_a_mean_fits(taps: int) -> None:
    side = {3: (1, 3), 49: (7, 7), 169: (13, 13), 65025: (255, 255)}[taps]
    multiplier, bits = FixedAveragePool("mean", [0], [], kernel=side, stride=(1, 1)).multiplier
    assert multiplier * 255 * taps < 2**31
    assert abs(multiplier * taps / 2**bits - 1) < taps / 2**22


def test_a_pool_a_clamp_and_a_sum() -> None:
    low, high = np.array([-0.3], np.float32), np.array([3e38], np.float32)
    pool = FixedMaxPool("max", [1], [Clamp(low, high), Store(2)], kernel=(1, 2), stride=(1, 1), padding=(0, 1, 0, 0))
    assert run(pool, line(3, 5, 90))[2].reshape(-1).tolist() == [-0.25, -0.25, 20.0]  # -0.3 / 0.25 is rounded
    both = FixedCopy("sum", [1], [Add(1), Add(1), Store(2)])
    assert run(both, line(3, 90))[2].reshape(-1).tolist() == [3 * -1.75, 60.0]


def test_copies_align_their_inputs() -> None:
    nodes: list[Node] = [
        Identity("a", [0], [ToFixed(0.5, 0, 1), ToFixed(0.125, 128, 2)]),
        FixedCopy("copy", [1, 2], [Store(3), ToFixed(2.0, 1, 4)], before=1, after=2),
    ]
    x = np.array([3.0, 0.25], np.float32).reshape(1, 1, 1, 2)
    made = Reference(Graph("test", (1, 1, 2), nodes, [Output(3, 4)])).trace(x)
    assert made[3][0, :, 0].tolist() == [[0, 0], [3, 0], [3, 0.25], [0, 0], [0, 0]]
    assert made[4][0, :, 0].tolist() == [[1, 1], [3, 1], [3, 1], [1, 1], [1, 1]]


def test_everything_wraps_at_32_bits() -> None:
    """As defined, so that machines agree: a file that overflows is a bad file, not another one elsewhere."""
    node = FixedCopy("sum", [1, 2], [Add(1), Add(1), Add(1), Store(3)])
    enter = Identity("enter", [0], [ToFixed(2.0**30, 0, 1), ToFixed(1.0, 0, 2)])
    graph = Graph("test", (1, 1, 1), [enter, node], [Output(3, 4)])
    node.inputs = [2]
    codes = {1: np.full((1, 1, 1, 1), 255, np.uint8), 2: np.full((1, 1, 1, 1), 7, np.uint8)}
    total = (3 * 255 * 2**30 + 7) % 2**32
    assert Reference(graph).run_node(1, codes)[3].item() == np.float32(total - 2**32 if total >= 2**31 else total)


def good() -> Graph:
    rng = np.random.default_rng(0)
    node = graphs.fixed_conv2d(rng, 3, 4, (3, 3), epilogue=[ToFixed(0.5, 128, 2)], bits=8)
    return graphs.fixed_graph((3, 5, 5), node, 2.0**-4, 100)


def broken(**fields: Any) -> Graph:
    graph = good()
    for name, value in fields.items():
        setattr(graph.nodes[1], name, value)
    return graph


@pytest.mark.parametrize(
    ("graph", "match"),
    [
        (broken(epilogue=[ToFixed(0.3, 128, 2)]), "a scale is a power of two"),
        (broken(epilogue=[ToFixed(-0.5, 128, 2)]), "a scale is a power of two"),
        (broken(epilogue=[ToFixed(2.0**40, 128, 2)]), "a scale is a power of two"),
        (broken(epilogue=[ToFixed(2.0**-30, 128, 2)]), "its result has a scale that is not"),
        (broken(epilogue=[ToFixed(0.5, 256, 2)]), "`zero` is 0 to 255"),
        (broken(epilogue=[ToFixed(0.5, 16, 2, bits=4)]), "`zero` is 0 to 15"),
        (broken(epilogue=[ToFixed(0.5, 0, 2, bits=5)]), "`bits` is 4 or 8"),
        (broken(epilogue=[Sigmoid(), ToFixed(0.5, 0, 2)]), "Sigmoid is not a step of a fixed-point node"),
        (broken(epilogue=[Quantize(2.0, 0, 2)]), "Quantize is not a step of a fixed-point node"),
        (broken(epilogue=[Add(0), ToFixed(0.5, 0, 2)]), "it reads value 0 as fixed, but that value is float32"),
        (broken(epilogue=[Add(2), ToFixed(0.5, 0, 2)]), "it reads value 2"),
        (broken(inputs=[0]), "it reads value 0 as fixed, but that value is float32"),
        (broken(weight_scale=np.array([0.3], np.float32)), "a scale is a power of two"),
        (broken(weight_scale=np.array([0.5, 0.5], np.float32)), "weight_scale is a float32 array of shape"),
        (broken(weight_scale=np.array([2.0**9], np.float32)), "its result has a scale that is not"),
        (broken(bias=np.full(4, 3e8, np.float32)), "a bias is more than"),
        (broken(bits=4, weight=np.full((4, 3, 3, 3), 8, np.int8)), "a weight of 4 bits"),
    ],
)  # fmt: skip
def test_what_is_refused(graph: Graph, match: str) -> None:
    infer(good())
    with pytest.raises(Error, match=match):
        infer(graph)


def test_a_window_whose_sums_exceed_31_bits_is_refused() -> None:
    depth = (1 << 15) + 1
    node = graphs.fixed_conv2d(np.random.default_rng(0), depth, 1, (1, 1), epilogue=[ToFixed(1.0, 0, 2)])
    with pytest.raises(Error, match="more than 32768 taps"):
        infer(graphs.fixed_graph((depth, 1, 1), node, 2.0**-4, 0))
