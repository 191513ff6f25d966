"""The reference against other ways to compute the same: torch in float64 on the real numbers, exact fractions, hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphs
from exact import rounded
from netsuke.artifact import Error, Graph, Reference
from netsuke.artifact.graph import (
    Add,
    Affine,
    AveragePool,
    Binarize,
    BinaryConv2d,
    Clamp,
    Concat,
    Conv2d,
    Gather,
    Identity,
    InputTransform,
    Int8Conv2d,
    Logic,
    MaxPool,
    Mean,
    Multiply,
    Node,
    Output,
    PadChannels,
    Quantize,
    Sigmoid,
    Step,
    Store,
    TwoSlope,
)

torch = pytest.importorskip("torch", reason="the independent computations are torch's")
functional = torch.nn.functional
torch.set_num_threads(1)


def run_one(node: Node, x: np.ndarray) -> np.ndarray:
    """What a node over value 0 stores as value 1."""
    return Reference(graphs.float_graph(x.shape[1:], node)).run_node(0, {0: x})[1]


def run_binary(node: BinaryConv2d, s: np.ndarray) -> np.ndarray:
    """What a binary node over the signs `s` stores as value 2."""
    return Reference(graphs.bits_graph(s.shape[1:], node)).run_node(1, {1: s})[2]


def run_int8(node: Int8Conv2d, q: np.ndarray) -> np.ndarray:
    """What an 8-bit node over the codes `q` stores as value 2."""
    return Reference(graphs.uint8_graph(q.shape[1:], node)).run_node(1, {1: q})[2]


def padded(x: np.ndarray, node: Any, fill: float = 0.0) -> Any:
    top, left, bottom, right = node.padding
    return functional.pad(torch.from_numpy(x.astype(np.float64)), (left, right, top, bottom), value=fill)


def nearest(x: np.ndarray, node: Any) -> Any:
    top, left, bottom, right = node.padding
    return functional.pad(torch.from_numpy(x.astype(np.float64)), (left, right, top, bottom), mode="replicate")


def torch_conv2d(node: Any, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """A float64 convolution over an image padded as the node says."""
    weight = torch.from_numpy(np.ascontiguousarray(weight.transpose(0, 3, 1, 2), np.float64))
    bias = torch.from_numpy(node.bias.astype(np.float64))
    mode = getattr(node, "padding_mode", "zeros")
    one = node.alpha_a + node.gamma if mode == "ones" else 0.0
    around = nearest(x, node) if mode == "replicate" else padded(x, node, one)
    return functional.conv2d(around, weight, bias, node.stride, 0, node.dilation, node.groups).numpy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1e-30, np.abs(expected).max()))


# ----------------------------------------------------------------------------------------------- convolutions
@given(graphs.convolutions(channels=12))
def test_conv2d_against_torch_float64(graph: Graph) -> None:
    rng = np.random.default_rng(0)
    node = graph.nodes[0]
    node.weight, node.bias = (graphs.floats(rng, "normal", *a.shape) for a in (node.weight, node.bias))
    x = graphs.images(rng, "normal", 2, graph.input_shape)
    assert_close(Reference(graph)(x), torch_conv2d(node, x, node.scaled_weight))


@given(graphs.convolutions(channels=12))
def test_conv2d_of_quarters_is_exact(graph: Graph) -> None:
    """On a grid nothing is rounded, so every order of summation gives one answer."""
    rng = np.random.default_rng(0)
    node = graph.nodes[0]
    node.weight_scale = None
    node.weight, node.bias = (graphs.floats(rng, "grid", *a.shape) for a in (node.weight, node.bias))
    x = graphs.images(rng, "grid", 2, graph.input_shape)
    np.testing.assert_array_equal(Reference(graph)(x), torch_conv2d(node, x, node.scaled_weight))


@given(st.integers(0, 2**32 - 1))
def test_conv2d_is_one_fma_a_tap_in_the_order_of_the_format(seed: int) -> None:
    """Bit for bit against exact fractions, rounded after every step."""
    rng = np.random.default_rng(seed)
    node = graphs.conv2d(rng, 4, 2, (2, 2), groups=2, padding=(1, 0, 0, 1))
    x = graphs.images(rng, "normal", 1, (4, 2, 2))
    zero_padded = np.pad(x[0], ((0, 0), (1, 0), (0, 1)))
    found = run_one(node, x)[0]
    for o, row, column in np.ndindex(found.shape):
        y = Fraction(float(node.bias[o]))
        for ky, kx, c in np.ndindex(2, 2, 2):
            tap = float(zero_padded[2 * o + c, row + ky, column + kx])  # output o is group o, of channels 2o and 2o + 1
            y = Fraction(float(node.scaled_weight[o, ky, kx, c])) * Fraction(tap) + y
            y = Fraction(rounded(y)) if y else y
        assert found[o, row, column] == float(y)


def test_conv2d_of_padding_only_turns_minus_zero_into_zero() -> None:
    """fma(1, 0, -0) is +0: taps outside the image are zeros, not absent."""
    ones = np.ones((1, 1, 1, 1), np.float32)
    node = Conv2d("conv", [0], [Store(1)], weight=ones, bias=np.float32([-0.0]), padding=(1, 0, 0, 0))
    assert not np.signbit(run_one(node, np.ones((1, 1, 1, 1), np.float32))[0, 0, 0, 0])


@given(graphs.binary_convolutions(channels=12))
def test_binary_conv2d_against_torch_float64(graph: Graph) -> None:
    """The true numbers: weights alpha_w * s + beta_w, activations alpha_a * s + gamma, and zeros around the image."""
    rng = np.random.default_rng(0)
    node = graph.nodes[1]
    outputs = len(node.weight)
    node.alpha_w, node.bias = (graphs.floats(rng, "normal", outputs) for _ in range(2))
    node.beta_w = np.where(node.beta_w != 0, graphs.floats(rng, "normal", outputs), np.float32(0))
    node.alpha_a, node.gamma = map(float, graphs.floats(rng, "normal", 2))
    s = graphs.signs(rng, 2, *graph.input_shape)
    assert_close(run_binary(node, s), torch_conv2d(node, *binary_numbers(node, s)))


def binary_numbers(node: BinaryConv2d, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The activations and weights that the bits stand for, in float64."""
    alpha_w, beta_w = (array.astype(np.float64)[:, None, None, None] for array in (node.alpha_w, node.beta_w))
    return node.alpha_a * s + node.gamma, alpha_w * node.weight + beta_w


