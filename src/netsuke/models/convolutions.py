"""The convolutions that binary networks are built of: who makes a network says which kind it has."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from netsuke.nn import ActivationBinarizer, AdaBinActivation, AdaBinWeight, BinaryConv2d, WeightBinarizer


class Convolution(Protocol):
    """Makes a convolution without bias, its binarizer or nonlinearity in front: (N, inputs, H, W) -> (N, outputs, ...).

    padding: zeros around the map; kernel // 2 when not given, which keeps the size at stride 1.
    """

    def __call__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None
    ) -> nn.Module: ...


def plain(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """The float counterpart in networks that have a nonlinearity besides the sign."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding, bias=False)


def rectified(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """The float counterpart in networks whose only nonlinearity is the sign: ReLU takes its place."""
    return nn.Sequential(nn.ReLU(), plain(inputs, outputs, kernel, stride, padding))


def binary(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int | None,
    activation: ActivationBinarizer,
    weight: WeightBinarizer,
) -> BinaryConv2d:
    """The binary convolution with these binarizers."""
    padding = kernel // 2 if padding is None else padding
    return BinaryConv2d(inputs, outputs, kernel, stride, padding, bias=False, binary_a=activation, binary_w=weight)


def adabin(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int | None = None) -> nn.Module:
    """AdaBin's (Tu et al. 2022), its sets centred as in the published code."""
    return binary(inputs, outputs, kernel, stride, padding, AdaBinActivation("published"), AdaBinWeight())
