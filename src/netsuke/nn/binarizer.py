"""What a binary layer asks of its binarizers. A new method supplies two modules with these faces; the layers stay."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class WeightSet(NamedTuple):
    """w = alpha * sign + beta. sign has the weight's shape (O, ...), each -1 or +1; alpha and beta have shape (O,)."""

    sign: Tensor
    alpha: Tensor
    beta: Tensor


class ActivationSet(NamedTuple):
    """a = alpha * s + gamma, with s = +1 iff (x - threshold) / alpha >= 0, else -1.

    threshold: shape (1,), or (C,) for one a channel. alpha is not 0; where it is negative, s = +1 iff x <= threshold.
    """

    threshold: Tensor
    alpha: float
    gamma: float


class WeightBinarizer(nn.Module):
    """weight (O, ...) -> WeightSet. Gradients reach the latent weight through all three tensors."""

    def forward(self, weight: Tensor) -> WeightSet:
        raise NotImplementedError(f"{type(self).__name__} does not say how it binarizes a weight")

    def values(self, weight: Tensor) -> Tensor:
        """The weight that a layer computes with, alpha * sign + beta, of the shape of `weight`."""
        binary = self(weight)
        per_filter = (-1,) + (1,) * (weight.dim() - 1)
        return binary.alpha.view(per_filter) * binary.sign + binary.beta.view(per_filter)

    def unfinished(self) -> str:
        """Why some signs are not -1 or +1, and what to do: for binarizers that need time to become binary."""
        return "its binarizer must make them so"

    def set_progress(self, progress: float) -> None:
        """How far training is, 0 to 1: estimators that sharpen over time follow it; the others ignore it."""


class ActivationBinarizer(nn.Module):
    """x (N, C, ...) -> the binarized activation, of the same shape, each element one of two values."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} does not say how it binarizes an activation")

    def constants(self) -> ActivationSet:
        """The numbers that inference needs. Raises netsuke.Error where they describe no binary set."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its binary set is")

    def one(self) -> Tensor | float:
        """What s = +1 stands for, alpha + gamma: the padding of a layer with padding_mode="ones"."""
        binary = self.constants()
        return binary.alpha + binary.gamma

    def calibrate(self, x: Tensor) -> None:
        """Start the binary set from data: x is an input (N, C, ...) of the layer. Nothing by default."""

    def set_progress(self, progress: float) -> None:
        """As for WeightBinarizer."""
