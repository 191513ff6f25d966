"""Graphs for tests: plain builders, and hypothesis strategies of small valid graphs with every operator and step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from netsuke.artifact.graph import (
    PADDING_MODES,
    Add,
    Affine,
    AveragePool,
    Binarize,
    BinaryConv2d,
    Clamp,
    Concat,
    Conv2d,
    Detect,
    FixedAveragePool,
    FixedConv2d,
    FixedCopy,
    FixedMaxPool,
    FixedNode,
    Gather,
    Graph,
    Identity,
    InputTransform,
    Int8Conv2d,
    Logic,
    MaxPool,
    Mean,
    Multiply,
    Node,
    Normalize,
    Output,
    PadChannels,
    Quantize,
    Sigmoid,
    Step,
    Store,
    ToFixed,
    TwoSlope,
)
from netsuke.artifact.infer import unit_of

Shape = tuple[int, int, int]


# ----------------------------------------------------------------------------------------------- comparison
def assert_same_bits(found: Any, expected: Any) -> None:
    """Same shapes, types and bits; one NaN is as good as another (docs/format.md, section 4)."""
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_bits(one, other)
        return
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype == np.float32:
        found, expected = (np.where(np.isnan(a), np.float32(np.nan), a).view(np.uint32) for a in (found, expected))
    different = np.argwhere(found != expected)
    assert len(different) == 0, f"{len(different)} of {expected.size} elements differ, the first at {different[0]}"


# ----------------------------------------------------------------------------------------------- numbers
STYLES = ("normal", "grid", "wild")


def floats(rng: np.random.Generator, style: str, *shape: int) -> np.ndarray:
    """Finite float32. grid: quarters, so that sums meet thresholds exactly; wild: any exponent, zeros of both signs."""
    if style == "normal":
        return rng.standard_normal(shape).astype(np.float32)
    if style == "grid":
        return (rng.integers(-8, 9, shape) / 4).astype(np.float32)
    bits = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    special = np.array([0, 1 << 31, 1, 0x80000001, 0x7F7FFFFF, 0x3F800000, 0xBF800000], np.uint32)
    bits = np.where(rng.random(shape) < 0.3, rng.choice(special, shape), bits)
    numbers = np.asarray(bits, np.uint32).view(np.float32)
    return np.where(np.isfinite(numbers), numbers, np.float32(1.5))


def thinned(rng: np.random.Generator, weight: np.ndarray, density: float) -> np.ndarray:
    """The weights with all but that share of them made zeros, of both signs."""
    zeros = np.where(rng.random(weight.shape) < 0.5, np.float32(0), np.float32(-0.0))
    return np.where(rng.random(weight.shape) < density, weight, zeros)


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """int8, each -1 or +1."""
    return rng.choice(np.array([-1, 1], np.int8), shape)


ZEROS = (0, 255, 128, 1, 77)  # zero points: both ends, and some between


def int8_weights(rng: np.random.Generator, style: str, *shape: int, bits: int = 8) -> np.ndarray:
    """int8, -127 to 127 or of 4 bits -7 to 7. wild: mostly the two ends, so that sums grow as large as they can."""
    largest = (1 << (bits - 1)) - 1
    numbers = rng.integers(-largest, largest + 1, shape)
    ends = rng.choice([-largest, largest, largest, largest], shape)
    return (
        np.where(rng.random(shape) < 0.9, ends, numbers).astype(np.int8) if style == "wild" else numbers.astype(np.int8)
    )


def multiplier(rng: np.random.Generator, style: str) -> float:
    """Of a quantize step. grid: products end in 1/2, and are rounded to even; wild: any float32."""
    numbers = {"normal": rng.uniform(10, 100), "grid": rng.choice([2.0, 6.0, -2.0]), "wild": floats(rng, "wild", 1)[0]}
    return float(np.float32(numbers[style]))


def images(rng: np.random.Generator, style: str, batch: int, shape: Shape) -> np.ndarray:
    """A float32 batch (N, C, H, W)."""
    return floats(rng, style, batch, *shape)


def scales(rng: np.random.Generator, style: str, outputs: int) -> np.ndarray:
    """Of weights, such that products stay finite, and of the style grid where they are multiples of its step."""
    numbers = rng.uniform(-1, 1, outputs) if style == "normal" else rng.choice([-1, -0.5, 0.5, 1], outputs)
    return numbers.astype(np.float32)


# ----------------------------------------------------------------------------------------------- plain builders
def conv2d(rng: np.random.Generator, depth: int, outputs: int, kernel: tuple[int, int], **fields: Any) -> Conv2d:
    """A float convolution of value 0 that stores value 1. `fields` replace those of the node; `style` the numbers'.

    density: the share of the weights that are not made zeros. values: how many numbers the weights are chosen from.
    """
    style, density, groups = fields.pop("style", "normal"), fields.pop("density", 1), fields.get("groups", 1)
    values = fields.pop("values", None)
    node = {
        "name": "conv",
        "inputs": [0],
        "epilogue": [Store(1)],
        "weight": floats(rng, style, outputs, *kernel, depth // groups),
        "bias": floats(rng, style, outputs),
        "weight_scale": scales(rng, style, outputs) if rng.random() < 0.25 else None,
    }
    if values:
        node["weight"] = rng.choice(floats(rng, style, values), node["weight"].shape)
    if density < 1:
        node["weight"] = thinned(rng, node["weight"], density)
    return Conv2d(**{**node, **fields})


def binary_conv2d(
    rng: np.random.Generator, depth: int, outputs: int, kernel: tuple[int, int], **fields: Any
) -> BinaryConv2d:
    """A binary convolution of value 1 that stores value 2. `fields` as in `conv2d`."""
    style, groups = fields.pop("style", "normal"), fields.get("groups", 1)
    alpha_a, gamma = (float(number) for number in floats(rng, style, 2))
    node = {
        "name": "binary",
        "inputs": [1],
        "epilogue": [Store(2)],
        "weight": signs(rng, outputs, *kernel, depth // groups),
        "alpha_w": floats(rng, style, outputs),
        "beta_w": floats(rng, style, outputs),
        "bias": floats(rng, style, outputs),
        "alpha_a": alpha_a or 1.0,
        "gamma": gamma,
    }
    return BinaryConv2d(**{**node, **fields})


def int8_conv2d(
    rng: np.random.Generator, depth: int, outputs: int, kernel: tuple[int, int], **fields: Any
) -> Int8Conv2d:
    """An 8-bit convolution of value 1 that stores value 2. `fields` as in `conv2d`."""
    style, groups, bits = fields.pop("style", "normal"), fields.get("groups", 1), fields.get("bits", 8)
    node = {
        "name": "int8",
        "inputs": [1],
        "epilogue": [Store(2)],
        "weight": int8_weights(rng, style, outputs, *kernel, depth // groups, bits=bits),
        "weight_scale": floats(rng, style, outputs),
        "bias": floats(rng, style, outputs),
        "activation_scale": float(floats(rng, style, 1)[0]),
        "zero": int(rng.choice(ZEROS)),
    }
    return Int8Conv2d(**{**node, **fields})


def fixed_conv2d(
    rng: np.random.Generator, depth: int, outputs: int, kernel: tuple[int, int], **fields: Any
) -> FixedConv2d:
    """A fixed-point convolution of value 1 that stores value 2. `fields` as in `conv2d`."""
    style, groups, bits = fields.pop("style", "normal"), fields.get("groups", 1), fields.get("bits", 8)
    node = {
        "name": "fixed",
        "inputs": [1],
        "epilogue": [Store(2)],
        "weight": int8_weights(rng, style, outputs, *kernel, depth // groups, bits=bits),
        "weight_scale": np.exp2(rng.integers(-9, -3, rng.choice([1, outputs]))).astype(np.float32),
        "bias": floats(rng, "grid", outputs),
    }
    return FixedConv2d(**{**node, **fields})


def detect(rng: np.random.Generator, boxes: list[int], labels: int, **fields: Any) -> Detect:
    """A detect of maps of so many default boxes a pixel. `fields` as in `conv2d`."""
    node = {
        "name": "detect",
        "inputs": list(range(1, 2 * len(boxes) + 1)),
        "epilogue": [Store(2 * len(boxes) + 1)],
        "labels": [f"label {i}" for i in range(labels)],
        "shapes": [rng.uniform(0.05, 0.6, (count, 2)).astype(np.float32) for count in boxes],
        "steps": [rng.uniform(0.05, 0.3, 2).astype(np.float32) for _ in boxes],
        "variances": np.array([0.1, 0.2], np.float32),
        "score_threshold": 0.01,
        "iou_threshold": 0.45,
        "candidates": 40,
        "keep": 20,
    }
    return Detect(**{**node, **fields})


def fixed_scale(rng: np.random.Generator, unit: np.ndarray) -> float:
    """Of a result: a multiple of every unit."""
    return float(max(unit.max() * 2 ** int(rng.integers(0, 12)), 2.0**-32))


def float_graph(shape: Shape, node: Node) -> Graph:
    """A graph of one node over value 0 that stores value 1."""
    return Graph("one_node", shape, [node], [Output(1, 4)])


def bits_graph(shape: Shape, node: Node) -> Graph:
    """The input's signs as value 1, and node 1 over them, which stores value 2."""
    sign = Identity("sign", [0], [Binarize(np.zeros(1, np.float32), False, 1)])
    return Graph("one_binary_node", shape, [sign, node], [Output(2, 4)])


