"""The graph of a compressed network: what a `.netsuke` file holds, as plain data with numpy arrays.

A graph is a list of nodes in running order. A node *produces* one float32 map, channel by channel, and then runs
its `epilogue` over it: steps in order, on the value y. `Store`, `Binarize`, `Quantize` and `Mean` do not change y, they
write a new value. Values are numbered: 0 is the normalised input; each writing step, in order, makes the next
number. A value is float32, bits or uint8, has a shape (C, H, W), and every node reads only values made before it.

The meaning of every operator is defined in docs/format.md and by `artifact/reference.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


# ------------------------------------------------------------------------------------------- epilogue steps
# Per-channel arrays are float32 of shape (C,), C the channels of the node's result.
@dataclass
class Affine:
    """y = fma(y, scale, shift)"""

    scale: np.ndarray
    shift: np.ndarray


@dataclass
class Add:
    """y = y + value"""

    value: int


@dataclass
class Multiply:
    """y = y * value. The value has the shape of the result, or (C, 1, 1): one factor a channel, such as a gate."""

    value: int


@dataclass
class Sigmoid:
    """y = 1 / (1 + exp(-y)), as docs/format.md defines it to the last bit."""


@dataclass
class TwoSlope:
    """y = y * positive if y >= 0 else y * negative. ReLU, PReLU and AdaBin's Maxout are all this."""

    positive: np.ndarray
    negative: np.ndarray


@dataclass
class Clamp:
    """y = min(max(y, low), high)"""

    low: np.ndarray
    high: np.ndarray


@dataclass
class Binarize:
    """bit = (y >= threshold), or with `flip` (y <= threshold). `threshold` is float32 of shape (1,) or (C,)."""

    threshold: np.ndarray
    flip: bool
    out: int


@dataclass
class Quantize:
    """q = round(clip(fma(y, multiplier, zero), 0, 2^bits - 1)), uint8; it stands for (q - zero) / multiplier."""

    multiplier: float
    zero: int
    out: int
    bits: int = 8  # or 4


@dataclass
class Store:
    """Write y as a float32 value."""

    out: int


@dataclass
class Mean:
    """Write the mean of every channel over the whole map: a float32 value of shape (C, 1, 1)."""

    out: int


@dataclass
class ToFixed:
    """Write y in fixed point: uint8 codes; q stands for (q - zero) * scale, and scale is a power of two.

    Of a float y, q = round(clip(fma(y, 1 / scale, zero), 0, 2^bits - 1)); an integer y is shifted, rounded to nearest
    even.
    """

    scale: float
    zero: int
    out: int
    bits: int = 8  # or 4


Read = Add | Multiply  # the steps that read another value
Write = Binarize | Quantize | ToFixed | Store | Mean  # the steps that make a value
Step = Affine | Read | TwoSlope | Sigmoid | Clamp | Write


# ------------------------------------------------------------------------------------------- nodes
@dataclass
class Node:
    name: str
    inputs: list[int]
    epilogue: list[Step] = field(default_factory=list)


@dataclass
class Conv2d(Node):
    """Float convolution. A linear layer is the convolution whose kernel is the whole map.

    weight: float32 (O, kh, kw, C / groups). bias: float32 (O,). padding: (top, left, bottom, right).
    weight_scale: float32 (O,), which the weights of an output are multiplied by before anything else; None for ones.
    It keeps weights of few values such where batch norm is folded into them.
    """

    weight: np.ndarray = field(kw_only=True)
    bias: np.ndarray = field(kw_only=True)
    weight_scale: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def scaled_weight(self) -> np.ndarray:
        """weight * weight_scale, each product rounded once."""
        return self.weight if self.weight_scale is None else self.weight * self.weight_scale[:, None, None, None]


PADDING_MODES = ("zeros", "ones", "replicate")