@given(graphs.binary_convolutions(channels=40))
def test_binary_conv2d_of_quarters_is_exact(graph: Graph) -> None:
    rng = np.random.default_rng(1)
    node = graph.nodes[1]
    outputs = len(node.weight)
    node.alpha_w, node.beta_w, node.bias = (graphs.floats(rng, "grid", outputs) for _ in range(3))
    node.alpha_a, node.gamma = 0.75, -1.25
    s = graphs.signs(rng, 2, *graph.input_shape)
    np.testing.assert_array_equal(run_binary(node, s), torch_conv2d(node, *binary_numbers(node, s)))


def test_binary_conv2d_rounds_as_the_format_says() -> None:
    """Bit for bit against the formulas of docs/format.md on integers counted one by one."""
    rng = np.random.default_rng(2)
    node = graphs.binary_conv2d(rng, 3, 4, (3, 3), padding=(1, 1, 1, 1), stride=(2, 1))
    s = graphs.signs(rng, 1, 3, 5, 4)
    found = run_binary(node, s)[0]
    for o, row, column in np.ndindex(found.shape):
        inside = [
            (int(node.weight[o, ky, kx, c]), int(s[0, c, 2 * row + ky - 1, column + kx - 1]))
            for ky, kx, c in np.ndindex(3, 3, 3)
            if 0 <= 2 * row + ky - 1 < 5 and 0 <= column + kx - 1 < 4
        ]
        dot, weights, activations = (
            sum(f(*pair) for pair in inside) for f in (int.__mul__, lambda w, a: w, lambda w, a: a)
        )
        alpha_w, beta_w, bias = (float(array[o]) for array in (node.alpha_w, node.beta_w, node.bias))
        constant = np.float32(((alpha_w * node.gamma) * weights + (beta_w * node.gamma) * len(inside)) + bias)
        y = exact_fma(np.float32(alpha_w * node.alpha_a), dot, constant)
        y = exact_fma(np.float32(beta_w * node.alpha_a), activations, y)
        assert found[o, row, column] == y