def uint8_graph(shape: Shape, node: Node, step: Quantize | None = None) -> Graph:
    """The input quantized as value 1, and node 1 over it, which stores value 2."""
    quantize = Identity("quantize", [0], [step or Quantize(40.0, 120, 1)])
    return Graph("one_int8_node", shape, [quantize, node], [Output(2, 4)])


def fixed_graph(shape: Shape, node: Node, scale: float, zero: int) -> Graph:
    """The input in fixed point as value 1, and node 1 over it, which makes value 2 and stores value 3."""
    enter = Identity("enter", [0], [ToFixed(scale, zero, 1)])
    leave = FixedCopy("leave", [2], [Store(3)])
    return Graph("one_fixed_node", shape, [enter, node, leave], [Output(3, 4)])


def residual_network(seed: int = 0, widths: tuple[int, ...] = (16, 32, 64), blocks: int = 3, size: int = 32) -> Graph:
    """A network built like AdaBin's CIFAR ResNet-20, with random numbers: every operator but concat and max_pool."""
    rng = np.random.default_rng(seed)
    nodes: list[Node] = []
    next_value = 1

    def out() -> int:
        nonlocal next_value
        next_value += 1
        return next_value - 1

    def tail(width: int) -> list[Step]:
        slope = TwoSlope(np.ones(width, np.float32), floats(rng, "normal", width))
        return [slope, Store(out()), Binarize(floats(rng, "normal", 1) / 4, False, out())]

    nodes.append(conv2d(rng, 3, widths[0], (3, 3), name="stem", padding=(1, 1, 1, 1), epilogue=tail(widths[0])))
    for before, width in zip((widths[0], *widths), widths, strict=False):
        for block in range(2 * blocks):
            stride = 2 if block == 0 and width != before else 1
            real, bits = next_value - 2, next_value - 1
            if stride == 2:
                pool = AveragePool("shortcut", [real], [Store(out())], kernel=(2, 2), stride=(2, 2))
                pad = PadChannels("widen", [next_value - 1], [Store(out())], before=0, after=width - before)
                nodes += [pool, pad]
                real = next_value - 1
            affine = Affine(floats(rng, "normal", width) / 20, floats(rng, "normal", width) / 4)
            node = binary_conv2d(
                rng,
                before if stride == 2 else width,
                width,
                (3, 3),
                name=f"layer{width}.{block}",
                inputs=[bits],
                stride=(stride, stride),
                padding=(1, 1, 1, 1),
                bias=np.zeros(width, np.float32),
                epilogue=[affine, Add(real), *tail(width)],
            )
            nodes.append(node)
    side = size // 2 ** (len(widths) - 1)
    nodes.append(AveragePool("pool", [next_value - 2], [Store(out())], kernel=(side, side), stride=(side, side)))
    linear = conv2d(rng, widths[-1], 10, (1, 1), name="linear", inputs=[next_value - 1])
    linear.epilogue = [Store(out())]
    nodes.append(linear)
    transform = InputTransform(floats(rng, "normal", 3) / 255, floats(rng, "normal", 3), crop=size)
    return Graph("residual", (3, size, size), nodes, [Output(next_value - 1, 2)], transform)


