"""What BNext's networks are made of (Guo et al. 2022): one binary convolution a unit, with a shortcut around it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.models.real_to_binary import RealToBinaryUnit
from netsuke.nn import (
    ActivationBinarizer,
    BinaryConv2d,
    InfoRecoupling,
    RSign,
    Sign,
    SignWeight,
    TemperatureWeight,
    WeightBinarizer,
    XnorWeight,
)  # fmt: skip

MODULES = ("info_rcp", "xnor", "real_to_binary")
INITIAL_STD = 0.001  # of the latent weights of info_rcp


@dataclass(frozen=True)
class Design:
    """Which units a network has.

    attention: element-wise attention in the units that have it. recoupling: Info-Recoupling. module: "info_rcp", whose
    switches these two are, or the older binary convolutions "xnor" and "real_to_binary" in plain residual units.
    binary: false for the float counterpart. hard_below: of `TemperatureWeight`.
    """

    attention: bool = True
    recoupling: bool = True
    module: str = "info_rcp"
    binary: bool = True
    hard_below: float = 1e-7

    def __post_init__(self) -> None:
        if self.module not in MODULES:
            raise Error(f"module is {self.module!r}: use one of {', '.join(MODULES)}")


def convolution(inputs: int, outputs: int, kernel: int, stride: int, design: Design) -> nn.Conv2d:
    """The convolution of a unit, with the binarizers of its design; zeros around the map keep its size."""
    if not design.binary:
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    activation: ActivationBinarizer = RSign(inputs) if design.module == "info_rcp" else Sign()
    weight: WeightBinarizer = TemperatureWeight(design.hard_below)
    if design.module != "info_rcp":
        weight = XnorWeight() if design.module == "xnor" else SignWeight()
    layer = BinaryConv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, binary_a=activation, binary_w=weight)
    if design.module == "info_rcp":
        nn.init.normal_(layer.weight, std=INITIAL_STD)
    else:
        nn.init.kaiming_normal_(layer.weight)
    return layer


def kept(module: nn.Module) -> nn.Module:
    """A module that the published networks hold and never run: here for their parameter counts and checkpoints."""
    return module.requires_grad_(False)


class InfoUnit(nn.Module):
    """The unit of module "info_rcp": y = prelu(norm(conv(x))), an RSign and temperature weights inside `conv`, then

        residual    norm_out(recouple(x, y)) + s           s = shortcut(x)
        attention   norm_out(recouple(x, y) * s) + s       s = shortcut(prelu_in(x))

    Without recoupling, recouple(x, y) = y, and the residual unit has no norm_out. recouple reads x as it is, or
    (mixes_shortcut) s. (N, inputs, H, W) -> (N, outputs, H / stride, W / stride), H and W multiples of the stride.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        design: Design,
        shortcut: nn.Module,
        attention: bool = False,
        mixes_shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.attention, self.mixes_shortcut = attention, mixes_shortcut
        self.shortcut = shortcut
        self.prelu_in = nn.PReLU(inputs) if attention else kept(nn.PReLU(inputs))
        self.conv = convolution(inputs, outputs, kernel, stride, design)
        self.norm = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.recouple = InfoRecoupling(outputs) if design.recoupling else None
        self.norm_out: nn.Module = nn.BatchNorm2d(outputs)
        if not attention and not design.recoupling:
            kept(self.norm_out)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(self.prelu_in(x) if self.attention else x)
        y = self.prelu(self.norm(self.conv(x)))
        if self.recouple is not None:
            y = self.recouple(shortcut if self.mixes_shortcut else x, y)
        if self.attention:
            y = y * shortcut
        if self.attention or self.recouple is not None:
            y = self.norm_out(y)
        return y + shortcut


class XnorUnit(nn.Module):
    """XNOR-Net's convolution (Rastegari et al. 2016, section 3.2) with a shortcut: conv(sign(norm(x))) + shortcut(x).

    conv, shortcut: (N, inputs, H, W) -> (N, outputs, H', W'), and so is the unit.
    """

    def __init__(self, inputs: int, conv: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x)) + self.shortcut(x)


def make_unit(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    design: Design,
    shortcut: nn.Module,
    attention: bool = False,
    mixes_shortcut: bool = False,
) -> nn.Module:
    """The unit that `design` asks for. attention: whether it is one of those with element-wise attention."""
    if design.module == "info_rcp":
        attention = attention and design.attention
        return InfoUnit(inputs, outputs, kernel, stride, design, shortcut, attention, mixes_shortcut)
    conv = convolution(inputs, outputs, kernel, stride, design)
    return (
        XnorUnit(inputs, conv, shortcut)
        if design.module == "xnor"
        else RealToBinaryUnit(inputs, outputs, conv, shortcut)
    )


def is_small_stem(stem: str, num_classes: int) -> bool:
    """Whether the stem keeps the size of the image, as for CIFAR: "auto" decides by the classes, as published."""
    if stem not in ("auto", "imagenet", "cifar"):
        raise Error(f"stem is {stem!r}: use auto, imagenet or cifar")
    return stem == "cifar" or (stem == "auto" and num_classes != 1000)
