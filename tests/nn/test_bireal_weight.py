"""Bi-Real's weights: values and gradients by hand."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from netsuke.lowering.freeze import freeze
from netsuke.nn import ApproxSign, BinaryConv2d, BiRealWeight


def test_by_hand() -> None:
    """Two filters of two weights: mean |w| is 2 and 0.5; the gradient passes where |w| <= 1, without the scale."""
    weight = torch.tensor([[-3.0, 1.0], [0.0, -1.0]], dtype=torch.float64, requires_grad=True)
    values = BiRealWeight().values(weight)
    assert values.tolist() == [[-2, 2], [0.5, -0.5]]
    values.backward(torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=torch.float64))
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0, 2], [4, 8]]


def test_a_layer_with_them_is_a_convolution_of_signs_and_exports_as_such() -> None:
    torch.manual_seed(0)
    conv = BinaryConv2d(4, 6, 3, 2, 1, bias=False, binary_a=ApproxSign(), binary_w=BiRealWeight()).eval()
    x = torch.randn(2, 4, 7, 7)
    weight = conv.weight.detach()
    scaled = torch.stack([w.sign() * w.abs().mean() for w in weight])
    torch.testing.assert_close(conv(x), F.conv2d(x.sign(), scaled, stride=2, padding=1))
    torch.testing.assert_close(freeze(conv)(x), conv(x))
