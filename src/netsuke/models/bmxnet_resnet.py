"""BMXNet's published ResNet-18 for ImageNet (Yang et al. 2017, "BMXNet: An Open-Source Binary Neural Network
Implementation Based on MXNet"), after the symbol graph beside its weights, whose names the modules have.

A pre-activation ResNet (He et al. 2016, "Identity Mappings in Deep Residual Networks") whose convolutions, those of the
shortcuts too, are binary, but for the first. No convolution has a scale: the residual stream is made of counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from netsuke.artifact.contract import Error
from netsuke.models import convolutions
from netsuke.models.convolutions import Convolution
from netsuke.models.renaming import Names, from_published, renamed
from netsuke.models.width import scaled
from netsuke.nn import BinaryConv2d, Sign, SignWeight

EPS = 2e-5
CHANNELS = 64

# What the arrays of a .params file are called, out of our names.
_NAMES: Names = (
    (r"\.binary\.weight$", ".weight"),
    (r"\.", "_"),
    (r"^(.*)_running_(mean|var)$", r"aux:\1_moving_\2"),
    (r"^(.*bn\d|bn_data)_weight$", r"arg:\1_gamma"),
    (r"^(.*bn\d|bn_data)_bias$", r"arg:\1_beta"),
    (r"^(.*_(?:weight|bias))$", r"arg:\1"),
)


class PopcountConv(nn.Module):
    """How many taps of a window agree with the weight, popcount(xnor) of their bits: y = (dot + K) / 2.

    dot is the convolution of the signs of the map and of the weight, K the taps of a window. BMXNet pads the map with
    zeros and then takes its signs: those taps are +1. (N, inputs, H, W) -> (N, outputs, H', W').
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.binary = BinaryConv2d(
            inputs, outputs, kernel, stride, padding, bias=False, padding_mode="ones", binary_a=Sign(),
            binary_w=SignWeight(),
        )  # fmt: skip
        self.taps = inputs * kernel * kernel

    def forward(self, x: Tensor) -> Tensor:
        return (self.binary(x) + self.taps) / 2


class Unit(nn.Module):
    """y = conv2(bn2(conv1(bn1(x)))) + x, or + sc(bn1(x)). The convolutions binarize what they read."""

    def __init__(self, convolve: Convolution, inputs: int, outputs: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, EPS)
        self.conv1 = convolve(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs, EPS)
        self.conv2 = convolve(outputs, outputs, 3)
        self.sc = convolve(inputs, outputs, 1, stride) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        activation = self.bn1(x)
        y = self.conv2(self.bn2(self.conv1(activation)))
        return y + (x if self.sc is None else self.sc(activation))


class BMXNetResNet(nn.Module):
    """The network with the convolutions that `convolve` makes: (N, 3, H, W) -> logits (N, num_classes).

    Its images are RGB, 0 to 255, less the mean of each channel. channels: of the stem and the first stage.
    """

    def __init__(self, convolve: Convolution, channels: int, num_classes: int) -> None:
        super().__init__()
        self.bn_data = nn.BatchNorm2d(3, EPS)
        self.bn_data.weight.requires_grad_(False)  # fix_gamma
        self.conv0 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn0 = nn.BatchNorm2d(channels, EPS)
        self.pooling0 = nn.MaxPool2d(3, 2, 1)
        self.stage1 = _stage(convolve, channels, channels, 1)
        self.stage2 = _stage(convolve, channels, 2 * channels, 2)
        self.stage3 = _stage(convolve, 2 * channels, 4 * channels, 2)
        self.stage4 = _stage(convolve, 4 * channels, 8 * channels, 2)
        self.bn1 = nn.BatchNorm2d(8 * channels, EPS)
        self.fc1 = nn.Linear(8 * channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pooling0(relu(self.bn0(self.conv0(self.bn_data(x)))))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.fc1(relu(self.bn1(x)).mean((2, 3)))


def _stage(convolve: Convolution, inputs: int, outputs: int, stride: int) -> nn.Module:
    first = Unit(convolve, inputs, outputs, stride, shortcut=True)
    return nn.Sequential(OrderedDict(unit1=first, unit2=Unit(convolve, outputs, outputs, 1, shortcut=False)))


class BMXNet(BMXNetResNet):
    """The binary network; its published file loads: the bits are the signs of the weights."""

    def from_published(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tensors = from_published(self, _NAMES, tensors)
        for name, layer in self.named_modules():
            packed = tensors.get(f"{name}.weight")
            if isinstance(layer, BinaryConv2d) and packed is not None and packed.dtype == torch.float64:
                tensors[f"{name}.weight"] = _unpack(name, packed, layer.weight.shape)
        if "bn_data.weight" in tensors:
            tensors["bn_data.weight"] = torch.ones_like(tensors["bn_data.weight"])  # fix_gamma: the file's is not used
        return tensors

    def to_published(self) -> dict[str, Tensor]:
        binary = {f"{name}.weight" for name, layer in self.named_modules() if isinstance(layer, BinaryConv2d)}
        return {
            renamed(name, _NAMES): _pack(tensor) if name in binary else tensor
            for name, tensor in self.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }


def _unpack(name: str, words: Tensor, shape: torch.Size) -> Tensor:
    """-1 and +1 of bits 0 and 1, the lowest first, in the order (O, C, kh, kw). words: 64 bits each, called float64."""
    bits = np.unpackbits(words.numpy().reshape(-1).view(np.uint8), bitorder="little")
    count = shape.numel()
    wanted = -(-count // 64)
    if words.numel() != wanted or bits[count:].any():
        raise Error(f"{name} has {words.numel()} words of bits: it wants {wanted}, with 0 behind the last weight")
    return torch.from_numpy(bits[:count].astype(np.float32) * 2 - 1).view(shape)


def _pack(weight: Tensor) -> Tensor:
    bits = (weight.detach().flatten() >= 0).numpy()
    packed = np.packbits(bits, bitorder="little")
    return torch.from_numpy(np.pad(packed, (0, -len(packed) % 8)).view(np.float64))


def bmxnet_resnet18_imagenet(binary: bool, num_classes: int = 1000, width: float = 1.0) -> nn.Module:
    """binary: false for the float counterpart, which has ReLU for the sign.

    width: times the published channels, to a multiple of 8.
    """
    make, convolve = (BMXNet, PopcountConv) if binary else (BMXNetResNet, convolutions.rectified)
    return make(convolve, scaled(CHANNELS, width), num_classes)
