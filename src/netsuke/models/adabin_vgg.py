"""AdaBin's VGG-small (Tu et al. 2022, section 4.1). No code of it is published; the layout is that of `vgg_small`."""

from __future__ import annotations

from torch import nn

from netsuke.models.vgg_small import WIDTHS, VGGSmall
from netsuke.nn import AdaBinActivation, BinaryConv2d, Maxout


def adabin_vgg_small(num_classes: int = 10, center: str = "published") -> nn.Module:
    """The first convolution and the linear layer float, the other five convolutions one-bit, Maxout for ReLU."""
    model = VGGSmall(num_classes)
    for i, width in enumerate(WIDTHS):
        setattr(model, f"nonlinear{i}", Maxout(width))
        if i > 0:
            conv = BinaryConv2d(WIDTHS[i - 1], width, 3, 1, 1, bias=False, binary_a=AdaBinActivation(center))
            setattr(model, f"conv{i}", conv)
    return model