def test_padding_modes_of_one_row() -> None:
    """Written out by hand: C = 1, a kernel 1 x 3 of +1, +1, -1, the row -1, +1."""
    weight, one = np.array([1, 1, -1], np.int8).reshape(1, 1, 3, 1), np.ones(1, np.float32)
    numbers = {"weight": weight, "alpha_w": one, "beta_w": one * 0, "bias": one * 0, "alpha_a": 1.0, "gamma": 0.0}
    row = np.array([-1, 1], np.int8).reshape(1, 1, 1, 2)
    for mode, expected in (("zeros", [-2, 0]), ("ones", [-1, -1]), ("replicate", [-3, -1])):
        node = BinaryConv2d("row", [1], [Store(2)], padding=(0, 1, 0, 1), padding_mode=mode, **numbers)  # type: ignore[arg-type]
        assert run_binary(node, row).reshape(-1).tolist() == expected


def exact_fma(a: np.float32, b: int, c: np.float32) -> np.float32:
    exact = Fraction(float(a)) * b + Fraction(float(c))
    return np.float32(rounded(exact) if exact else 0)


@given(graphs.binary_convolutions(channels=150, size=4, whole_map=True))
def test_a_linear_layer_is_a_convolution_over_the_whole_map(graph: Graph) -> None:
    rng = np.random.default_rng(4)
    node = graph.nodes[1]
    outputs = len(node.weight)
    node.alpha_w, node.beta_w, node.bias = (graphs.floats(rng, "grid", outputs) for _ in range(3))
    node.alpha_a, node.gamma = 0.5, 0.25
    s = graphs.signs(rng, 3, *graph.input_shape)
    a, w = binary_numbers(node, s)
    expected = a.transpose(0, 2, 3, 1).reshape(3, -1) @ w.reshape(outputs, -1).T + node.bias
    np.testing.assert_array_equal(run_binary(node, s)[:, :, 0, 0], expected)


def codes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """uint8, both ends often."""
    return np.where(rng.random(shape) < 0.3, rng.choice([0, 255], shape), rng.integers(0, 256, shape)).astype(np.uint8)