@dataclass
class BinaryConv2d(Node):
    """Convolution of bits (contract.py, "One bit"). Its input is a bits value.

    weight: int8 (O, kh, kw, C / groups), each -1 or +1. alpha_w, beta_w, bias: float32 (O,).
    alpha_a, gamma: the two numbers of the activation's binary set, a = alpha_a * s_a + gamma.
    padding_mode: what a tap outside the image sees. "zeros": nothing, the real number 0; "ones": s_a = +1;
    "replicate": the nearest pixel of the image.
    """

    weight: np.ndarray = field(kw_only=True)
    alpha_w: np.ndarray = field(kw_only=True)
    beta_w: np.ndarray = field(kw_only=True)
    bias: np.ndarray = field(kw_only=True)
    alpha_a: float = field(kw_only=True)
    gamma: float = field(kw_only=True)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    padding_mode: str = "zeros"
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass
class Int8Conv2d(Node):
    """Convolution of 8-bit numbers. Its input is a uint8 value q, which stands for activation_scale * (q - zero).

    weight: int8 (O, kh, kw, C / groups), standing for weight_scale * weight; -127 to 127, or where they are stored in
    4 bits, -7 to 7. weight_scale, bias: float32 (O,).
    """

    weight: np.ndarray = field(kw_only=True)
    weight_scale: np.ndarray = field(kw_only=True)
    bias: np.ndarray = field(kw_only=True)
    activation_scale: float = field(kw_only=True)
    zero: int = field(kw_only=True)
    bits: int = 8  # of a weight; or 4
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


# Nodes over fixed-point values, in 32-bit integers. y stands for y * Y, Y being a power of two for each channel. Their
# steps are Add (of a fixed-point value), Clamp, Store and ToFixed.
@dataclass
class FixedConv2d(Node):
    """Convolution in integers. Its input is a fixed-point value of the scale s.

    weight: int8 (O, kh, kw, C / groups), standing for weight_scale * weight; -127 to 127, or where they are stored in
    4 bits, -7 to 7. weight_scale: float32 (O,) or (1,), powers of two; Y = s * weight_scale. bias: float32 (O,), which
    is rounded to a whole number of Y.
    """

    weight: np.ndarray = field(kw_only=True)
    weight_scale: np.ndarray = field(kw_only=True)
    bias: np.ndarray = field(kw_only=True)
    bits: int = 8  # of a weight; or 4
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


Convolution = Conv2d | BinaryConv2d | Int8Conv2d | FixedConv2d


@dataclass
class MaxPool(Node):
    """Maximum over the taps inside the image."""

    kernel: tuple[int, int] = field(kw_only=True)
    stride: tuple[int, int] = field(kw_only=True)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass
class AveragePool(Node):
    """Sum over the taps inside the image, divided by their number ("inside") or by kh * kw ("window")."""

    kernel: tuple[int, int] = field(kw_only=True)
    stride: tuple[int, int] = field(kw_only=True)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    divisor: str = "inside"


@dataclass
class FixedMaxPool(Node):
    """Maximum over the taps inside the image. Y is the input's scale."""

    kernel: tuple[int, int] = field(kw_only=True)
    stride: tuple[int, int] = field(kw_only=True)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass
class FixedAveragePool(Node):
    """Mean over kh * kw taps, those outside the image being 0."""

    kernel: tuple[int, int] = field(kw_only=True)
    stride: tuple[int, int] = field(kw_only=True)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def multiplier(self) -> tuple[int, int]:
        """M, n: the mean is M * sum / 2^n. M is 1 where kh * kw is a power of two."""
        taps = self.kernel[0] * self.kernel[1]
        if taps & (taps - 1) == 0:
            return 1, taps.bit_length() - 1
        return (2 * (1 << AVERAGE_BITS) + taps) // (2 * taps), AVERAGE_BITS


AVERAGE_BITS = 22


@dataclass
class FixedCopy(Node):
    """Inputs one after another along the channels, zero channels around them. Y is the least of their scales."""

    before: int = 0
    after: int = 0


FixedNode = FixedConv2d | FixedMaxPool | FixedAveragePool | FixedCopy


@dataclass
class Normalize(Node):
    """y = x / sqrt(eps + the sum over the channels of x^2), pixel by pixel (Liu, Rabinovich and Berg 2015, "ParseNet",
    section 3.3; Caffe's Normalize). The scale of a channel that follows it there is an `Affine`.
    """

    eps: float = field(kw_only=True)