def every_operator(seed: int = 0) -> Graph:
    """A small graph with every operator, every step and a transform."""
    rng = np.random.default_rng(seed)

    def c(count: int) -> np.ndarray:
        return floats(rng, "normal", count)

    window: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0, 1, 0)}
    transform = InputTransform(c(3) / 100, c(3), order="BGR", resize=12, crop=10, interpolation="bicubic")
    nodes: list[Node] = [
        conv2d(
            rng,
            3,
            6,
            (3, 3),
            name="stem",
            padding=(1, 1, 1, 1),
            stride=(2, 1),
            epilogue=[Store(1), Binarize(c(6), False, 2)],
        ),
        binary_conv2d(
            rng,
            6,
            6,
            (3, 2),
            name="binary",
            inputs=[2],
            groups=2,
            padding=(2, 1, 2, 0),
            dilation=(2, 1),
            epilogue=[Affine(c(6), c(6)), Add(1), TwoSlope(c(6), c(6)), Store(3), Binarize(c(1), True, 4)],
        ),
        MaxPool("max", [3], [Clamp(-np.abs(c(6)), np.abs(c(6))), Store(5)], **window),
        AveragePool("mean", [3], [Store(6)], divisor="window", **window),
        Concat("join", [5, 6, 5], [Store(7)]),
        PadChannels("widen", [7], [Store(8)], before=1, after=2),
        Identity("last", [8], [Add(8), Store(9)]),
        Identity("quantize", [3], [Quantize(25.0, 100, 10)]),
        int8_conv2d(
            rng,
            6,
            4,
            (2, 3),
            name="int8",
            inputs=[10],
            groups=2,
            padding=(1, 0, 0, 2),
            stride=(1, 2),
            weight_scale=np.abs(c(4)) / 100,
            activation_scale=0.04,
            zero=100,
            epilogue=[TwoSlope(c(4), c(4)), Store(11)],
        ),
    ]
    nodes += [
        Identity("mean", [3], [Mean(12)]),
        conv2d(rng, 6, 6, (1, 1), name="gate", inputs=[12], epilogue=[Sigmoid(), Store(13)]),
        Identity("gated", [3], [Multiply(13), Multiply(1), Store(14), Mean(15), Quantize(3.0, 5, 16, bits=4)]),
        int8_conv2d(rng, 6, 3, (1, 3), name="int4", inputs=[16], zero=5, bits=4, epilogue=[Store(17)]),
    ]
    window = {"kernel": (2, 3), "stride": (1, 2), "padding": (1, 0, 0, 2)}
    high = np.full(4, 3, np.float32)
    nodes += [
        Identity("enter", [3], [ToFixed(2.0**-4, 128, 18)]),
        fixed_conv2d(
            rng,
            6,
            4,
            (2, 3),
            name="fixed",
            inputs=[18],
            groups=2,
            padding=(1, 0, 0, 2),
            weight_scale=np.exp2(np.array([-7, -6, -7, -8], np.float32)),
            epilogue=[Clamp(-high, high), ToFixed(2.0**-4, 100, 19), Store(20)],
        ),
        FixedMaxPool("largest", [19], [ToFixed(2.0**-3, 7, 21, bits=4)], **window),
        FixedAveragePool("smooth", [19], [ToFixed(2.0**-5, 128, 22)], **window),
        FixedCopy("side by side", [21, 22], [Store(23), ToFixed(2.0**-2, 3, 24)], before=1, after=3),
        FixedCopy("sum", [22], [Add(22), Clamp(0 * high, high), Add(22), Store(25)]),
    ]
    outputs = [Output(9, 2), Output(3, 4), Output(11, 4), Output(14, 4), Output(15, 2), Output(17, 4)]
    for out, mode in ((26, "ones"), (27, "replicate")):
        window = {"padding": (1, 2, 2, 0), "stride": (2, 1), "padding_mode": mode}
        nodes.append(binary_conv2d(rng, 6, 3, (3, 3), name=mode, inputs=[4], epilogue=[Store(out)], **window))
    nodes += [
        Gather("take", [4, 2], [Binarize(c(1) * 0, False, 28), Store(29)], pieces=[(3, 0, 6), (2, 10)]),
        Logic("both", [28, 28], [Binarize(c(1) * 0, False, 30)], kind="xnor"),
        Logic("either", [30, 28], [Store(31)], kind="or"),
        Gather("swap", [3], [Store(32)], pieces=[(3, 3, 0)]),
    ]
    outputs += [Output(20, 4), Output(23, 2), Output(25, 4), Output(26, 4), Output(27, 4), Output(31, 2), Output(32, 4)]
    nodes += [
        Normalize("unit", [3], [Affine(c(6), c(6)), Store(33)], eps=1e-10),
        detect(rng, [1, 2], 3, name="boxes", inputs=[11, 25, 29, 31], keep=12, epilogue=[Store(34)]),
    ]
    outputs += [Output(33, 4), Output(34, 3)]
    return Graph("every operator", (3, 10, 9), nodes, outputs, transform)