def torch_int8_sums(node: Int8Conv2d, q: np.ndarray) -> np.ndarray:
    """S by unfolding in int64: codes padded with the zero point, less the zero point, times weights."""
    outputs, height, width, depth = node.weight.shape
    top, left, bottom, right = node.padding
    image = functional.pad(torch.from_numpy(q.astype(np.int64)), (left, right, top, bottom), value=node.zero)
    # (N, C, kernel rows, W padded, H of the result), then the columns likewise: (N, C, kh, H, kw, W) at last
    image = image.unfold(2, node.dilation[0] * (height - 1) + 1, node.stride[0])[..., :: node.dilation[0]]
    image = image.unfold(3, node.dilation[1] * (width - 1) + 1, node.stride[1])[..., :: node.dilation[1]]
    grouped = image.reshape(len(q), node.groups, depth, *image.shape[2:]) - node.zero  # (N, g, c, H, W, kh, kw)
    weight = torch.from_numpy(node.weight.astype(np.int64))
    weight = weight.reshape(node.groups, outputs // node.groups, height, width, depth)
    sums = torch.einsum("ngchwyx,goyxc->ngohw", grouped, weight)
    return sums.reshape(len(q), outputs, *sums.shape[-2:]).numpy()


@given(graphs.int8_convolutions(channels=30))
def test_int8_conv2d_against_torch_int64(graph: Graph) -> None:
    """Bit for bit: the integers by torch, then one scale rounded once and one multiply-add rounded once."""
    rng = np.random.default_rng(0)
    node = graph.nodes[1]
    node.weight_scale, node.bias = (graphs.floats(rng, "normal", len(node.weight)) for _ in range(2))
    node.activation_scale = float(graphs.floats(rng, "normal", 1)[0])
    q = codes(rng, 2, *graph.input_shape)
    found, sums = run_int8(node, q), torch_int8_sums(node, q)
    assert found.dtype == np.float32
    assert found.shape == sums.shape
    places = rng.integers(0, sums.size, 20)  # exact fractions are slow
    for n, o, row, column in zip(*np.unravel_index(places, sums.shape), strict=True):
        a = np.float32(np.float64(node.weight_scale[o]) * np.float64(np.float32(node.activation_scale)))
        total = int(np.float32(sums[n, o, row, column]))
        assert found[n, o, row, column] == exact_fma(a, total, node.bias[o])
    node.weight_scale, node.bias, node.activation_scale = np.ones_like(node.bias), np.zeros_like(node.bias), 1.0
    np.testing.assert_array_equal(run_int8(node, q), sums.astype(np.float32))


@given(graphs.int8_convolutions(channels=12))
def test_int8_conv2d_is_a_convolution_of_the_numbers_that_codes_stand_for(graph: Graph) -> None:
    """Padding is a real zero, whatever the zero point."""
    rng = np.random.default_rng(1)
    node = graph.nodes[1]
    node.weight_scale = np.abs(graphs.floats(rng, "normal", len(node.weight))) / 100
    node.bias = graphs.floats(rng, "normal", len(node.weight))
    node.activation_scale = 0.03
    q = codes(rng, 2, *graph.input_shape)
    x = node.activation_scale * (q.astype(np.float64) - node.zero)
    weight = node.weight_scale.astype(np.float64)[:, None, None, None] * node.weight
    assert_close(run_int8(node, q), torch_conv2d(node, x, weight))


def test_the_largest_sum_of_an_int8_conv2d() -> None:
    """127 * 255 * 65,536 is below 2^31, and rounds to even in a float32 whose last place is 128."""
    weight = np.full((2, 1, 1, 1 << 16), 127, np.int8)
    weight[1] = -127
    weight[1, 0, 0, 0] = -126
    scale = np.ones(2, np.float32)
    node = Int8Conv2d(
        "int8",
        [1],
        [Store(2)],
        weight=weight,
        weight_scale=scale,
        bias=np.zeros(2, np.float32),
        activation_scale=1.0,
        zero=0,
    )
    found = run_int8(node, np.full((1, 1 << 16, 1, 1), 255, np.uint8)).reshape(-1)
    exact = [127 * 255 << 16, 255 - (127 * 255 << 16)]
    assert found.tolist() == [rounded(Fraction(number)) for number in exact]
    assert exact[0] < 1 << 31


# ----------------------------------------------------------------------------------------------- pools
@given(graphs.pools())
def test_pools_against_torch(graph: Graph) -> None:
    node = graph.nodes[0]
    x = graphs.images(np.random.default_rng(0), "grid", 2, graph.input_shape)
    if isinstance(node, MaxPool):
        expected = functional.max_pool2d(padded(x, node, -np.inf), node.kernel, node.stride).numpy()
        np.testing.assert_array_equal(run_one(node, x), expected)
    else:
        means = functional.avg_pool2d(padded(x, node), node.kernel, node.stride).numpy()
        if node.divisor == "inside":
            means = means / functional.avg_pool2d(padded(np.ones_like(x), node), node.kernel, node.stride).numpy()
        assert_close(run_one(node, x), means)


@pytest.mark.parametrize("size", range(3, 12))
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 3, 1), (2, 3, 1)])
def test_padding_at_the_bottom_expresses_ceil_mode(size: int, kernel: int, stride: int, padding: int) -> None:
    x = graphs.images(np.random.default_rng(0), "normal", 1, (2, size, size))
    options = {"stride": stride, "padding": padding, "ceil_mode": True}
    expected = functional.max_pool2d(torch.from_numpy(x), kernel, **options).numpy()
    more = (expected.shape[2] - 1) * stride + kernel - size - padding
    sides = (padding, padding, max(more, 0), max(more, 0))
    pool = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": sides}
    np.testing.assert_array_equal(run_one(MaxPool("pool", [0], [Store(1)], **pool), x), expected)
    expected = functional.avg_pool2d(torch.from_numpy(x), kernel, count_include_pad=False, **options).numpy()
    assert_close(run_one(AveragePool("pool", [0], [Store(1)], **pool), x), expected)