@dataclass
class PadChannels(Node):
    """Zero channels put before and after the input's."""

    before: int = 0
    after: int = 0


@dataclass
class Concat(Node):
    """Inputs one after another along the channels."""


@dataclass
class Gather(Node):
    """Channels of the inputs, which are bits or float32, all alike, one after another. Bits are numbers -1 and +1.

    pieces: (count, first, ...): channels first, ... of the inputs' channels, then the ones behind each of them, `count`
    times. One first is a run of channels, several are as many runs in turn: a channel shuffle.
    """

    pieces: list[tuple[int, ...]] = field(kw_only=True)

    @property
    def index(self) -> np.ndarray:
        """The number of every channel, counted through the inputs."""
        return np.concatenate([np.add.outer(np.arange(count), firsts).reshape(-1) for count, *firsts in self.pieces])


@dataclass
class Logic(Node):
    """Of two bits values of one shape: "xnor" is +1 where they are equal, "or" where one of them is, else -1."""

    kind: str = field(kw_only=True)


@dataclass
class Identity(Node):
    """The input itself: carries an epilogue that no other node could take."""


@dataclass
class Detect(Node):
    """Boxes of an SSD's maps (Liu et al. 2016, "SSD: Single Shot MultiBox Detector", section 2): softmax, default
    boxes, and greedy suppression of the boxes of a class that overlap (non-maximum suppression).

    Inputs: for each of M maps its locations (A * 4, H, W), then its logits (A * classes, H, W), A being the map's
    default boxes at a pixel; channel a * 4 + coordinate (cx, cy, w, h) and a * classes + class; class 0 is the
    background. Result (keep, 6, 1): x1, y1, x2, y2, score, label by row, best first. Coordinates are relative to the
    image; label i is labels[i]; unused rows are 0, 0, 0, 0, 0, -1.

    shapes: for each map the widths and heights of its default boxes, float32 (A, 2); steps: what a pixel of each map is
    wide and high, float32 (2,); all relative to the image. variances: float32 (2,), which the locations are multiplied
    by: of centres, of sizes. A box counts where its score is above `score_threshold`; of a class the best `candidates`
    are taken, of those no two kept overlap (intersection over union) by more than `iou_threshold`, and of all
    classes the best `keep` are rows.
    """

    labels: list[str] = field(kw_only=True)
    shapes: list[np.ndarray] = field(kw_only=True)
    steps: list[np.ndarray] = field(kw_only=True)
    variances: np.ndarray = field(kw_only=True)
    score_threshold: float = field(kw_only=True)
    iou_threshold: float = field(kw_only=True)
    candidates: int = field(kw_only=True)
    keep: int = field(kw_only=True)

    @property
    def classes(self) -> int:
        """With the background."""
        return len(self.labels) + 1


# ------------------------------------------------------------------------------------------- the graph
@dataclass
class InputTransform:
    """How an 8-bit image becomes the network's input; stored in the file.

    uint8 input of shape (N, C, H, W), channels in RGB order, becomes x = fma(u, scale, shift) per channel, after the
    channels are reversed if `order` is "BGR" (scale and shift are in the network's order). float32 input is taken
    as transformed already. resize: shorter side in pixels, or with the fit "stretch" both sides, 0 for none; crop: side
    of the centre crop, 0 for none; all three are for whoever reads the image. scale, shift: float32 of shape (C,).
    """

    scale: np.ndarray
    shift: np.ndarray
    order: str = "RGB"  # or "BGR"
    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"  # or "bicubic"
    fit: str = "shorter"  # or "stretch"


@dataclass
class Output:
    value: int
    rank: int  # 4: (N, C, H, W); 3: (N, C, H), of a value whose W is 1; 2: (N, C * H * W), flattened in that order

    def shape_of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """What it shows of a value (C, H, W), the batch left out."""
        channels, height, width = shape
        return {4: (channels, height, width), 3: (channels, height), 2: (channels * height * width,)}[self.rank]


@dataclass
class Graph:
    """model: its name. input_shape: (C, H, W). transform: None when the file takes float32 input only."""

    model: str
    input_shape: tuple[int, int, int]
    nodes: list[Node]
    outputs: list[Output]
    transform: InputTransform | None = None