def sparse_linears(seed: int = 0) -> Graph:
    """A convolution and two linear layers, of a whole map and of one pixel, that run from their sparse form."""
    rng = np.random.default_rng(seed)
    window: dict[str, Any] = {"padding": (1, 1, 1, 1)}
    slope = TwoSlope(np.ones(70, np.float32), floats(rng, "normal", 70))
    nodes: list[Node] = [
        conv2d(rng, 6, 24, (3, 3), name="stem", **window),
        conv2d(rng, 24, 70, (5, 4), name="map", inputs=[1], density=0.04, epilogue=[slope, Store(2)]),
        conv2d(rng, 70, 40, (1, 1), name="pixel", inputs=[2], density=0.03, epilogue=[Store(3)]),
    ]
    return Graph("sparse", (6, 5, 4), nodes, [Output(3, 2), Output(2, 4)])


def codebook_linears(seed: int = 0) -> Graph:
    """A convolution and two linear layers, of a whole map and of one pixel, of few values, the second with scales."""
    rng = np.random.default_rng(seed)
    ternary: dict[str, Any] = {"values": 2, "density": 0.5}
    slope = TwoSlope(np.ones(70, np.float32), floats(rng, "normal", 70))
    nodes: list[Node] = [
        conv2d(rng, 6, 24, (3, 3), name="stem", padding=(1, 1, 1, 1), **ternary),
        conv2d(rng, 24, 70, (5, 4), name="map", inputs=[1], weight_scale=None, epilogue=[slope, Store(2)], **ternary),
        conv2d(
            rng,
            70,
            41,
            (1, 1),
            name="pixel",
            inputs=[2],
            values=4,
            weight_scale=scales(rng, "normal", 41),
            epilogue=[Store(3)],
        ),
    ]
    return Graph("codebook", (6, 5, 4), nodes, [Output(3, 2), Output(2, 4)])


def linear_steps(**fields: Any) -> list[Graph]:
    """Linear layers 0 and 2 of such fields, which together have every step of the epilogue, and one of the input's."""
    rng, outputs = np.random.default_rng(5), 137

    def c(count: int = outputs) -> np.ndarray:
        return floats(rng, "normal", count)

    found = []
    for epilogue in (
        [Affine(c(), c()), Add(2), TwoSlope(c(), c()), Store(3), Binarize(c(), True, 4)],
        [Sigmoid(), Store(3), Clamp(-np.abs(c()), np.abs(c())), Mean(4)],
        [Multiply(2), Clamp(-np.abs(c()), np.abs(c())), Quantize(20.0, 100, 3), Store(4)],
    ):
        nodes: list[Any] = [
            conv2d(rng, 90, outputs, (1, 1), epilogue=[Store(1)], **fields),
            conv2d(rng, 90, outputs, (1, 1), epilogue=[Store(2)]),
            conv2d(rng, 90, outputs, (1, 1), epilogue=epilogue, **fields),
        ]
        made: dict[type, Any] = {type(step): step.out for step in epilogue if hasattr(step, "out")}
        values, shown = len(made) + 2, [1, 2]
        if Binarize in made:
            nodes.append(binary_conv2d(rng, outputs, 3, (1, 1), inputs=[made.pop(Binarize)]))
        if Quantize in made:
            nodes.append(int8_conv2d(rng, outputs, 3, (1, 1), inputs=[made.pop(Quantize)]))
        if len(nodes) == 4:
            nodes[3].epilogue = [Store(values + 1)]
            shown.append(values + 1)
        found.append(Graph("steps", (90, 1, 1), nodes, [Output(v, 4) for v in [*shown, *made.values()]]))
    return found


def coded(seed: int = 0) -> Graph:
    """A network whose file holds coded arrays of every kind: few values, narrow ranges, rare bits, many floats."""
    rng = np.random.default_rng(seed)
    values = np.array([-0.5, -0.0, 0.0, 0.25, 1.5], np.float32)
    sparse = values[rng.choice(5, (24, 3, 3, 16), p=[0.05, 0.01, 0.84, 0.05, 0.05])]
    rare = np.where(rng.random((16, 3, 3, 24)) < 0.1, np.int8(1), np.int8(-1))
    narrow = np.clip(np.rint(rng.normal(size=(24, 3, 3, 24)) * 2), -9, 9).astype(np.int8)
    ternary = rng.choice(np.array([-51, 0, 64], np.int8), (24, 3, 3, 24), p=[0.3, 0.4, 0.3])
    few = np.where(rng.random((24, 1, 1, 40)) < 0.2, rng.integers(-2, 3, (24, 1, 1, 40)), 0).astype(np.int8)

    def ones(count: int) -> np.ndarray:
        return np.ones(count, np.float32)

    def bias(count: int) -> np.ndarray:
        return np.rint(rng.normal(size=count) * 4).astype(np.float32) / 4

    own = {"padding": (1, 1, 1, 1), "stride": (1, 1)}
    nodes: list[Node] = [
        Conv2d(
            "sparse",
            [0],
            [Store(1), Binarize(bias(24), False, 2), Quantize(20.0, 100, 3)],
            weight=sparse,
            weight_scale=bias(24),
            bias=bias(24),
            **own,
        ),
        BinaryConv2d(
            "rare",
            [2],
            [Store(4)],
            weight=rare,
            alpha_w=bias(16),
            beta_w=bias(16),
            bias=bias(16),
            alpha_a=0.5,
            gamma=0.1,
            **own,
        ),
        Int8Conv2d(
            "narrow",
            [3],
            [Store(5)],
            weight=narrow,
            weight_scale=ones(24),
            bias=bias(24),
            activation_scale=0.05,
            zero=100,
            **own,
        ),
        Concat("join", [4, 5], [Quantize(3.0, 5, 6, bits=4), Affine(bias(40), bias(40)), Store(7)]),
        Int8Conv2d(
            "few",
            [6],
            [Store(8)],
            weight=few,
            weight_scale=ones(24),
            bias=bias(24),
            activation_scale=0.3,
            zero=5,
            bits=4,
        ),
        Int8Conv2d(
            "ternary",
            [3],
            [Store(9)],
            weight=ternary,
            weight_scale=ones(24),
            bias=bias(24),
            activation_scale=0.05,
            zero=100,
            **own,
        ),
    ]
    return Graph("coded", (16, 5, 4), nodes, [Output(8, 4), Output(7, 4), Output(9, 4)])