def test_max_pool_of_nan_and_zeros() -> None:
    """y = x if x > y else y: a NaN that comes first stays, a later one is passed over; so is +0 after -0."""
    x = np.array([[np.nan, 1], [1, np.nan], [-0.0, 0.0]], np.float32).reshape(3, 1, 1, 2)
    node = MaxPool("pool", [0], [Store(1)], kernel=(1, 2), stride=(1, 1))
    found = run_one(node, x).reshape(3)
    assert np.isnan(found[0])
    assert found[1] == 1
    assert np.signbit(found[2])


def test_average_pool_adds_in_ascending_order() -> None:
    x = np.float32([1, 2**-24, 2**-24, 2**-23]).reshape(1, 1, 2, 2)
    node = AveragePool("pool", [0], [Store(1)], kernel=(2, 2), stride=(1, 1))
    assert run_one(node, x).item() == np.float32((1 + 2**-23) / 4)  # both small ones are rounded away, the last is not


# ----------------------------------------------------------------------------------------------- the other operators
def test_copies() -> None:
    x = graphs.images(np.random.default_rng(0), "normal", 2, (3, 2, 2))
    zeros = np.zeros((2, 1, 2, 2), np.float32)
    np.testing.assert_array_equal(
        run_one(PadChannels("pad", [0], [Store(1)], before=1, after=2), x),
        np.concatenate([zeros, x, zeros, zeros], axis=1),
    )
    np.testing.assert_array_equal(run_one(Concat("join", [0, 0], [Store(1)]), x), np.concatenate([x, x], axis=1))
    taken = run_one(Gather("take", [0, 0], [Store(1)], pieces=[(2, 4, 1), (1, 0)]), x)
    np.testing.assert_array_equal(taken, x[:, [1, 1, 2, 2, 0]])
    np.testing.assert_array_equal(run_one(Identity("same", [0], [Store(1)]), x), x)


def test_bits_as_numbers() -> None:
    a, b = (np.int8(signs).reshape(1, 4, 1, 1) for signs in ([1, 1, -1, -1], [1, -1, 1, -1]))
    steps: list[Step] = [Binarize(np.zeros(1, np.float32), False, 1), Affine(*np.float32([[-1] * 4] * 2))]
    twice = Identity("bits", [0], [*steps, Binarize(np.zeros(1, np.float32), False, 2)])
    nodes = [
        twice,
        Logic("equal", [1, 2], [Store(3)], kind="xnor"),
        Logic("either", [1, 2], [Store(4)], kind="or"),
        Gather("take", [2, 1], [Store(5)], pieces=[(1, 7, 0), (2, 2)]),
    ]
    run = Reference(Graph("bits", (4, 1, 1), nodes, [Output(v, 2) for v in (3, 4, 5)]))
    made = [run.run_node(node, {1: a, 2: b})[node + 2].flatten().tolist() for node in (1, 2, 3)]
    assert made == [[1, -1, -1, 1], [1, 1, 1, -1], [-1, 1, 1, -1]]


X = np.float32([-3, -0.0, 0.0, 2, np.inf, np.nan]).reshape(1, 1, 1, 6)


def epilogue(*steps: Step) -> dict[int, np.ndarray]:
    """What the steps make of X."""
    graph = Graph("steps", (1, 1, 6), [Identity("x", [0], [*steps, Store(1)])], [Output(1, 4)])
    if any(isinstance(step, Binarize) for step in steps):
        graph.nodes[0].epilogue[-1] = Store(2)
        graph.outputs = [Output(2, 4)]
    return Reference(graph).run_node(0, {0: X})


def one(number: float) -> np.ndarray:
    return np.array([number], np.float32)


def test_affine() -> None:
    np.testing.assert_array_equal(epilogue(Affine(one(2), one(1)))[1].reshape(-1), [-5, 1, 1, 5, np.inf, np.nan])


def test_add() -> None:
    np.testing.assert_array_equal(epilogue(Add(0))[1], X + X)


def test_two_slope() -> None:
    found = epilogue(TwoSlope(positive=one(2), negative=one(-1)))[1].reshape(-1)
    np.testing.assert_array_equal(found, [3, 0, 0, 4, np.inf, np.nan])
    assert np.signbit(found[1])  # -0 >= 0, so it is -0 * 2
    assert not np.signbit(found[2])


