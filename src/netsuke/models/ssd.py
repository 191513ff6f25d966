"""SSD300 on VGG-16 (Liu et al. 2016): six maps of default boxes, from 38x38 places for small objects to 1x1.

AdaBin's form (Tu et al. 2022, section 4.3) is one-bit but for the first convolution and the heads. No code of it is
published; shortcuts go round the binary convolutions, as in Bi-Real Net and in BiDet's detectors, with which it is
compared (Wang et al. 2020, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.models.renaming import from_published, to_published
from netsuke.models.width import scaled
from netsuke.nn import AdaBinActivation, BinaryConv2d, Detector, L2Norm, Maxout

SIZE = 300
VOC_LABELS = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

# Of each source map, in pixels of the image: between two places, and the sides of its smaller and larger square.
STEPS = (8, 16, 32, 64, 100, 300)
SQUARES = ((30, 60), (60, 111), (111, 162), (162, 213), (213, 264), (264, 315))
RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))

# Places of the convolutions in the lists of ssd.pytorch, the PyTorch form of Caffe's SSD whose weights are in use.
_VGG = {
    "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv4_1": 17,
    "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26, "conv5_3": 28, "fc6": 31, "fc7": 33,
}  # fmt: skip
_EXTRAS = ("conv8_1", "conv8_2", "conv9_1", "conv9_2", "conv10_1", "conv10_2", "conv11_1", "conv11_2")
_NAMES = (
    *((rf"^{own}\.conv\.", f"vgg.{place}.") for own, place in _VGG.items()),
    *((rf"^{own}\.conv\.", f"extras.{place}.") for place, own in enumerate(_EXTRAS)),
    (r"^norm4_3\.", "L2Norm."),
    (r"^locations\.", "loc."),
    (r"^confidences\.", "conf."),
)

# A layer: (inputs, outputs, kernel, stride, padding, dilation) -> convolution to nonlinearity.
Layer = Callable[[int, int, int, int, int, int], nn.Module]


def shapes_of(smaller: int, larger: int, ratios: Sequence[int]) -> list[tuple[float, float]]:
    """Width and height of the default boxes at a place, relative to the image: the smaller square, the square between
    the two, and for each ratio a wide box and a tall one of the smaller square's area.
    """
    between = (smaller * larger) ** 0.5
    sides = [(smaller, smaller), (between, between)]
    for ratio in ratios:
        wide, narrow = smaller * ratio**0.5, smaller / ratio**0.5
        sides += [(wide, narrow), (narrow, wide)]
    return [(w / SIZE, h / SIZE) for w, h in sides]


class FloatLayer(nn.Module):
    """Convolution, batch norm if wanted, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, batch_norm: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=not batch_norm)
        self.bn = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()
        self.nonlinear = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.bn(self.conv(x)))


class FirstLayer(nn.Module):
    """Of the binary network: a float convolution, batch norm, Maxout."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.nonlinear = Maxout(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinear(self.bn(self.conv(x)))


class Doubled(nn.Module):
    """A shortcut to twice the channels: the average over each 2x2 pixels if stride is 2, twice."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.pool = pool if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return torch.cat([x, x], 1)