# ----------------------------------------------------------------------------------------------- strategies
def extent(size: int, before: int, after: int, kernel: int, dilation: int, stride: int) -> int:
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


@st.composite
def windows(draw: st.DrawFn, height: int, width: int, largest: int = 4) -> dict[str, Any]:
    """kernel, stride, padding and dilation of a convolution that has a result over (height, width)."""
    kernel, stride, dilation, padding = [], [], [], [0, 0, 0, 0]
    for axis, size in enumerate((height, width)):
        kernel.append(draw(st.integers(1, largest)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.sampled_from([1, 1, 1, 2, 3])))
        before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        missing = dilation[axis] * (kernel[axis] - 1) + 1 - size - before - after
        padding[axis], padding[axis + 2] = before, after + max(0, missing)
    return {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding), "dilation": tuple(dilation)}


@st.composite
def pool_windows(draw: st.DrawFn, height: int, width: int) -> dict[str, Any]:
    """kernel, stride and padding of a pool: every window has a tap inside (height, width)."""
    kernel, stride, padding = [], [], [0, 0, 0, 0]
    for axis, size in enumerate((height, width)):
        k = draw(st.integers(1, min(size, 4)) | st.just(size))
        s = draw(st.integers(1, 4))
        before, after = draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))
        if (extent(size, before, after, k, 1, s) - 1) * s - before >= size:
            after = 0
        kernel.append(k)
        stride.append(s)
        padding[axis], padding[axis + 2] = before, after
    return {"kernel": tuple(kernel), "stride": tuple(stride), "padding": tuple(padding)}


@st.composite
def seeds(draw: st.DrawFn) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


DENSITIES = (1.0, 1.0, 0.1, 0.03, 0.0)  # of float weights: some linear layers then run from their sparse form
VALUES = (None, None, 1, 2, 3, 4, 5)  # of float weights: some linear layers then run from a codebook


@st.composite
def convolutions(draw: st.DrawFn, channels: int = 40, size: int = 9, whole_map: bool = False) -> Graph:
    """A graph of one float convolution. whole_map: its kernel is the map, as a linear layer's."""
    shape, fields = draw(_single(channels, size, whole_map))
    fields["density"], fields["values"] = draw(st.sampled_from(DENSITIES)), draw(st.sampled_from(VALUES))
    node = conv2d(draw(seeds()), shape[0], fields.pop("outputs"), fields.pop("kernel"), **fields)
    return float_graph(shape, node)


@st.composite
def binary_convolutions(draw: st.DrawFn, channels: int = 150, size: int = 9, whole_map: bool = False) -> Graph:
    """A graph whose node 1 is one binary convolution. whole_map: its kernel is the map, as a linear layer's."""
    shape, fields = draw(_single(channels, size, whole_map))
    fields["padding_mode"] = draw(st.sampled_from(PADDING_MODES))
    node = binary_conv2d(draw(seeds()), shape[0], fields.pop("outputs"), fields.pop("kernel"), **fields)
    if draw(st.booleans()):
        node.beta_w = np.zeros_like(node.beta_w)
    return bits_graph(shape, node)


@st.composite
def int8_convolutions(draw: st.DrawFn, channels: int = 70, size: int = 9, whole_map: bool = False) -> Graph:
    """A graph whose node 1 is one 8-bit convolution. whole_map: its kernel is the map, as a linear layer's."""
    shape, fields = draw(_single(channels, size, whole_map))
    rng, style = draw(seeds()), fields["style"]
    fields["bits"] = draw(st.sampled_from([4, 8]))
    node = int8_conv2d(rng, shape[0], fields.pop("outputs"), fields.pop("kernel"), **fields)
    node.zero = draw(st.sampled_from(ZEROS))
    return uint8_graph(shape, node, draw(quantize_steps(rng, style, 1)))


@st.composite
def fixed_convolutions(draw: st.DrawFn, channels: int = 70, size: int = 9, whole_map: bool = False) -> Graph:
    """A graph whose node 1 is one fixed-point convolution. whole_map: its kernel is the map, as a linear layer's."""
    shape, fields = draw(_single(channels, size, whole_map))
    rng = draw(seeds())
    fields["bits"] = draw(st.sampled_from([4, 8]))
    node = fixed_conv2d(rng, shape[0], fields.pop("outputs"), fields.pop("kernel"), **fields)
    scale = 2.0 ** draw(st.integers(-6, 1))
    wide = fixed_scale(rng, scale * node.weight_scale.astype(np.float64))
    node.epilogue = [ToFixed(wide, draw(st.sampled_from(ZEROS)), 2)]
    return fixed_graph(shape, node, scale, draw(st.sampled_from(ZEROS)))


@st.composite
def quantize_steps(draw: st.DrawFn, rng: np.random.Generator, style: str, out: int) -> Quantize:
    bits = draw(st.sampled_from([4, 8]))
    zero = draw(st.sampled_from(ZEROS)) if bits == 8 else draw(st.sampled_from([0, 15, 8, 1]))
    return Quantize(multiplier(rng, style), zero, out, bits)