def test_clamp() -> None:
    np.testing.assert_array_equal(epilogue(Clamp(low=one(-1), high=one(1)))[1].reshape(-1), [-1, 0, 0, 1, 1, -1])
    crossed = epilogue(Clamp(low=one(5), high=one(1)))[1].reshape(-1)
    np.testing.assert_array_equal(crossed, [1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("threshold", "flip", "bits"),
    [
        (0.0, False, [-1, 1, 1, 1, 1, -1]),
        (-0.0, False, [-1, 1, 1, 1, 1, -1]),
        (0.0, True, [1, 1, 1, -1, -1, -1]),
        (2.0, False, [-1, -1, -1, 1, 1, -1]),
        (2.0, True, [1, 1, 1, 1, -1, -1]),
    ],
)
def test_binarize(threshold: float, flip: bool, bits: list[int]) -> None:
    made = epilogue(Binarize(one(threshold), flip, 1))
    assert made[1].dtype == np.int8
    assert made[1].reshape(-1).tolist() == bits
    np.testing.assert_array_equal(made[2], X)  # y goes on unchanged


@pytest.mark.parametrize(
    ("multiplier", "zero", "codes"),
    [
        (1.0, 0, [0, 0, 0, 2, 255, 0]),
        (1.0, 10, [7, 10, 10, 12, 255, 0]),
        (0.25, 0, [0, 0, 0, 0, 255, 0]),  # 0.5 to the even 0
        (0.75, 0, [0, 0, 0, 2, 255, 0]),  # 1.5 to the even 2
        (0.5, 4, [2, 4, 4, 5, 255, 0]),  # 2.5 to the even 2
        (-1.0, 255, [255, 255, 255, 253, 0, 0]),
        (1000.0, 128, [0, 128, 128, 255, 255, 0]),
        (0.0, 7, [7, 7, 7, 7, 0, 0]),  # 0 * infinity is NaN, and NaN is 0
    ],
)
def test_quantize(multiplier: float, zero: int, codes: list[int]) -> None:
    graph = Graph("q", (1, 1, 6), [Identity("x", [0], [Quantize(multiplier, zero, 1), Store(2)])], [Output(2, 4)])
    made = Reference(graph).run_node(0, {0: X})
    assert made[1].dtype == np.uint8
    assert made[1].reshape(-1).tolist() == codes
    np.testing.assert_array_equal(made[2], X)  # y goes on unchanged


def test_quantize_rounds_the_product_and_the_sum_once() -> None:
    """y * m = 0.5 + 2^-23 + 2^-47. Rounded by itself it loses the last part, and 2 + it would become 2.5, then 2."""
    y, multiplier = np.float32(0.5 + 2**-24), np.float32(1 + 2**-23)
    assert np.rint(np.float32(2) + y * multiplier) == 2
    node = Identity("x", [0], [Quantize(float(multiplier), 2, 1), Store(2)])
    graph = Graph("q", (1, 1, 1), [node], [Output(2, 4)])
    assert Reference(graph).run_node(0, {0: y.reshape(1, 1, 1, 1)})[1].item() == 3


def test_a_threshold_for_each_channel() -> None:
    node = Identity("sign", [0], [Binarize(np.float32([0, 2]), False, 1), Store(2)])
    graph = Graph("thresholds", (2, 1, 1), [node], [Output(2, 4)])
    made = Reference(graph).run_node(0, {0: np.float32([1, 1]).reshape(1, 2, 1, 1)})
    assert made[1].reshape(-1).tolist() == [1, -1]


def test_steps_work_on_one_value_in_order() -> None:
    made = epilogue(Affine(one(2), one(0)), Binarize(one(4), False, 1), Affine(one(1), one(1)))
    assert made[1].reshape(-1).tolist() == [-1, -1, -1, 1, 1, -1]
    np.testing.assert_array_equal(made[2].reshape(-1), [-5, 1, 1, 5, np.inf, np.nan])


# ----------------------------------------------------------------------------------------------- whole networks
def test_uint8_is_transformed() -> None:
    scale, shift = np.float32([0.5, 0.25, 2]), np.float32([1, -1, 0])
    u = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2) * 20
    for order, network in (("RGB", u), ("BGR", u[:, ::-1])):
        graph = graphs.float_graph((3, 2, 2), Identity("same", [0], [Store(1)]))
        graph.transform = InputTransform(scale, shift, order=order)
        expected = network * scale[:, None, None] + shift[:, None, None]
        found = Reference(graph)(u)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@given(graphs.graphs())