class BinaryLayer(nn.Module):
    """y = maxout(bn(conv(x)) + shortcut(x)); without the shortcut where no plain one fits."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, center: str
    ) -> None:
        super().__init__()
        self.conv = BinaryConv2d(
            inputs, outputs, kernel, stride, padding, dilation, bias=False, binary_a=AdaBinActivation(center)
        )
        self.bn = nn.BatchNorm2d(outputs)
        self.nonlinear = Maxout(outputs)
        self.shortcut: nn.Module | None = None
        if 2 * padding == dilation * (kernel - 1):  # the map keeps its size, or is halved
            if inputs == outputs and stride == 1:
                self.shortcut = nn.Identity()
            elif outputs == 2 * inputs:
                self.shortcut = Doubled(stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return self.nonlinear(y)


class SSD300(nn.Module):
    """Images (N, 3, 300, 300) -> what its `detector` makes of them (`netsuke.nn.Detector`).

    first: of the first layer, outputs -> layer. layer: of all others. width: times the published channels.
    """

    def __init__(self, labels: Sequence[str], width: float, first: Callable[[int], nn.Module], layer: Layer) -> None:
        super().__init__()
        base = scaled(64, width)

        def three(inputs: int, outputs: int) -> nn.Module:
            return layer(inputs * base, outputs * base, 3, 1, 1, 1)

        self.conv1_1, self.conv1_2 = first(base), three(1, 1)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2_1, self.conv2_2 = three(1, 2), three(2, 2)
        self.pool2 = nn.MaxPool2d(2)
        self.conv3_1, self.conv3_2, self.conv3_3 = three(2, 4), three(4, 4), three(4, 4)
        self.pool3 = nn.MaxPool2d(2, ceil_mode=True)
        self.conv4_1, self.conv4_2, self.conv4_3 = three(4, 8), three(8, 8), three(8, 8)
        self.norm4_3 = L2Norm(8 * base)
        self.pool4 = nn.MaxPool2d(2)
        self.conv5_1, self.conv5_2, self.conv5_3 = three(8, 8), three(8, 8), three(8, 8)
        self.pool5 = nn.MaxPool2d(3, 1, 1)
        self.fc6 = layer(8 * base, 16 * base, 3, 1, 6, 6)
        self.fc7 = layer(16 * base, 16 * base, 1, 1, 0, 1)
        self.conv8_1, self.conv8_2 = layer(16 * base, 4 * base, 1, 1, 0, 1), layer(4 * base, 8 * base, 3, 2, 1, 1)
        self.conv9_1, self.conv9_2 = layer(8 * base, 2 * base, 1, 1, 0, 1), layer(2 * base, 4 * base, 3, 2, 1, 1)
        self.conv10_1, self.conv10_2 = layer(4 * base, 2 * base, 1, 1, 0, 1), layer(2 * base, 4 * base, 3, 1, 0, 1)
        self.conv11_1, self.conv11_2 = layer(4 * base, 2 * base, 1, 1, 0, 1), layer(2 * base, 4 * base, 3, 1, 0, 1)

        shapes = [shapes_of(*squares, ratios) for squares, ratios in zip(SQUARES, RATIOS, strict=True)]
        self.detector = Detector(labels, shapes, [step / SIZE for step in STEPS])
        sources = [n * base for n in (8, 16, 8, 4, 4, 4)]
        self.locations = nn.ModuleList(_head(n, 4 * len(own)) for n, own in zip(sources, shapes, strict=True))
        self.confidences = nn.ModuleList(
            _head(n, self.detector.classes * len(own)) for n, own in zip(sources, shapes, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor] | Tensor:
        x = self.pool1(self.conv1_2(self.conv1_1(x)))
        x = self.pool2(self.conv2_2(self.conv2_1(x)))
        x = self.pool3(self.conv3_3(self.conv3_2(self.conv3_1(x))))
        x = self.conv4_3(self.conv4_2(self.conv4_1(x)))
        sources = [self.norm4_3(x)]
        x = self.conv5_3(self.conv5_2(self.conv5_1(self.pool4(x))))
        x = self.fc7(self.fc6(self.pool5(x)))
        sources.append(x)
        x = self.conv8_2(self.conv8_1(x))
        sources.append(x)
        x = self.conv9_2(self.conv9_1(x))
        sources.append(x)
        x = self.conv10_2(self.conv10_1(x))
        sources.append(x)
        sources.append(self.conv11_2(self.conv11_1(x)))
        maps = []
        for source, location, confidence in zip(sources, self.locations, self.confidences, strict=True):
            maps += [location(source), confidence(source)]
        return self.detector(maps)

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Under our names: a state dict of ssd.pytorch, whose images are RGB where Caffe's and ours are BGR; or VGG-16
        to start from (its ImageNet weights with fc6 and fc7 as convolutions, as SSD's authors publish them), beside
        which other layers stay as they are. Layers with batch norm have no biases, and leave VGG-16's out.
        """
        if "0.weight" not in tensors:
            theirs = "vgg.0.weight" in tensors
            tensors = from_published(self, _NAMES, tensors)
            return _first_reversed(tensors) if theirs else tensors
        own = self.state_dict()
        start = from_published(self, _NAMES, {f"vgg.{name}": tensor for name, tensor in tensors.items()})
        biases = {f"vgg.{place}.bias" for place in _VGG.values()}
        return {**own, **{name: tensor for name, tensor in start.items() if name in own or name not in biases}}

    def to_published(self) -> dict[str, Tensor]:
        """As ssd.pytorch loads it."""
        return to_published(self, _NAMES, columns=False, tensors=_first_reversed(self.state_dict()))


def _head(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _first_reversed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict for images whose channels come in the other order."""
    return {name: t.flip(1) if name == "conv1_1.conv.weight" else t for name, t in tensors.items()}


def _labels(num_classes: int, labels: Sequence[str] | None) -> Sequence[str]:
    """The names given, VOC's for its number of classes, or numbers."""
    if labels is None:
        return VOC_LABELS if num_classes == len(VOC_LABELS) else [f"class {i}" for i in range(num_classes)]
    if len(labels) != num_classes:
        raise Error(f"there are {len(labels)} labels for {num_classes} classes: give a name for each")
    return labels


def _initialise(model: SSD300, batch_norm: bool) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and not isinstance(layer, BinaryConv2d):
            is_head = layer in (*model.locations, *model.confidences)
            if batch_norm and not is_head:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def ssd300_vgg16(
    num_classes: int = 20, labels: Sequence[str] | None = None, width: float = 1.0, batch_norm: bool = False
) -> nn.Module:
    """num_classes: kinds of objects, without the background. labels: their names."""
    layer = partial(FloatLayer, batch_norm=batch_norm)
    model = SSD300(_labels(num_classes, labels), width, lambda outputs: layer(3, outputs, 3, 1, 1, 1), layer)
    _initialise(model, batch_norm)
    return model


def adabin_ssd300_vgg16(
    num_classes: int = 20, labels: Sequence[str] | None = None, width: float = 1.0, center: str = "published"
) -> nn.Module:
    """num_classes, labels: as of `ssd300_vgg16`. center: of the activations' binary sets, as of `adabin_resnet20`."""
    model = SSD300(_labels(num_classes, labels), width, FirstLayer, partial(BinaryLayer, center=center))
    _initialise(model, batch_norm=True)
    return model
