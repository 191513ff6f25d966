"""Signs of weights, plain and with XNOR-Net's scale: values and gradients by hand."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from netsuke.lowering.freeze import freeze
from netsuke.nn import BinaryConv2d, Sign, SignWeight, XnorWeight


def test_plain_signs_by_hand() -> None:
    weight = torch.tensor([[-3.0, -0.5], [0.0, 2.0]], requires_grad=True)
    binarizer = SignWeight().eval()
    values = binarizer.values(weight)
    assert values.tolist() == [[-1, -1], [1, 1]]
    values.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0, 1], [1, 0]]
    binarizer.train()(weight)
    assert weight.tolist() == [[-1, -0.5], [0, 1]]


def test_a_wider_bound() -> None:
    weight = torch.tensor([[-3.0, -1.25, 1.5]], requires_grad=True)
    binarizer = SignWeight(1.3).eval()
    binarizer.values(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0, 1, 0]]
    binarizer.train()(weight)
    torch.testing.assert_close(weight.detach(), torch.tensor([[-1.3, -1.25, 1.3]]))


def test_xnor_by_hand() -> None:
    """One filter of 2 channels and 2 taps: n = 4, alpha = (1.5 + 0.5 + 0 + 2) / 4 = 1."""
    weight = torch.tensor([[[-1.5, 0.5], [0.0, 2.0]]], dtype=torch.float64, requires_grad=True)
    values = XnorWeight().eval().values(weight)
    assert values.tolist() == [[[-1, 1], [1, 1]]]
    values.backward(torch.tensor([[[1.0, 2.0], [4.0, 8.0]]], dtype=torch.float64))
    assert weight.grad is not None
    # (1/4 + alpha * [|w| < 1]) * (1 - 1/2)
    assert weight.grad.tolist() == [[[0.125, 1.25], [2.5, 1.0]]]


def test_xnor_training_centres_over_the_input_channels() -> None:
    weight = torch.tensor([[[3.0, 0.5], [0.0, 0.0]]], requires_grad=True)
    XnorWeight().train().values(weight)
    assert weight.tolist() == [[[1, 0.25], [-1, -0.25]]]


def test_a_layer_with_them_is_a_convolution_of_signs_and_exports_as_such() -> None:
    torch.manual_seed(0)
    conv = BinaryConv2d(4, 6, 3, 2, 1, bias=False, binary_a=Sign(), binary_w=XnorWeight()).eval()
    x = torch.randn(2, 4, 7, 7)
    weight = conv.weight.detach()
    scaled = torch.stack([w.sign() * w.abs().mean() for w in weight])
    torch.testing.assert_close(conv(x), F.conv2d(x.sign(), scaled, stride=2, padding=1))
    torch.testing.assert_close(freeze(conv)(x), conv(x))