def test_node_by_node_is_the_whole(graph: Graph) -> None:
    reference = Reference(graph)
    images = graphs.images(np.random.default_rng(0), "normal", 2, graph.input_shape)
    trace = reference.trace(images)
    for index in range(len(graph.nodes)):
        for value, made in reference.run_node(index, trace).items():
            graphs.assert_same_bits(made, trace[value])
    outputs = reference(images)
    for output, found in zip(graph.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True):
        value = trace[output.value]
        graphs.assert_same_bits(found, value if output.rank == 4 else value.reshape(2, -1))


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_a_batch_is_its_images(batch: int) -> None:
    for graph in (graphs.every_operator(), graphs.residual_network(blocks=1, size=16)):
        reference = Reference(graph)
        images = graphs.images(np.random.default_rng(0), "normal", 5, graph.input_shape)
        whole = reference(images[:batch])
        for position in range(batch):
            single = reference(images[position : position + 1])
            pairs = zip(whole, single, strict=True) if isinstance(whole, tuple) else [(whole, single)]
            for several, alone in pairs:
                graphs.assert_same_bits(several[position : position + 1], alone)
        for output in whole if isinstance(whole, tuple) else (whole,):
            assert len(output) == batch


def test_images_are_not_changed() -> None:
    graph = graphs.every_operator()
    images = graphs.images(np.random.default_rng(0), "normal", 2, graph.input_shape)
    before = images.copy()
    reference = Reference(graph)
    reference(images)[0][:] = 7
    np.testing.assert_array_equal(images, before)


# ----------------------------------------------------------------------------------------------- wrong input
GOOD = np.zeros((2, 3, 10, 9), np.float32)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            GOOD[0],
            "the images have shape (3, 10, 9), the network takes (N, 3, 10, 9). Add the batch axis: images[None].",
        ),
        (GOOD[:, :2], "the images have shape (2, 2, 10, 9), the network takes (N, 3, 10, 9)."),
        (GOOD.transpose(0, 2, 3, 1), "the images have shape (2, 10, 9, 3), the network takes (N, 3, 10, 9)."),
        (GOOD.astype(np.float64), "the images are float64, the network takes float32 or uint8; convert them"),
        (GOOD.astype(">f4"), "the images are >f4, the network takes float32 or uint8"),
        (GOOD.astype(np.int8), "the images are int8, the network takes float32 or uint8"),
        (GOOD * np.float32(np.nan), "the images hold a number that is not finite"),
        (GOOD + np.float32(np.inf), "the images hold a number that is not finite"),
        (GOOD.tolist(), "the images are a list; give a numpy array of shape (N, 3, 10, 9)"),
        (None, "the images are a NoneType"),
    ],
)
def test_wrong_images(images: Any, message: str) -> None:
    with pytest.raises(Error) as caught:
        Reference(graphs.every_operator())(images)
    assert str(caught.value).startswith(message)


def test_uint8_without_a_transform() -> None:
    graph = graphs.every_operator()
    graph.transform = None
    with pytest.raises(Error, match="the images are uint8, but this file stores no normalisation"):
        Reference(graph)(GOOD.astype(np.uint8))


@pytest.mark.parametrize(
    ("index", "values", "message"),
    [
        (27, {}, "there is no node 27"),
        (-1, {}, "there is no node -1"),
        (1, {1: np.zeros((1, 6, 5, 9), np.float32)}, "value 2 is missing"),
        (1, {1: np.zeros((1, 6, 5, 9), np.float32), 2: np.ones((1, 6, 5, 9), np.float32)}, "value 2 is float32"),
        (1, {1: np.zeros((1, 6, 5, 9), np.float32), 2: np.zeros((1, 6, 5, 9), np.int8)}, "value 2 is bits"),
        (1, {1: np.zeros((1, 6, 5, 9), np.float32), 2: np.ones((2, 6, 5, 9), np.int8)}, "different batch sizes"),
        (1, {1: np.zeros((1, 6, 5, 8), np.float32), 2: np.ones((1, 6, 5, 9), np.int8)}, "value 1 has shape"),
        (2, {3: None}, "value 3 is NoneType"),
        (8, {10: np.zeros((1, 6, 5, 9), np.int8)}, "value 10 is int8; give a numpy array of uint8"),
        (8, {10: np.zeros((1, 6, 5, 9), np.float32)}, "value 10 is float32; give a numpy array of uint8"),
    ],
)
def test_wrong_values(index: int, values: Any, message: str) -> None:
    with pytest.raises(Error) as caught:
        Reference(graphs.every_operator()).run_node(index, values)
    assert message in str(caught.value)