@st.composite
def _single(draw: st.DrawFn, channels: int, size: int, whole_map: bool) -> tuple[Shape, dict[str, Any]]:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    depth = draw(st.integers(1, max(1, channels // groups)))
    outputs = groups * draw(st.integers(1, max(1, 70 // groups)))
    height, width = draw(st.integers(1, size)), draw(st.integers(1, size))
    if whole_map:
        window = {"kernel": (height, width)}
        groups, depth = 1, groups * depth
    else:
        window = draw(windows(height, width))
    style = draw(st.sampled_from(STYLES))
    return (groups * depth, height, width), {"outputs": outputs, "groups": groups, "style": style, **window}


@st.composite
def channel_pieces(draw: st.DrawFn, channels: int) -> list[tuple[int, ...]]:
    """Pieces of a gather over so many channels: runs, runs in turn, single channels."""
    pieces = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.one_of(st.integers(1, channels), st.just(max(1, channels // 2))))
        firsts = draw(st.lists(st.integers(0, channels - count), min_size=1, max_size=3))
        pieces.append((count, *firsts))
    return pieces


@st.composite
def bits_nodes(draw: st.DrawFn) -> Graph:
    """A graph of gathers and logic of bits, which are read as bits alone, by another threshold, and as numbers."""
    rng = draw(seeds())
    shape = (draw(st.integers(1, 150)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    nodes: list[Node] = [
        Identity(f"bits {i}", [0], [Binarize(floats(rng, "normal", shape[0]) / 2, False, i)]) for i in (1, 2)
    ]
    nodes.append(
        Logic(
            "logic", [1, 2], [Binarize(np.zeros(1, np.float32), False, 3)], kind=draw(st.sampled_from(["xnor", "or"]))
        )
    )
    inputs = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3))
    pieces = draw(channel_pieces(len(inputs) * shape[0]))
    nodes.append(Gather("gather", inputs, [Binarize(np.ones(1, np.float32), False, 4)], pieces=pieces))
    channels = sum(count * len(firsts) for count, *firsts in pieces)
    other = floats(rng, "normal", channels)
    numbers: list[Step] = [Store(5), Binarize(other, True, 6), Affine(other, other), Store(7)]
    nodes.append(Gather("numbers", [4], numbers, pieces=[(channels, 0)]))
    nodes.append(Logic("of the gather", [4, 6], [Store(8)], kind="xnor"))
    nodes.append(Logic("of bits", [3, 1], [Store(9)], kind="or"))
    return Graph("bits", shape, nodes, [Output(v, 4) for v in (5, 7, 8, 9)])


@st.composite
def detections(draw: st.DrawFn) -> Graph:
    """A graph of some maps and a detect of them. A map takes its channels from few, so that boxes and scores tie."""
    rng = draw(seeds())
    shape = (draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    boxes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    labels = draw(st.integers(1, 12))
    nodes: list[Node] = []
    inputs: list[int] = []
    for count in boxes:
        window = draw(pool_windows(*shape[1:]))
        nodes.append(MaxPool("map", [0], [Store(len(nodes) + 1)], **window))
        pooled = len(nodes)
        for channels in (4 * count, (labels + 1) * count):
            pieces = [(1, int(channel)) for channel in rng.integers(0, shape[0], channels)]
            nodes.append(Gather("numbers", [pooled], [Store(len(nodes) + 1)], pieces=pieces))
            inputs.append(len(nodes))
    last = len(nodes) + 1
    node = detect(
        rng, boxes, labels, inputs=inputs, candidates=draw(st.integers(1, 300)), keep=draw(st.integers(1, 40))
    )
    node.score_threshold = draw(st.sampled_from([0.0, 0.01, 1 / (labels + 1), 1.0]))
    node.iou_threshold = draw(st.sampled_from([0.0, 0.45, 0.9, 1.0]))
    if draw(st.booleans()):
        node.shapes = [np.full_like(one, 0.25) for one in node.shapes]
    slope = floats(rng, "normal", node.keep)
    node.epilogue = draw(st.sampled_from([[Store(last)], [Sigmoid(), TwoSlope(slope, slope), Store(last)]]))
    return Graph("detections", shape, [*nodes, node], [Output(last, draw(st.sampled_from([2, 3, 4])))])


@st.composite
def normalizations(draw: st.DrawFn) -> Graph:
    """A graph of one normalize with some steps behind it."""
    shape = (draw(st.integers(1, 70)), draw(st.integers(1, 9)), draw(st.integers(1, 30)))
    scale = floats(draw(seeds()), "normal", shape[0])
    steps = draw(st.sampled_from([[Store(1)], [Affine(scale, scale), Store(1)], [Sigmoid(), Add(0), Store(1)]]))
    eps = draw(st.sampled_from([1e-10, 1e-5, 1.0]))
    return float_graph(shape, Normalize("normalize", [0], steps, eps=eps))


@st.composite
def pools(draw: st.DrawFn) -> Graph:
    """A graph of one max or average pool."""
    shape = (draw(st.integers(1, 70)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    window = draw(pool_windows(*shape[1:]))
    if draw(st.booleans()):
        return float_graph(shape, MaxPool("pool", [0], [Store(1)], **window))
    divisor = draw(st.sampled_from(["inside", "window"]))
    return float_graph(shape, AveragePool("pool", [0], [Store(1)], divisor=divisor, **window))


@st.composite
def graphs(
    draw: st.DrawFn, largest: int = 7, styles: tuple[str, ...] = STYLES, binary: bool = True, fixed: bool = True
) -> Graph:
    """Any small valid graph: all operators and steps, several outputs. binary, fixed: with such layers."""
    return _Growth(draw, largest, styles, binary, fixed).graph()


class _Growth:
    """A graph that grows node by node; knows the kind and shape of every value so far."""

    def __init__(self, draw: st.DrawFn, largest: int, styles: tuple[str, ...], binary: bool, fixed: bool) -> None:
        self.draw = draw
        self.binary, self.fixed = binary, fixed
        self.rng = draw(seeds())
        self.style = draw(st.sampled_from(styles))
        self.shape: Shape = (draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        self.values: list[tuple[str, Shape]] = [("float32", self.shape)]
        self.codes: dict[int, tuple[float, int]] = {}  # scale and zero of the fixed-point ones
        self.size = draw(st.integers(1, largest))

    def graph(self) -> Graph:
        nodes = [self.node(position) for position in range(self.size)]
        if not self.ids("float32", after=1):
            nodes.append(Identity("copy", [0], [Store(len(self.values))]))
            self.values.append(("float32", self.shape))
        outputs = self.draw(st.lists(st.sampled_from(self.ids("float32", after=1)), min_size=1, max_size=3))
        ranks = [self.draw(st.sampled_from([2, 4])) for _ in outputs]
        transform = self.transform() if self.draw(st.booleans()) else None
        return Graph(
            "random", self.shape, nodes, [Output(v, r) for v, r in zip(outputs, ranks, strict=True)], transform
        )

    def ids(self, kind: str, after: int = 0) -> list[int]:
        return [index for index, value in enumerate(self.values) if value[0] == kind and index >= after]

    def floats(self, count: int) -> np.ndarray:
        return floats(self.rng, self.style, count)

    def transform(self) -> InputTransform:
        order = self.draw(st.sampled_from(["RGB", "BGR"]))
        return InputTransform(self.floats(self.shape[0]), self.floats(self.shape[0]), order=order, resize=8)

    def node(self, position: int) -> Node:
        operators = ["conv2d", "max_pool", "average_pool", "pad_channels", "concat", "identity"]
        operators += ["gather", "normalize"]
        operators += (
            [*["binary_conv2d"] * 5, "gather_bits", "gather_bits", "logic"] if self.binary and self.ids("bits") else []
        )
        operators += ["int8_conv2d"] * 5 if self.ids("uint8") else []
        fixed = ["fixed_conv2d", "fixed_conv2d", "fixed_max_pool", "fixed_average_pool", "fixed_copy"]
        operators += fixed if self.ids("fixed") and self.fixed else []
        operator = self.draw(st.sampled_from(operators))
        of_bits = ("binary_conv2d", "gather_bits", "logic")
        kind = {**dict.fromkeys(of_bits, "bits"), "int8_conv2d": "uint8", **dict.fromkeys(fixed, "fixed")}.get(
            operator, "float32"
        )
        source = self.draw(st.sampled_from(self.ids(kind)))
        common = {"name": f"{operator} {position}", "inputs": [source]}
        node, shape = getattr(self, f"make_{operator}")(common, self.values[source][1])
        if isinstance(node, FixedNode):
            node.epilogue = self.integer_epilogue(shape, unit_of(node, [self.codes[i][0] for i in node.inputs]))
        else:
            node.epilogue = self.epilogue(shape)
        return node

    # ------------------------------------------------------------------------------------------- operators
    def make_conv2d(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        common["density"] = self.draw(st.sampled_from(DENSITIES))
        return self._convolution(conv2d, common, shape, whole_map=self.draw(st.booleans()))

    def make_binary_conv2d(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        if self.draw(st.booleans()):
            common["beta_w"] = None
        common["padding_mode"] = self.draw(st.sampled_from(PADDING_MODES))
        return self._convolution(binary_conv2d, common, shape)

    def make_int8_conv2d(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        common["zero"] = self.draw(st.sampled_from(ZEROS))
        common["bits"] = self.draw(st.sampled_from([4, 8]))
        return self._convolution(int8_conv2d, common, shape)

    def make_fixed_conv2d(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        common["bits"] = self.draw(st.sampled_from([4, 8]))
        node, made = self._convolution(fixed_conv2d, common, shape, whole_map=self.draw(st.booleans()))
        assert isinstance(node, FixedConv2d)
        node.bias = np.float32(min(1.0, self.codes[common["inputs"][0]][0])) * node.bias  # in units
        return node, made

    def make_fixed_max_pool(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        window = self.draw(pool_windows(*shape[1:]))
        return FixedMaxPool(**common, **window), self._pooled(window, shape)

    def make_fixed_average_pool(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        window = self.draw(pool_windows(*shape[1:]))
        return FixedAveragePool(**common, **window), self._pooled(window, shape)

    def make_fixed_copy(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        node, joined = self._joined(FixedCopy, "fixed", common, shape)
        node.before, node.after = self.draw(st.integers(0, 5)), self.draw(st.integers(0, 5))  # type: ignore[attr-defined]
        return node, (node.before + joined[0] + node.after, *joined[1:])  # type: ignore[attr-defined]

    def _convolution(
        self, build: Any, common: dict[str, Any], shape: Shape, whole_map: bool = False
    ) -> tuple[Node, Shape]:
        window = self.draw(windows(*shape[1:], largest=3))
        if whole_map:
            window = {"kernel": shape[1:], "stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1)}
        kernel, stride, padding, dilation = (window[name] for name in ("kernel", "stride", "padding", "dilation"))
        groups = self.draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
        outputs = groups * self.draw(st.integers(1, max(1, 20 // groups)))
        if "beta_w" in common:
            common["beta_w"] = np.zeros(outputs, np.float32)
        fields = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "style": self.style}
        node = build(self.rng, shape[0], outputs, kernel, **common, **fields)
        extents = [extent(shape[1 + a], padding[a], padding[2 + a], kernel[a], dilation[a], stride[a]) for a in (0, 1)]
        return node, (outputs, extents[0], extents[1])

    def _pooled(self, window: dict[str, Any], shape: Shape) -> Shape:
        k, s, p = window["kernel"], window["stride"], window["padding"]
        return (shape[0], *(extent(shape[1 + a], p[a], p[2 + a], k[a], 1, s[a]) for a in (0, 1)))  # type: ignore

    def make_max_pool(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        window = self.draw(pool_windows(*shape[1:]))
        return MaxPool(**common, **window), self._pooled(window, shape)

    def make_average_pool(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        window = self.draw(pool_windows(*shape[1:]))
        divisor = self.draw(st.sampled_from(["inside", "window"]))
        return AveragePool(**common, **window, divisor=divisor), self._pooled(window, shape)

    def make_pad_channels(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        before, after = self.draw(st.integers(0, 5)), self.draw(st.integers(0, 5))
        return PadChannels(**common, before=before, after=after), (before + shape[0] + after, *shape[1:])

    def make_normalize(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        # No smaller one: it would make large differences of rounding errors, which other engines have elsewhere.
        return Normalize(**common, eps=self.draw(st.sampled_from([0.5, 3.0]))), shape

    def make_concat(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        return self._joined(Concat, "float32", common, shape)

    def _joined(self, made: Any, kind: str, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        fitting = [index for index in self.ids(kind) if self.values[index][1][1:] == shape[1:]]
        inputs = self.draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=3))
        if kind == "fixed":  # their scales are not too far apart
            least = min(self.codes[i][0] for i in inputs)
            inputs = [i for i in inputs if self.codes[i][0] <= least * 2**30]
        channels = sum(self.values[index][1][0] for index in inputs)
        return made(**{**common, "inputs": inputs}), (channels, *shape[1:])

    def make_gather(self, common: dict[str, Any], shape: Shape, kind: str = "float32") -> tuple[Node, Shape]:
        node, joined = self._joined(Gather, kind, {**common, "pieces": []}, shape)
        pieces = self.draw(channel_pieces(joined[0]))
        return replace(node, pieces=pieces), (sum(count * len(firsts) for count, *firsts in pieces), *shape[1:])  # type: ignore[call-arg]

    def make_gather_bits(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        return self.make_gather(common, shape, "bits")

    def make_logic(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        other = self.draw(st.sampled_from([i for i in self.ids("bits") if self.values[i][1] == shape]))
        inputs = [*common["inputs"], other]
        return Logic(**{**common, "inputs": inputs}, kind=self.draw(st.sampled_from(["xnor", "or"]))), shape

    def make_identity(self, common: dict[str, Any], shape: Shape) -> tuple[Node, Shape]:
        return Identity(**common), shape

    # ------------------------------------------------------------------------------------------- epilogue
    def epilogue(self, shape: Shape) -> list[Step]:
        floats = self.ids("float32")
        addable = [index for index in floats if self.values[index][1] == shape]
        factors = [index for index in floats if self.values[index][1] in (shape, (shape[0], 1, 1))]
        kinds = ["affine", "two_slope", "sigmoid", "clamp", "store", "binarize", "quantize", "mean", "to_fixed"]
        kinds += ["add", "add"] if addable else []
        kinds += ["multiply", "multiply"] if factors else []
        drawn = self.draw(st.lists(st.sampled_from(kinds), max_size=5))
        endings = [["binarize"], ["store"], ["store", "binarize"], ["quantize"], ["store", "quantize"], ["mean"]]
        endings.append(["to_fixed"])
        if not {"binarize", "store", "quantize", "to_fixed", "mean"} & set(drawn) or self.draw(st.booleans()):
            drawn += self.draw(st.sampled_from(endings))
        return [self.step(kind, shape, addable, factors) for kind in drawn]

    def integer_epilogue(self, shape: Shape, unit: np.ndarray) -> list[Step]:
        addable = [
            i
            for i in self.ids("fixed")
            if self.values[i][1] == shape and unit.max() <= self.codes[i][0] <= unit.min() * 2**30
        ]
        kinds = ["clamp", "store", *(["add", "add"] if addable else [])]
        made: list[Step] = []
        for kind in [*self.draw(st.lists(st.sampled_from(kinds), max_size=4)), "to_fixed"]:
            if kind == "to_fixed":
                made.append(
                    self.to_fixed(shape, fixed_scale(self.rng, unit) if unit.max() < 2.0**16 else float(unit.max()))
                )
            else:
                made.append(self.step(kind, shape, addable, []))
        return made

    def to_fixed(self, shape: Shape, scale: float) -> ToFixed:
        bits = self.draw(st.sampled_from([4, 8]))
        zero = self.draw(st.sampled_from(ZEROS if bits == 8 else (0, 15, 8, 1)))
        self.values.append(("fixed", shape))
        self.codes[len(self.values) - 1] = (scale, zero)
        return ToFixed(scale, zero, len(self.values) - 1, bits)

    def step(self, kind: str, shape: Shape, addable: list[int], factors: list[int]) -> Step:
        channels = shape[0]
        if kind == "affine":
            return Affine(self.floats(channels), self.floats(channels))
        if kind == "add":
            return Add(self.draw(st.sampled_from(addable)))
        if kind == "multiply":
            return Multiply(self.draw(st.sampled_from(factors)))
        if kind == "sigmoid":
            return Sigmoid()
        if kind == "mean":
            self.values.append(("float32", (channels, 1, 1)))
            return Mean(len(self.values) - 1)
        if kind == "two_slope":
            return TwoSlope(self.floats(channels), self.floats(channels))
        if kind == "to_fixed":
            return self.to_fixed(shape, 2.0 ** self.draw(st.integers(-8, 3)))
        if kind == "clamp":
            return Clamp(self.floats(channels), self.floats(channels))
        self.values.append(({"store": "float32", "binarize": "bits", "quantize": "uint8"}[kind], shape))
        if kind == "store":
            return Store(len(self.values) - 1)
        if kind == "quantize":
            return self.draw(quantize_steps(self.rng, self.style, len(self.values) - 1))
        threshold = self.floats(self.draw(st.sampled_from([1, channels])))
        return Binarize(threshold, self.draw(st.booleans()), len(self.values) - 1)
