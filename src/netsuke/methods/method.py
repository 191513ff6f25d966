"""What `binarize` asks of a method: which layers it takes, and what it puts in their place."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import nn

from netsuke.nn import ActivationBinarizer, BinaryConv2d, BinaryLinear, WeightBinarizer

MIN_WEIGHTS = 16  # a filter's weights: with fewer, its float scales cost as much as its bits save


@dataclass(frozen=True)
class Method:
    """A published way to binarize. Subclasses say which binarizers and which nonlinearity it uses.

    name: as in `netsuke.binarize(method=...)`. paper: authors, year, title.
    """

    name: str
    paper: str

    def activation(self) -> ActivationBinarizer:
        raise NotImplementedError(f"{self.name} does not say how it binarizes an activation")

    def weight(self) -> WeightBinarizer:
        raise NotImplementedError(f"{self.name} does not say how it binarizes a weight")

    def nonlinearity(self, channels: int) -> nn.Module:
        """The two-sided module that replaces a ReLU which feeds only binarized layers."""
        raise NotImplementedError(f"{self.name} does not say what replaces a ReLU")

    def why_not(self, layer: nn.Module) -> str:
        """Why `layer` stays float, or an empty string."""
        if isinstance(layer, (BinaryConv2d, BinaryLinear)):
            return "already binary"
        if type(layer) not in (nn.Conv2d, nn.Linear):
            return f"a {type(layer).__name__}: only Conv2d and Linear themselves are binarized"
        assert isinstance(layer, (nn.Conv2d, nn.Linear))
        if isinstance(layer, nn.Conv2d):
            if layer.groups > 1 and layer.in_channels == layer.groups:
                return "depthwise: a filter sees one channel"
            if layer.padding_mode not in ("zeros", "replicate"):
                return f"padding_mode={layer.padding_mode!r} cannot be exported"
            if layer.kernel_size == (1, 1) and max(layer.stride) > 1:
                return "a downsampling 1x1 shortcut"
        if prod(layer.weight.shape[1:]) < MIN_WEIGHTS:
            return f"tiny: {prod(layer.weight.shape[1:])} weights a filter"
        return ""

    def convert(self, layer: nn.Conv2d | nn.Linear) -> BinaryConv2d | BinaryLinear:
        """The layer in its binary form, with the same parameters and the method's binarizers."""
        if isinstance(layer, nn.Conv2d):
            return BinaryConv2d.from_float(layer, self.activation(), self.weight())
        return BinaryLinear.from_float(layer, self.activation(), self.weight())