# ----------------------------------------------------------------------------------------------- gates
def run_steps(steps: list[Step], x: np.ndarray) -> np.ndarray:
    """What an identity node over value 0 stores as value 1."""
    return run_one(Identity("steps", [0], [*steps, Store(1)]), x)


def test_sigmoid_is_within_3_units_of_the_true_one() -> None:
    rng = np.random.default_rng(0)
    parts = (np.linspace(-87, 87, 200_000), rng.standard_normal(100_000) * 5, rng.uniform(-1e-3, 1e-3, 1000))
    y = np.concatenate(parts).astype(np.float32)
    true = 1 / (1 + np.exp(-y.astype(np.float64)))
    found = run_steps([Sigmoid()], y.reshape(1, 1, 301, -1)).reshape(-1)
    assert (np.abs(found - true) / np.spacing(true.astype(np.float32))).max() < 3
    order = np.argsort(y)
    assert (np.diff(found[order]) >= -2 * np.spacing(found[order][1:])).all()


def test_sigmoid_at_its_ends() -> None:
    y = np.float32([0, -0.0, 17.5, 87, 1e30, -87, -88, -1e30])
    found = run_steps([Sigmoid()], y.reshape(1, 1, 1, -1)).reshape(-1)
    np.testing.assert_array_equal(found[:5], np.float32([0.5, 0.5, 1, 1, 1]))
    assert 1.6e-38 < found[5] < 1.7e-38
    assert found[6] == found[7] == found[5]
    slope = np.full(1, 3e38, np.float32)
    infinite = [TwoSlope(slope, slope)] * 2  # 1e30 * 3e38 * 3e38
    np.testing.assert_array_equal(
        run_steps([*infinite, Sigmoid()], np.float32([1e30, -1e30]).reshape(1, 1, 1, 2)).reshape(-1), [1, found[5]]
    )
    nothing = [*infinite, TwoSlope(np.zeros(1, np.float32), np.zeros(1, np.float32))]  # infinity times 0
    assert np.isnan(run_steps([*nothing, Sigmoid()], np.float32([[[[1e30]]]]))).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (6, 11)])
def test_mean_sums_rows_first(shape: tuple[int, int]) -> None:
    x = graphs.floats(np.random.default_rng(3), "normal", 2, 3, *shape)
    rows = [[[np.float32(0)] * shape[0] for _ in range(3)] for _ in range(2)]
    for n, c, h in np.ndindex(2, 3, shape[0]):
        for number in x[n, c, h]:
            rows[n][c][h] = rounded(Fraction(float(rows[n][c][h])) + Fraction(float(number)))
    found = Reference(Graph("mean", (3, *shape), [Identity("mean", [0], [Mean(1)])], [Output(1, 2)]))(x)
    for n, c in np.ndindex(2, 3):
        total = np.float32(0)
        for row in rows[n][c]:
            total = rounded(Fraction(float(total)) + Fraction(float(row)))
        assert found[n, c] == rounded(Fraction(float(total)) / (shape[0] * shape[1]))


def test_multiplication_by_a_map_and_by_a_gate() -> None:
    x = graphs.floats(np.random.default_rng(4), "normal", 2, 3, 4, 5)
    nodes: list[Node] = [
        Identity("mean", [0], [Mean(1)]),
        Identity("gated", [0], [Multiply(1), Store(2), Multiply(0), Store(3)]),
    ]
    mean, gated, squared = Reference(Graph("gate", (3, 4, 5), nodes, [Output(v, 4) for v in (1, 2, 3)]))(x)
    assert mean.shape == (2, 3, 1, 1)
    np.testing.assert_array_equal(gated, x * mean)
    np.testing.assert_array_equal(squared, x * mean * x)
