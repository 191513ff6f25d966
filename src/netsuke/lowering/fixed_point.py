"""Fixed point: a float graph becomes one of integers, its scales powers of two chosen layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from netsuke.artifact.contract import MAX_EXPONENT, MAX_FIXED_WINDOW, MAX_SHIFT, Error
from netsuke.artifact.graph import (
    Add,
    AveragePool,
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
    MaxPool,
    Mean,
    Node,
    Normalize,
    Output,
    PadChannels,
    Read,
    Step,
    Store,
    ToFixed,
    TwoSlope,
    Write,
)
from netsuke.artifact.infer import unit_of
from netsuke.float_layers import check_patterns, rule_for
from netsuke.lowering.calibrate import batches
from netsuke.lowering.equalise import equalise
from netsuke.lowering.simulate import fixed, last_readers, run_operator, run_step

LARGEST = float(np.finfo(np.float32).max)
WHOLE = (0, 0)  # the kernel of a pool over a whole map, until its size is known
MAX_BIAS_BITS = 28
FINER = 4  # lengths above the one that overflows nothing which are tried
PART = 1 << 19  # numbers of a map that are rounded at a time


@dataclass(frozen=True)
class FixedPoint:
    """How a network becomes fixed point (Qiu et al. 2016, "Going Deeper with Embedded FPGA Platform for Convolutional
    Neural Network", section 4).

    weights: bits of a weight, or {shell pattern of layer names: bits}, of which the last that fits counts; layers that
    none fits have 8. data: bits of the maps between layers. 2 to 16 of each can be tried with `fix` and
    `netsuke.lowering.simulate.simulate`; a file, and so `netsuke.export`, has 4 or 8.
    precision: "dynamic", a fractional length of its own for each layer's weights and for each map; "channel", one for
    each output channel of the weights; or "static", one for all weights, one for the maps and one for the results of
    linear layers, to compare with.
    equalise: scale the channels between layers first (`netsuke.lowering.equalise`): what depthwise convolutions need.
    error: what the choice of a length makes small, the sum of "squared" errors or, as the paper is reported to have it,
    of "absolute" ones, which are smallest where many small numbers are fine and the few large ones are clipped.
    """

    weights: int | Mapping[str, int] = 8
    data: int = 8
    precision: Literal["dynamic", "channel", "static"] = "dynamic"
    equalise: bool = False
    error: Literal["squared", "absolute"] = "squared"

    def __post_init__(self) -> None:
        for bits in (*self.rules.values(), self.data):
            if not isinstance(bits, int) or isinstance(bits, bool) or not 2 <= bits <= 16:
                raise Error(f"fixed point has 2 to 16 bits, not {bits!r}")
        if self.precision not in ("dynamic", "channel", "static"):
            raise Error(f"precision is {self.precision!r}: use 'dynamic', 'channel' or 'static'")
        if self.error not in ("squared", "absolute"):
            raise Error(f"error is {self.error!r}: use 'squared' or 'absolute'")

    @property
    def power(self) -> int:
        """Of an error in the sums."""
        return 2 if self.error == "squared" else 1

    @property
    def rules(self) -> Mapping[str, int]:
        """weights, by pattern."""
        return self.weights if isinstance(self.weights, Mapping) else {"*": self.weights}

    def bits(self, name: str) -> int:
        """Of the weights of the layer `name`."""
        return rule_for(name, self.rules) or 8

    def __str__(self) -> str:
        weights = ", ".join(
            f"{bits} bits" if name == "*" else f"{name} {bits} bits" for name, bits in self.rules.items()
        )
        return (
            f"fixed point, weights of {weights}, data of {self.data}, {self.precision}{', equalised' * self.equalise}"
        )

    def check_file(self) -> None:
        """Raises Error for bits that no file holds."""
        for what, bits in (*((f"weights of {name!r}", bits) for name, bits in self.rules.items()), ("data", self.data)):
            if bits not in (4, 8):
                raise Error(
                    f"fixed point: a file holds 4 or 8 bits, not {bits} ({what}). "
                    "Others are only simulated: netsuke.lowering.fixed_point.fix, netsuke.lowering.simulate.simulate"
                )


def fix(graph: Graph, how: FixedPoint, images: Any) -> Graph:
    """The graph in fixed point.

    Weights: the fractional length of a layer (or of each output channel) is the one with the least error of W(fl)
    against W, among the one that overflows nothing and its neighbours.

    Data, greedily in running order: the length of a map is the one with the least error of x(fl) against x, where x is
    the float network's map and x(fl) what the layers before it, in fixed point already, make of the images. (The
    paper's two phases; its full text was not at hand, so that sums and search are as its readers report them.) Maps
    that hold nothing below 0 have no sign bit, which the paper's keep.

    Biases, before the layer's map is rounded: in each channel the bias takes the mean of x - x(fl) over the images
    (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.2, in its
    empirical form). Here x is the sum with the maps that are added to the layer's result, and a ReLU's or clamp's
    numbers count where it lets one of the two through: where it cuts off both, the error is not seen behind it.

    graph: float, batch norm folded, one input; it stays so. images: float (N, C, H, W), normalised, or an iterable
    of such batches: a few hundred training images. Bits other than 4 and 8 are for `simulate`: no file holds them.
    Raises netsuke.Error for layers that integers cannot compute, and for images that are missing or not finite.
    """
    check_patterns("fixed point: no layer", how.rules, [node.name for node in graph.nodes if isinstance(node, Conv2d)])
    calibration = torch.cat(list(batches(images, graph.input_shape)))
    graph, detects = _without_detects(graph)
    if len(calibration) < 2:
        raise Error("calibration has 1 image: the ranges of maps need more, a few hundred training images")
    if how.equalise:
        graph = equalise(graph)
    return _with_detects(_Fixing(_plain(graph), how, calibration).run(), *detects)


# ------------------------------------------------------------------------------------------- boxes
_Detects = tuple[list[Detect], list[Output]]


def _without_detects(graph: Graph) -> tuple[Graph, _Detects]:
    """The graph whose outputs are what its detects read, which stay float; the detects and the outputs that it had."""
    detects = [node for node in graph.nodes if isinstance(node, Detect)]
    made = {step.out for node in detects for step in node.epilogue if isinstance(step, Store)}
    nodes = [node for node in graph.nodes if not isinstance(node, Detect)]
    read = {v for node in nodes for v in [*node.inputs, *(s.value for s in node.epilogue if isinstance(s, Read))]}
    if made & read or not all(isinstance(step, Store) for node in detects for step in node.epilogue):
        raise Error("boxes are computed with further: in fixed point they are outputs and nothing else")
    outputs = {output.value: output for output in graph.outputs if output.value not in made}
    outputs |= {v: Output(v, 4) for node in detects for v in node.inputs if v > 0 and v not in outputs}
    return replace(graph, nodes=nodes, outputs=list(outputs.values())), (detects, graph.outputs)


def _with_detects(graph: Graph, detects: list[Detect], outputs: list[Output]) -> Graph:
    """The graph with the detects behind it again. Their values get new ids: the ones they had may be given away."""
    unused = 1 + max(step.out for node in graph.nodes for step in node.epilogue if isinstance(step, Write))
    ids: dict[int, int] = {}
    nodes = list(graph.nodes)
    for node in detects:
        steps: list[Step] = []
        for step in node.epilogue:
            assert isinstance(step, Store)
            ids[step.out] = unused + len(ids)
            steps.append(Store(ids[step.out]))
        nodes.append(replace(node, epilogue=steps))
    return replace(graph, nodes=nodes, outputs=[replace(o, value=ids.get(o.value, o.value)) for o in outputs])


# ------------------------------------------------------------------------------------------- what integers can do
def _plain(graph: Graph) -> Graph:
    """The graph of nodes and steps that have a fixed-point form: ReLUs are clamps, means are pools of stored maps."""
    unused = 1 + max(step.out for node in graph.nodes for step in node.epilogue if isinstance(step, (Store, Mean)))
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Normalize):
            raise Error(f"{node.name!r} divides every pixel by its length, which has no form in fixed point")
        if isinstance(node, Gather):
            raise Error(f"{node.name!r} takes some of the channels of a map, which has no form in fixed point")
        if not isinstance(node, (Conv2d, MaxPool, AveragePool, PadChannels, Concat, Identity)):
            raise Error(f"layer {node.name!r} is a {type(node).__name__}: give a float network to fixed point")
        if isinstance(node, AveragePool) and any(node.padding) and node.divisor == "inside":
            raise Error(
                f"pool {node.name!r} counts only pixels inside the image: in fixed point a pool with padding has one "
                "divisor (count_include_pad=True)"
            )
        if isinstance(node, Conv2d) and math.prod(node.weight.shape[1:]) > MAX_FIXED_WINDOW:
            raise Error(f"layer {node.name!r} sums more than {MAX_FIXED_WINDOW} products, which 32 bits may not hold")
        steps: list[Step] = []
        pools: list[Node] = []
        for step in node.epilogue:
            if isinstance(step, TwoSlope):
                if (step.positive != 1).any() or step.negative.any():
                    raise Error(f"behind layer {node.name!r} stands a PReLU: in fixed point there are ReLU and clamps")
                channels = len(step.positive)
                steps.append(Clamp(np.zeros(channels), np.full(channels, LARGEST)))
            elif isinstance(step, (Clamp, Add, Store)):
                steps.append(step)
            elif isinstance(step, Mean):
                steps.append(Store(unused))
                pools.append(
                    AveragePool(f"{node.name}.mean"[-200:], [unused], [Store(step.out)], kernel=WHOLE, stride=(1, 1))
                )
                unused += 1
            else:
                what = type(step).__name__.lower()
                raise Error(
                    f"behind layer {node.name!r} stands a step {what!r}: fixed point has convolutions, linear layers, "
                    "ReLU, clamps, sums, pools and concatenations"
                )
        nodes += [replace(node, epilogue=steps), *pools]
    return replace(graph, nodes=nodes)


def _sized(node: Node, values: Mapping[int, Tensor]) -> Node:
    if not isinstance(node, AveragePool) or node.kernel != WHOLE:
        return node
    height, width = values[node.inputs[0]].shape[2:]
    return replace(node, kernel=(height, width))


def _finer_first(node: Node, scales: Mapping[int, float]) -> Node:
    """A sum of two maps with the finer one as the input: what is added to it is shifted to the left."""
    if not isinstance(node, Identity) or not isinstance(node.epilogue[0], Add):
        return node
    (one,), other = node.inputs, node.epilogue[0].value
    if scales[one] <= scales[other]:
        return node
    return replace(node, inputs=[other], epilogue=[Add(one), *node.epilogue[1:]])


class _Fixing:
    """Goes through the graph once, float and fixed-point maps side by side."""

    def __init__(self, graph: Graph, how: FixedPoint, images: Tensor) -> None:
        self.graph, self.how = graph, how
        self.float: dict[int, Tensor] = {0: images}
        self.fixed: dict[int, Tensor] = {}
        self.scales: dict[int, float] = {}
        self.nodes: list[Node] = []
        self.outputs = {output.value for output in graph.outputs}
        self.read = set(last_readers(replace(graph, outputs=[])))
        self.unused = 1 + max(step.out for node in graph.nodes for step in node.epilogue if isinstance(step, Store))
        self.ids: dict[int, int] = {}  # of a float value, its fixed-point form
        self.weight_length: int | None = None
        self.data_lengths: dict[bool, int] = {}  # by whether it is a linear layer's

    def run(self) -> Graph:
        with torch.no_grad():
            if self.how.precision == "static":
                self.static()
            enter = Identity("input", [0], [self.to_fixed(0, self.float[0], self.float[0], [0.0], linear=False)])
            self.nodes.append(enter)
            last = last_readers(self.graph)
            for position, node in enumerate(self.graph.nodes):
                self.node(node)
                for value in [v for v, at in last.items() if at == position]:
                    self.float.pop(value, None)
                    self.fixed.pop(value, None)
        return replace(self.graph, nodes=self.nodes)

    def node(self, node: Node) -> None:
        node = _finer_first(_sized(node, self.float), self.scales)
        y = self.finite(node, run_operator(node, [self.float[v] for v in node.inputs]))
        made = self.made(node)
        unit = unit_of(made, [self.scales[v] for v in node.inputs])
        x = run_operator(made, [self.fixed[v] for v in node.inputs], unit)
        steps: list[Step] = []
        linear = x.shape[2:] == (1, 1)
        sums = next(i for i, step in enumerate(node.epilogue) if not isinstance(step, Add))
        for i, step in enumerate(node.epilogue):
            if i == sums and isinstance(made, FixedConv2d):
                x = self.corrected(made, step, y, x, unit)
            if isinstance(step, Store):
                if step.out in self.outputs:
                    steps.append(step)
                if step.out in self.read:
                    steps.append(self.to_fixed(step.out, y, x, unit.tolist(), linear))
                continue
            if isinstance(step, Add):
                steps.append(Add(self.ids[step.value]))
                if not self.aligned(self.scales[step.value], unit):
                    raise Error(
                        f"layer {node.name!r}: the map that is added to its result is finer than its sums; "
                        "give its weights more bits"
                    )
            else:
                steps.append(step)
            y = self.finite(node, run_step(step, y, self.float)[0])
            x, _ = run_step(step, x, self.fixed, unit)
        made.epilogue = steps
        self.nodes.append(made)

    def made(self, node: Node) -> FixedNode:
        """The fixed-point form of a node, without its epilogue."""
        inputs = [self.ids[value] for value in node.inputs]
        if isinstance(node, Conv2d):
            adds = [self.scales[step.value] for step in node.epilogue if isinstance(step, Add)]
            return self.convolution(node, inputs, self.scales[node.inputs[0]], min(adds, default=math.inf))
        if isinstance(node, MaxPool):
            return FixedMaxPool(node.name, inputs, kernel=node.kernel, stride=node.stride, padding=node.padding)
        if isinstance(node, AveragePool):
            return FixedAveragePool(node.name, inputs, kernel=node.kernel, stride=node.stride, padding=node.padding)
        if isinstance(node, PadChannels):
            return FixedCopy(node.name, inputs, before=node.before, after=node.after)
        return FixedCopy(node.name, inputs)

    def convolution(self, node: Conv2d, inputs: list[int], scale: float, finest: float) -> FixedConv2d:
        """finest: a map of this scale is added to the result, whose unit may not be larger."""
        bits = self.how.bits(node.name)
        weight = node.scaled_weight
        rows = weight.reshape(len(weight), -1) if self.how.precision == "channel" else weight.reshape(1, -1)
        least = -MAX_EXPONENT if finest == math.inf else round(math.log2(scale / finest))
        lengths = [
            self.weight_length if self.weight_length is not None else best_length(row, bits, self.how.power, least)
            for row in rows
        ]
        if len(rows) > 1:  # of a channel of next to nothing the bias would be a huge number of units
            lengths = [
                min(length, MAX_BIAS_BITS - _bits(abs(float(bias)) / scale))
                for length, bias in zip(lengths, node.bias, strict=True)
            ]
        weight_scale = np.exp2(-np.array(lengths, np.float64))
        most = (1 << (bits - 1)) - 1
        of_each = np.broadcast_to(weight_scale, (len(weight),))[:, None, None, None]
        codes = np.rint(weight / of_each).clip(-most, most)
        return FixedConv2d(
            node.name,
            inputs,
            weight=codes.astype(np.int8 if bits <= 8 else np.int16),
            weight_scale=weight_scale.astype(np.float32),
            bias=(np.rint(node.bias / (scale * weight_scale)) * scale * weight_scale).astype(np.float32),
            bits=bits,
            stride=node.stride,
            padding=node.padding,
            dilation=node.dilation,
            groups=node.groups,
        )

    def corrected(self, made: FixedConv2d, step: Step, y: Tensor, x: Tensor, unit: np.ndarray) -> Tensor:
        """x with the mean of y - x in each channel taken into the bias, in whole units. step: the next one; what its
        clamp cuts off in both does not count."""
        through = torch.ones_like(y, dtype=torch.bool)
        if isinstance(step, Clamp):
            through = (run_step(step, y, {})[0] == y) | (run_step(step, x, {}, unit)[0] == x)
        error = ((y - x) * through).sum((0, 2, 3), dtype=torch.float64) / through.sum((0, 2, 3)).clamp(min=1)
        before = made.bias.astype(np.float64)
        made.bias = (before + np.rint(error.numpy() / unit) * unit).astype(np.float32)
        return x + torch.from_numpy(made.bias - before).to(x).view(-1, 1, 1)

    def to_fixed(self, value: int, y: Tensor, x: Tensor, unit: list[float], linear: bool) -> ToFixed:
        """The step that makes a map fixed point. y: of the float network; x: before it is rounded."""
        bits = self.how.data
        zero = 1 << (bits - 1) if float(y.min()) < 0 else 0
        most = (1 << bits) - 1 - zero
        largest = float(y.abs().max())
        first = math.floor(math.log2(most / largest)) if largest > 0 else bits
        coarsest, finest = (math.log2(max(unit)), math.log2(min(unit))) if max(unit) > 0 else (-math.inf, math.inf)
        # A shift is not to the left, and is at most MAX_SHIFT; one length past the range is tried too.
        allowed = [
            fl
            for fl in range(first - 1, first + FINER)
            if -fl >= coarsest and -fl - finest <= MAX_SHIFT and abs(fl) <= MAX_EXPONENT
        ]
        if linear in self.data_lengths:
            allowed = [self.data_lengths[linear]]
        # No length in sight may be exact, or the static one finer than the sums: then the finest that is not.
        allowed = [fl for fl in allowed if -fl >= coarsest] or [math.floor(-coarsest)]
        losses = [self.loss(y, x, ToFixed(2.0**-fl, zero, 0, bits)) for fl in allowed]
        scale = 2.0 ** -allowed[int(np.argmin(losses))]
        self.float[value], self.fixed[value] = y, fixed(x, scale, zero, bits)
        self.scales[value], self.ids[value] = scale, self.unused
        self.unused += 1
        return ToFixed(scale, zero, self.ids[value], bits)

    @staticmethod
    def finite(node: Node, y: Tensor) -> Tensor:
        """y, of the float network."""
        if not bool(torch.isfinite(y).all()):
            raise Error(
                f"calibration: layer {node.name!r} of the float network makes a number that is not finite (NaN or "
                "infinity), which has no range: the network is damaged or its training diverged"
            )
        return y

    def loss(self, y: Tensor, x: Tensor, step: ToFixed) -> float:
        """How far x, made fixed point, is from y. In parts that stay in the cache, which is several times as fast."""
        images = max(1, PART // y[0].numel())
        total = 0.0
        for part, target in zip(x.split(images), y.split(images), strict=True):
            error = fixed(part, step.scale, step.zero, step.bits).sub_(target)
            error = error.square_() if self.how.power == 2 else error.abs_()
            total += float(error.sum(dtype=torch.float64))
        return total

    @staticmethod
    def aligned(scale: float, unit: np.ndarray) -> bool:
        return bool((unit <= scale).all() and (scale <= unit * 2.0**MAX_SHIFT).all())

    def static(self) -> None:
        """One length for all weights, and for maps one of convolutions' and one of linear layers': what loses least."""
        layers = [node for node in self.graph.nodes if isinstance(node, Conv2d)]
        ranges = range(-4, 16)
        rows = [(node.scaled_weight.reshape(-1), self.how.bits(node.name)) for node in layers]
        self.weight_length = min(ranges, key=lambda fl: sum(_loss(row, fl, bits, self.how.power) for row, bits in rows))
        losses: dict[bool, np.ndarray] = {}
        for linear, y in self.maps():
            bits = self.how.data
            zero = 1 << (bits - 1) if float(y.min()) < 0 else 0
            found = [self.loss(y, y, ToFixed(2.0**-fl, zero, 0, bits)) for fl in ranges]
            losses[linear] = losses.get(linear, 0) + np.array(found)
        self.data_lengths = {linear: ranges[int(loss.argmin())] for linear, loss in losses.items()}

    def maps(self) -> Iterator[tuple[bool, Tensor]]:
        """Every map of the float network, and whether it is of one pixel."""
        values = {0: self.float[0]}
        last = last_readers(self.graph)
        yield False, values[0]
        for position, node in enumerate(self.graph.nodes):
            node = _sized(node, values)
            y = run_operator(node, [values[v] for v in node.inputs])
            for step in node.epilogue:
                y, made = run_step(step, y, values)
                if made is not None:
                    assert isinstance(step, Store)
                    values[step.out] = made
                    if step.out in self.read:
                        yield y.shape[2:] == (1, 1), made
            for value in [v for v, at in last.items() if at == position and v in values]:
                del values[value]


def _bits(number: float) -> int:
    return math.ceil(math.log2(number)) if number > 0 else 0


def best_length(weight: np.ndarray, bits: int, power: int = 2, least: int = -MAX_EXPONENT) -> int:
    """The fractional length, at least `least`, that loses least of a weight: sum |W - W(bits, fl)|^power."""
    most = (1 << (bits - 1)) - 1
    largest = float(np.abs(weight).max(initial=0.0))
    first = math.floor(math.log2(most / largest)) if largest > 0 else bits
    lengths = [fl for fl in range(first - 1, first + FINER) if least <= fl <= MAX_EXPONENT] or [
        min(max(first, least), MAX_EXPONENT)
    ]
    return min(lengths, key=lambda fl: _loss(weight, fl, bits, power))


def _loss(weight: np.ndarray, length: int, bits: int, power: int) -> float:
    most = (1 << (bits - 1)) - 1
    scale = 2.0**-length
    return float((np.abs(weight - np.rint(weight / scale).clip(-most, most) * scale) ** power).sum())
