"""The checks of docs/format.md section 3 on a graph, and the kind and shape of every value.

A graph that passes here can be written, read, and run by both implementations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from numbers import Integral, Real
from reprlib import repr as shorten
from typing import Any

import numpy as np

from .canonical_json import check_string
from .contract import (
    MAX_BIAS,
    MAX_BORDER_TABLE,
    MAX_BOXES,
    MAX_CHANNELS,
    MAX_ELEMENTS,
    MAX_EXPONENT,
    MAX_EXTENT,
    MAX_FIXED_WINDOW,
    MAX_INPUTS,
    MAX_INT8_WINDOW,
    MAX_KERNEL,
    MAX_LABELS,
    MAX_MACS,
    MAX_NAME,
    MAX_NODES,
    MAX_OUTPUTS,
    MAX_PACKED,
    MAX_SHIFT,
    MAX_STEPS,
    MAX_TOTAL_ELEMENTS,
    MAX_WINDOW,
    Error,
)
from .graph import (
    PADDING_MODES,
    Add,
    Affine,
    AveragePool,
    Binarize,
    BinaryConv2d,
    Clamp,
    Concat,
    Convolution,
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
    Write,
)

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Value:
    """What a node reads or writes. kind: "float32", "bits", "uint8" or "fixed"; shape: (C, H, W).

    scale, zero: of a fixed-point value.
    """

    kind: str
    shape: Shape
    scale: float = 1.0
    zero: int = 0


def infer(graph: Graph, for_engine: bool = True) -> list[Value]:
    """Check a graph; return its values, indexed by id.

    for_engine: false where no engine of ours will hold it, so that MAX_PACKED and MAX_TOTAL_ELEMENTS are no bounds.

    Raises:
        Error: the graph breaks a rule of docs/format.md section 3. The message names the node and the rule.
    """
    inference = Inference(graph.model, graph.input_shape, graph.transform, for_engine)
    for position, node in enumerate(graph.nodes):
        with name_node(position, node.name):
            inference.add_epilogue(node, inference.add_result(node))
    inference.finish(graph.outputs)
    return inference.values


@contextmanager
def name_node(position: int, name: Any) -> Iterator[None]:
    """Errors raised inside say which node they are about."""
    try:
        yield
    except Error as error:
        raise Error(f"node {position} ({shorten(name)}): {error}") from None


def unit_of(node: FixedNode, scales: Sequence[float]) -> np.ndarray:
    """What an integer of a fixed-point node stands for (Y), its inputs having these scales: float64 (C,) or (1,)."""
    if isinstance(node, FixedConv2d):
        return scales[0] * np.asarray(node.weight_scale, np.float64)
    if isinstance(node, FixedAveragePool):
        return np.array([scales[0] / (1 << node.multiplier[1])])
    return np.array([min(scales)])


class Inference:
    """`infer`, one node at a time. The reader needs it so: an array's length depends on the shapes before it."""

    def __init__(
        self, model: str, input_shape: Sequence[int], transform: InputTransform | None, for_engine: bool = True
    ) -> None:
        self.values: list[Value] = []
        self._nodes = 0
        self._elements = 0
        self._taps = 0
        self._work = 0
        self._packed, self._for_engine = 0, for_engine
        self._border_table = 0
        self._unit: np.ndarray | None = None  # of the fixed-point node last added
        _name("the model's name", model, 1)
        channels, height, width = _integers("the input's shape", input_shape, 3, 1, MAX_CHANNELS)
        _check_shape("the input", (channels, height, width))
        self._append("float32", (channels, height, width))
        if transform is not None:
            _check_transform(transform, channels)

    def value(self, index: Any, kind: str) -> Value:
        """The value that a node reads, made before it and of that kind."""
        if not _is_integer(index) or not 0 <= index < len(self.values):
            raise Error(f"it reads value {shorten(index)}, but only 0 to {len(self.values) - 1} are made before it")
        found = self.values[index]
        if found.kind != kind:
            raise Error(f"it reads value {index} as {kind}, but that value is {found.kind}")
        return found

    def add_result(self, node: Node) -> Shape:
        """Check the next node without its epilogue; return the shape of the map that it produces."""
        if self._nodes == MAX_NODES:
            raise Error(f"a graph has at most {MAX_NODES} nodes")
        self._nodes += 1
        _name("its name", node.name, 0)
        shape, self._taps = self._result(node)
        self._unit = self._checked_unit(node) if isinstance(node, FixedNode) else None
        _check_shape("its result", shape)
        return shape

    def add_epilogue(self, node: Node, shape: Shape) -> None:
        """Check the epilogue of the node last added and number the values that it makes."""
        if not 1 <= len(node.epilogue) <= MAX_STEPS:
            raise Error(f"an epilogue has 1 to {MAX_STEPS} steps, this one {len(node.epilogue)}")
        if not any(isinstance(step, Write) for step in node.epilogue):
            raise Error("its epilogue writes no value")
        if self._unit is not None:
            self._run_integers(node.epilogue, shape, self._unit)
        else:
            self._run_epilogue(node.epilogue, shape)
        self._work += prod(shape) * (self._taps + len(node.epilogue))
        if self._work > MAX_MACS:
            raise Error(f"the nodes up to here need more than {MAX_MACS} multiply-accumulates an image")

    def finish(self, outputs: Sequence[Output]) -> None:
        """Check the outputs, after the last node."""
        if self._nodes == 0:
            raise Error("a graph needs at least one node")
        if not 1 <= len(outputs) <= MAX_OUTPUTS:
            raise Error(f"a graph has 1 to {MAX_OUTPUTS} outputs, this one {len(outputs)}")
        for output in outputs:
            if not _is_integer(output.rank) or output.rank not in (2, 3, 4):
                raise Error(f"an output's rank is 2, 3 or 4, not {shorten(output.rank)}")
            if output.value == 0:
                raise Error("the input itself cannot be an output; copy it with an identity node")
            try:
                shape = self.value(output.value, "float32").shape
                if output.rank == 3 and shape[2] != 1:
                    raise Error(f"of rank 3 has a width of 1, value {output.value} has shape {shape}")
                self._count(shape)
            except Error as error:
                raise Error(f"an output: {error}") from None

    def _checked_unit(self, node: FixedNode) -> np.ndarray:
        scales = [self.values[index].scale for index in node.inputs]
        unit = unit_of(node, scales)
        if isinstance(node, FixedConv2d):
            whole = np.abs(np.rint(np.asarray(node.bias, np.float64) / unit))
            if (whole > MAX_BIAS).any():
                raise Error(f"a bias is more than {MAX_BIAS} units of its sums")
        elif isinstance(node, FixedCopy):
            check_shift("an input", np.array(scales) / min(scales))
        return unit

    # ------------------------------------------------------------------------------------------- nodes
    def _result(self, node: Node) -> tuple[Shape, int]:
        """Shape of the map that the node produces, and the taps of one of its elements."""
        if isinstance(node, Concat):
            return self._concat(node.inputs, "float32"), 0
        if isinstance(node, FixedCopy):
            before = _integer("`before`", node.before, 0, MAX_CHANNELS)
            after = _integer("`after`", node.after, 0, MAX_CHANNELS)
            channels, height, width = self._concat(node.inputs, "fixed")
            return (before + channels + after, height, width), 0
        if isinstance(node, Gather):
            return self._gather(node), 0
        if isinstance(node, Logic):
            return self._logic(node), 0
        if isinstance(node, Detect):
            return self._detect(node), 0
        if len(node.inputs) != 1:
            raise Error(f"it has one input, not {len(node.inputs)}")
        shape = self.value(node.inputs[0], _INPUT_KINDS.get(type(node), "float32")).shape
        if isinstance(node, Convolution):
            return self._convolution(node, shape)
        if isinstance(node, MaxPool | AveragePool | FixedMaxPool | FixedAveragePool):
            return _pool(node, shape)
        if isinstance(node, PadChannels):
            before = _integer("`before`", node.before, 0, MAX_CHANNELS)
            after = _integer("`after`", node.after, 0, MAX_CHANNELS)
            return (before + shape[0] + after, *shape[1:]), 0
        if isinstance(node, Normalize):
            _float("eps", node.eps)
            _positive("eps", np.array([node.eps], np.float32), 1)
            return shape, 1
        if isinstance(node, Identity):
            return shape, 0
        raise Error(f"{type(node).__name__} is not an operator of docs/format.md")

    def _concat(self, inputs: list[int], kind: str) -> Shape:
        if not 1 <= len(inputs) <= MAX_INPUTS:
            raise Error(f"a concat has 1 to {MAX_INPUTS} inputs, this one {len(inputs)}")
        shapes = [self.value(index, kind).shape for index in inputs]
        if len({shape[1:] for shape in shapes}) > 1:
            raise Error(f"a concat's inputs have one height and width, these have shapes {shapes}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def _gather(self, node: Gather) -> Shape:
        first = node.inputs[0] if node.inputs else 0
        of_bits = _is_integer(first) and 0 <= first < len(self.values) and self.values[first].kind == "bits"
        channels, height, width = self._concat(node.inputs, "bits" if of_bits else "float32")
        taken = check_pieces(node.pieces, channels)
        self._pack(PACKED_OF_A_CHANNEL * taken)
        return taken, height, width

    def _logic(self, node: Logic) -> Shape:
        if len(node.inputs) != 2:
            raise Error(f"it has two inputs, not {len(node.inputs)}")
        if node.kind not in ("xnor", "or"):
            raise Error(f"its kind is xnor or or, not {shorten(node.kind)}")
        first, second = (self.value(index, "bits").shape for index in node.inputs)
        if first != second:
            raise Error(f"its inputs have one shape, these have {first} and {second}")
        return first

    def _detect(self, node: Detect) -> Shape:
        if not isinstance(node.labels, list) or not 1 <= len(node.labels) <= MAX_LABELS:
            raise Error(f"its labels are a list of 1 to {MAX_LABELS} strings, not {shorten(node.labels)}")
        for label in node.labels:
            _name("a label", label, 1)
        maps = len(node.shapes) if isinstance(node.shapes, list) else 0
        if not 1 <= maps <= MAX_INPUTS // 2 or not isinstance(node.steps, list) or len(node.steps) != maps:
            raise Error(f"its shapes and its steps are two lists of one length, 1 to {MAX_INPUTS // 2}")
        if len(node.inputs) != 2 * maps:
            raise Error(f"it has two inputs for each of its {maps} maps, not {len(node.inputs)}")
        boxes = 0
        for m, (shapes, steps) in enumerate(zip(node.shapes, node.steps, strict=True)):
            count = len(shapes) if isinstance(shapes, np.ndarray) and shapes.ndim == 2 else 0
            _positive("its shapes", shapes, max(1, count), 2)
            _positive("its steps", steps, 2)
            located, classified = (self.value(index, "float32").shape for index in node.inputs[2 * m : 2 * m + 2])
            if located[0] != 4 * count or classified != (node.classes * count, *located[1:]):
                raise Error(
                    f"map {m} of {count} boxes and {node.classes} classes has {4 * count} channels of locations and "
                    f"{node.classes * count} of logits, of one height and width; these have shapes {located} and "
                    f"{classified}"
                )
            boxes += count * located[1] * located[2]
        if boxes > MAX_BOXES:
            raise Error(f"it has {boxes} default boxes, and at most {MAX_BOXES} are allowed")
        _positive("its variances", node.variances, 2)
        for what, threshold in (("score_threshold", node.score_threshold), ("iou_threshold", node.iou_threshold)):
            _float(what, threshold)
            if not 0 <= np.float32(threshold) <= 1:
                raise Error(f"{what} is 0 to 1, not {threshold}")
        candidates = _integer("`candidates`", node.candidates, 1, MAX_BOXES)
        keep = _integer("`keep`", node.keep, 1, MAX_CHANNELS)
        self._count_numbers(boxes * (3 * node.classes + 8))
        self._work += boxes * node.classes + len(node.labels) * min(candidates, boxes) ** 2
        return keep, 6, 1

    def _pack(self, words: int) -> None:
        self._packed += words
        if self._for_engine and self._packed > MAX_PACKED:
            raise Error(f"the packed weights of the convolutions and orders of channels exceed {MAX_PACKED} words")

    def _convolution(self, node: Convolution, shape: Shape) -> tuple[Shape, int]:
        weight = node.weight
        if not isinstance(weight, np.ndarray) or weight.ndim != 4:
            raise Error("its weight is not a numpy array of shape (O, kh, kw, C / groups)")
        channels = _integer("its number of output channels", weight.shape[0], 1, MAX_CHANNELS)
        kernel = _integers("its kernel", weight.shape[1:3], 2, 1, MAX_KERNEL)
        stride = _integers("its stride", node.stride, 2, 1, MAX_KERNEL)
        padding = _integers("its padding", node.padding, 4, 0, MAX_KERNEL)
        dilation = _integers("its dilation", node.dilation, 2, 1, MAX_KERNEL)
        groups = _integer("its number of groups", node.groups, 1, MAX_CHANNELS)
        if shape[0] % groups or channels % groups:
            raise Error(f"its {shape[0]} input and {channels} output channels are not divisible by {groups} groups")
        if weight.shape[3] * groups != shape[0]:
            raise Error(f"its weight is for {weight.shape[3] * groups} input channels, its input has {shape[0]}")
        most = _WINDOWS.get(type(node), MAX_WINDOW)
        if prod(weight.shape[1:]) > most:
            raise Error(f"its window has more than {most} taps")
        words = -(-weight.shape[3] // _WEIGHTS_A_WORD.get(type(node), 1))
        self._pack(groups * _round_up(channels // groups, 16) * (4 + prod(kernel) * words))
        _floats("bias", node.bias, channels)
        height = _extent(shape[1], padding[0], padding[2], kernel[0], dilation[0], stride[0])
        width = _extent(shape[2], padding[1], padding[3], kernel[1], dilation[1], stride[1])
        if isinstance(node, BinaryConv2d):
            _check_binary(node, channels)
            rows = columns = 1
            if node.padding_mode == "zeros":
                rows = _border_classes(shape[1], padding[0], height, kernel[0], dilation[0], stride[0])
                columns = _border_classes(shape[2], padding[1], width, kernel[1], dilation[1], stride[1])
            self._border_table += rows * columns * _round_up(channels, 16)
            if self._border_table > MAX_BORDER_TABLE:
                raise Error(f"border classes x channels of the binary convolutions exceed {MAX_BORDER_TABLE}")
        elif isinstance(node, Int8Conv2d):
            _check_int8(node, channels)
        elif isinstance(node, FixedConv2d):
            _check_integers(node.weight, node.bits)
            one = isinstance(node.weight_scale, np.ndarray) and node.weight_scale.shape == (1,)
            _floats("weight_scale", node.weight_scale, 1 if one else channels)
            for scale in np.unique(node.weight_scale):
                check_scale(scale)
        else:
            _floats("weight", weight, *weight.shape)
            if node.weight_scale is not None:
                _floats("weight_scale", node.weight_scale, channels)
                with np.errstate(over="ignore"):
                    if not np.isfinite(node.scaled_weight).all():
                        raise Error("a weight times its scale is not finite")
        return (channels, height, width), prod(weight.shape[1:])

    # ------------------------------------------------------------------------------------------- epilogue
    def _run_epilogue(self, steps: list[Step], shape: Shape) -> None:
        made_before = len(self.values)
        for step in steps:
            if isinstance(step, Affine):
                _floats("scale", step.scale, shape[0])
                _floats("shift", step.shift, shape[0])
            elif isinstance(step, Add):
                if self.value(step.value, "float32").shape != shape or step.value >= made_before:
                    raise Error(f"it adds value {step.value}, which is not of its result's shape or not made before")
            elif isinstance(step, Multiply):
                factor = self.value(step.value, "float32").shape
                if factor not in (shape, (shape[0], 1, 1)) or step.value >= made_before:
                    raise Error(
                        f"it multiplies by value {step.value}, which is not of its result's shape or (C, 1, 1), "
                        "or not made before"
                    )
            elif isinstance(step, TwoSlope):
                _floats("positive", step.positive, shape[0])
                _floats("negative", step.negative, shape[0])
            elif isinstance(step, Clamp):
                _floats("low", step.low, shape[0])
                _floats("high", step.high, shape[0])
            elif isinstance(step, Binarize):
                if not isinstance(step.flip, bool | np.bool_):
                    raise Error("`flip` is a bool")
                whole_layer = isinstance(step.threshold, np.ndarray) and step.threshold.shape == (1,)
                _floats("threshold", step.threshold, 1 if whole_layer else shape[0])
                self._make("bits", step.out, shape)
            elif isinstance(step, Quantize):
                _float("multiplier", step.multiplier)
                _integer("`zero`", step.zero, 0, (1 << check_bits(step.bits)) - 1)
                self._make("uint8", step.out, shape)
            elif isinstance(step, ToFixed):
                scale, zero = self._check_fixed(step)
                self._make("fixed", step.out, shape, scale=scale, zero=zero)
            elif isinstance(step, Store):
                self._make("float32", step.out, shape)
            elif isinstance(step, Mean):
                self._make("float32", step.out, (shape[0], 1, 1), rows=shape[1])
            elif not isinstance(step, Sigmoid):
                raise Error(f"{type(step).__name__} is not a step of docs/format.md")

    def _run_integers(self, steps: list[Step], shape: Shape, unit: np.ndarray) -> None:
        """The epilogue of a fixed-point node. unit: Y."""
        made_before = len(self.values)
        for step in steps:
            if isinstance(step, Add):
                value = self.value(step.value, "fixed")
                if value.shape != shape or step.value >= made_before:
                    raise Error(f"it adds value {step.value}, which is not of its result's shape or not made before")
                check_shift("what it adds", value.scale / unit)
            elif isinstance(step, Clamp):
                _floats("low", step.low, shape[0])
                _floats("high", step.high, shape[0])
            elif isinstance(step, Store):
                self._make("float32", step.out, shape)
            elif isinstance(step, ToFixed):
                scale, zero = self._check_fixed(step)
                check_shift("its result", scale / unit)
                self._make("fixed", step.out, shape, scale=scale, zero=zero)
            else:
                raise Error(f"{type(step).__name__} is not a step of a fixed-point node")

    def _check_fixed(self, step: ToFixed) -> tuple[float, int]:
        zero = _integer("`zero`", step.zero, 0, (1 << check_bits(step.bits)) - 1)
        return check_scale(step.scale), zero

    def _make(self, kind: str, out: Any, shape: Shape, rows: int = 0, scale: float = 1.0, zero: int = 0) -> None:
        if not _is_integer(out) or out != len(self.values):
            raise Error(f"it makes value {shorten(out)}, but the next one is {len(self.values)}")
        self._append(kind, shape, rows, scale, zero)

    def _append(self, kind: str, shape: Shape, rows: int = 0, scale: float = 1.0, zero: int = 0) -> None:
        """rows: of the map that a mean is of; an engine keeps a sum of each."""
        self._count((shape[0], shape[1] + rows, shape[2]))
        self.values.append(Value(kind, shape, scale, zero))

    def _count(self, shape: Shape) -> None:
        self._count_numbers(_elements(shape))

    def _count_numbers(self, count: int) -> None:
        self._elements += count
        if self._for_engine and self._elements > MAX_TOTAL_ELEMENTS:
            raise Error(f"the values and outputs together have more than {MAX_TOTAL_ELEMENTS} elements")


# ----------------------------------------------------------------------------------------------- parts
_INPUT_KINDS: dict[type[Node], str] = {
    BinaryConv2d: "bits",
    Int8Conv2d: "uint8",
    FixedConv2d: "fixed",
    FixedMaxPool: "fixed",
    FixedAveragePool: "fixed",
}
_WEIGHTS_A_WORD: dict[type[Node], int] = {BinaryConv2d: 32, Int8Conv2d: 4, FixedConv2d: 4}  # of the packed weights
PACKED_OF_A_CHANNEL = 8  # words, in the list of what a gather copies
_WINDOWS: dict[type[Node], int] = {Int8Conv2d: MAX_INT8_WINDOW, FixedConv2d: MAX_FIXED_WINDOW}


def _check_transform(transform: InputTransform, channels: int) -> None:
    _floats("the transform's scale", transform.scale, channels)
    _floats("the transform's shift", transform.shift, channels)
    _integer("the transform's resize", transform.resize, 0, MAX_EXTENT)
    _integer("the transform's crop", transform.crop, 0, MAX_EXTENT)
    if transform.order not in ("RGB", "BGR"):
        raise Error(f"the transform's order is RGB or BGR, not {shorten(transform.order)}")
    if transform.interpolation not in ("bilinear", "bicubic"):
        raise Error(f"the transform's interpolation is bilinear or bicubic, not {shorten(transform.interpolation)}")
    if transform.fit not in ("shorter", "stretch"):
        raise Error(f"the transform's fit is shorter or stretch, not {shorten(transform.fit)}")


def _check_binary(node: BinaryConv2d, channels: int) -> None:
    if node.weight.dtype != np.int8 or not (np.abs(node.weight) == 1).all():
        raise Error("a binary weight is int8, each -1 or +1")
    _floats("alpha_w", node.alpha_w, channels)
    _floats("beta_w", node.beta_w, channels)
    with np.errstate(over="ignore"):
        alpha_a, gamma = np.float32(node.alpha_a), np.float32(node.gamma)
    if not np.isfinite(alpha_a) or not np.isfinite(gamma) or alpha_a == 0:
        raise Error(f"alpha_a and gamma are finite in float32, alpha_a not 0; they are {alpha_a} and {gamma}")
    if node.padding_mode not in PADDING_MODES:
        raise Error(f"its padding_mode is one of {', '.join(PADDING_MODES)}, not {shorten(node.padding_mode)}")


def _check_int8(node: Int8Conv2d, channels: int) -> None:
    _check_integers(node.weight, node.bits)
    _floats("weight_scale", node.weight_scale, channels)
    _float("activation_scale", node.activation_scale)
    _integer("`zero`", node.zero, 0, 255)


def _check_integers(weight: np.ndarray, bits: Any) -> None:
    largest = (1 << (check_bits(bits) - 1)) - 1
    if weight.dtype != np.int8 or (weight > largest).any() or (weight < -largest).any():
        raise Error(f"a weight of {bits} bits is int8, each -{largest} to {largest}")


def check_pieces(pieces: Any, channels: int) -> int:
    """How many channels a gather over so many takes. Raises `Error` where a piece is none, or lies outside them."""
    if not isinstance(pieces, list) or not pieces:
        raise Error(f"the pieces of a gather are a list that is not empty, not {shorten(pieces)}")
    taken = 0
    for piece in pieces:
        if not isinstance(piece, tuple | list) or len(piece) < 2 or not all(_is_integer(n) for n in piece):
            raise Error(f"a piece of a gather is a count and the first channels of its runs, not {shorten(piece)}")
        count, *firsts = piece
        if count < 1 or min(firsts) < 0 or max(firsts) + count > channels:
            raise Error(f"the piece {shorten(piece)} of a gather lies outside its {channels} channels")
        taken += count * len(firsts)
        if taken > MAX_CHANNELS:
            raise Error(f"a gather takes more than {MAX_CHANNELS} channels")
    return taken


def check_scale(scale: Any) -> float:
    """The scale of a fixed-point number: a power of two. Raises `Error` otherwise."""
    _float("a scale", scale)
    fraction, exponent = np.frexp(np.float32(scale))
    if fraction != 0.5 or not -MAX_EXPONENT <= exponent - 1 <= MAX_EXPONENT:
        raise Error(f"a scale is a power of two, 2^-{MAX_EXPONENT} to 2^{MAX_EXPONENT}, not {shorten(scale)}")
    return float(scale)


def check_shift(what: str, ratio: np.ndarray) -> np.ndarray:
    """The bits that integers shift by, where their units have this ratio, a power of two. Raises `Error`."""
    bits = np.frexp(ratio)[1] - 1
    if (bits < 0).any() or (bits > MAX_SHIFT).any():
        raise Error(f"{what} has a scale that is not 2^0 to 2^{MAX_SHIFT} times what it is aligned to")
    return bits.astype(np.int32)


def check_bits(bits: Any) -> int:
    """`bits`, of a weight or a code, which is 4 or 8. Raises `Error` otherwise."""
    if not _is_integer(bits) or bits not in (4, 8):
        raise Error(f"`bits` is 4 or 8, not {shorten(bits)}")
    return int(bits)


def _pool(node: MaxPool | AveragePool | FixedMaxPool | FixedAveragePool, shape: Shape) -> tuple[Shape, int]:
    kernel = _integers("its kernel", node.kernel, 2, 1, MAX_KERNEL)
    stride = _integers("its stride", node.stride, 2, 1, MAX_KERNEL)
    padding = _integers("its padding", node.padding, 4, 0, MAX_KERNEL)
    extents = []
    for axis in (0, 1):
        size, before, after = shape[1 + axis], padding[axis], padding[2 + axis]
        out = _extent(size, before, after, kernel[axis], 1, stride[axis])
        if before >= kernel[axis] or (out - 1) * stride[axis] - before >= size:
            raise Error("a window of the pool lies wholly outside the image; pad less")
        extents.append(out)
    if isinstance(node, AveragePool) and node.divisor not in ("inside", "window"):
        raise Error(f"the divisor is inside or window, not {shorten(node.divisor)}")
    return (shape[0], extents[0], extents[1]), prod(kernel)


def _extent(size: int, before: int, after: int, kernel: int, dilation: int, stride: int) -> int:
    """Rows (or columns) of a result. Python's // rounds towards minus infinity, as the format wants it."""
    out = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    if out < 1:
        raise Error(
            f"its window of {dilation * (kernel - 1) + 1} does not fit into {size + before + after} padded pixels"
        )
    return out


def _border_classes(size: int, before: int, out: int, kernel: int, dilation: int, stride: int) -> int:
    """Number of distinct sets of kernel rows that lie inside the image. Such a set is an interval."""
    start = np.arange(out) * stride - before
    first = np.clip(-(start // dilation), 0, kernel)  # the least k with start + k * dilation >= 0
    end = np.clip(-((start - size) // dilation), 0, kernel)  # the least k with start + k * dilation >= size
    intervals = np.where(first < end, first * (MAX_KERNEL + 1) + end, 0)
    return len(np.unique(intervals))


def _check_shape(what: str, shape: Shape) -> None:
    channels, height, width = shape
    inside = 1 <= channels <= MAX_CHANNELS and 1 <= height <= MAX_EXTENT and 1 <= width <= MAX_EXTENT
    if not inside or _elements(shape) > MAX_ELEMENTS:
        raise Error(
            f"{what} has shape {shape}; at most {MAX_CHANNELS} channels, {MAX_EXTENT} rows and columns, "
            f"{MAX_ELEMENTS} elements are allowed"
        )


def _round_up(number: int, to: int) -> int:
    return -(-number // to) * to


def _elements(shape: Shape) -> int:
    """Elements of a value, its channels rounded up to 16: what an engine allocates for it."""
    return _round_up(shape[0], 16) * shape[1] * shape[2]


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _integer(what: str, value: Any, low: int, high: int) -> int:
    if not _is_integer(value) or not low <= value <= high:
        raise Error(f"{what} is {low} to {high}, not {shorten(value)}")
    return int(value)


def _integers(what: str, values: Any, count: int, low: int, high: int) -> list[int]:
    if not isinstance(values, tuple | list) or len(values) != count:
        raise Error(f"{what} has {count} numbers, not {shorten(values)}")
    return [_integer(what, value, low, high) for value in values]


def _floats(what: str, array: Any, *shape: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise Error(f"{what} is a float32 array of shape {shape}, not {found}")
    if not np.isfinite(array).all():
        raise Error(f"{what} holds a number that is not finite")


def _positive(what: str, array: Any, *shape: int) -> None:
    _floats(what, array, *shape)
    if (array <= 0).any():
        raise Error(f"{what} holds a number that is not above 0")


def _float(what: str, number: Any) -> None:
    if not isinstance(number, Real) or isinstance(number, bool):
        raise Error(f"{what} is a number, not {shorten(number)}")
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise Error(f"{what} is finite in float32, not {shorten(number)}")


def _name(what: str, text: Any, low: int) -> None:
    if not isinstance(text, str) or not low <= len(text) <= MAX_NAME:
        raise Error(f"{what} is a string of {low} to {MAX_NAME} characters, not {shorten(text)}")
    check_string(text)
