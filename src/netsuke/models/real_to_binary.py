"""Real-to-Binary Net on ResNet-18 (Martinez et al. 2020, "Training Binary Neural Networks with Real-to-Binary
Convolutions"), as Larq's zoo builds it; the authors' code was not read. Stem, gates, 1x1 shortcuts and classifier are
float.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.models import convolutions
from netsuke.models.adabin_resnet import pool_shortcut
from netsuke.models.binary_resnet import BinaryResNet
from netsuke.models.convolutions import Convolution
from netsuke.models.width import scaled
from netsuke.nn import ActivationBinarizer, ActivationSet, ChannelGate, FloatWeight, Sign, SignWeight, WeightBinarizer


class Tanh(ActivationBinarizer):
    """tanh(x), which the first stage has where the sign will be: no binary set, so that export refuses it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()

    def constants(self) -> ActivationSet:
        raise Error("its activations are tanh(x), as in stage 1 of 3: export what stage 3 has made")


def convolution(
    stage: int, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None
) -> nn.Module:
    """conv(sign(x), sign(w)) in stage 3, conv(sign(x), w) in stage 2, conv(tanh(x), w) in stage 1."""
    activation: ActivationBinarizer = Tanh() if stage == 1 else Sign()
    weight: WeightBinarizer = SignWeight() if stage == 3 else FloatWeight(SignWeight())
    layer = convolutions.binary(inputs, outputs, kernel, stride, padding, activation, weight)
    nn.init.xavier_normal_(layer.weight)
    return layer


class RealToBinaryUnit(nn.Module):
    """The convolution of section 4.3, z = norm(x), with a shortcut:

        prelu(conv(sign(z)) * gate(mean of z)) + shortcut(x)

    The gate has no biases. conv, shortcut: (N, inputs, H, W) -> (N, outputs, H', W'), and so is the unit.
    """

    def __init__(self, inputs: int, outputs: int, conv: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = conv
        self.gate = ChannelGate(inputs, outputs, bias=False)
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(x)
        return self.prelu(self.conv(z) * self.gate(z.mean((2, 3), keepdim=True))) + self.shortcut(x)


def real_to_binary_resnet18(binary: bool, num_classes: int = 1000, width: float = 1.0, stage: int = 3) -> nn.Module:
    """Sixteen units. binary: false for the float counterpart. width: times the channels, to a multiple of 8.

    stage: 3 for the binary network; 1 and 2 for what is trained before it and teaches it, with float weights and tanh
    or signs of activations. All three have the same parameters: each takes the weights of the one before. Raises
    netsuke.Error for another stage.
    """
    if stage not in (1, 2, 3):
        raise Error(f"stage is {stage!r}: 1 (tanh), 2 (binary activations) or 3 (binary weights too)")
    convolve: Convolution = partial(convolution, stage) if binary else convolutions.plain

    def unit(inputs: int, outputs: int, stride: int) -> nn.Module:
        conv = convolve(inputs, outputs, 3, stride)
        return RealToBinaryUnit(inputs, outputs, conv, pool_shortcut(inputs, outputs, stride))

    channels = scaled(64, width)
    return BinaryResNet(unit, [4, 4, 4, 4], channels, num_classes, nonlinearity=nn.PReLU(channels))
