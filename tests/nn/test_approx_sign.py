"""Bi-Real's and ReActNet's sign: values, gradients and exported constants, by hand."""

from __future__ import annotations

import pytest
import torch

from netsuke import Error
from netsuke.lowering.ops import activation_signs
from netsuke.nn import ApproxRSign, ApproxSign


def test_approx_sign_by_hand() -> None:
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    y = ApproxSign()(x)
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    y.backward(torch.arange(1, 8, dtype=torch.float64))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 3 * 1, 4 * 2, 5 * 1.5, 0, 0]  # 2 - 2|x|
    assert ApproxSign().constants() == (torch.zeros(1), 1, 0)


def test_approx_rsign_by_hand() -> None:
    """Two channels with biases 0.5 and -1, one image of two pixels."""
    layer = ApproxRSign(2).double()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, -1.0]).view(1, 2, 1, 1))
    x = torch.tensor([[[[-0.5, 1.25]], [[0.75, 1.5]]]], dtype=torch.float64, requires_grad=True)
    y = layer(x)  # x + b: 0, 1.75 and -0.25, 0.5
    assert y.flatten().tolist() == [1, 1, -1, 1]
    y.backward(torch.tensor([2.0, 3.0, 5.0, 7.0], dtype=torch.float64).view_as(y))
    assert x.grad is not None
    assert layer.bias.grad is not None
    assert x.grad.flatten().tolist() == [2 * 2, 0, 5 * 1.5, 7 * 1]
    assert layer.bias.grad.flatten().tolist() == [4, 14.5]
    assert layer.bias.grad.shape == layer.bias.shape == (1, 2, 1, 1)


def test_the_exported_threshold_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    layer = ApproxRSign(64)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(8, 64, 5, 5)
    x[:, :, 0, 0] = -layer.bias.detach().view(1, 64)  # on the threshold: sign(0) = +1
    threshold, alpha, gamma = layer.constants()
    assert (alpha, gamma, threshold.shape) == (1, 0, (64,))
    assert torch.equal(activation_signs(x, threshold, alpha), layer(x))
    with torch.no_grad():
        layer.bias[0, 1] = float("nan")
    with pytest.raises(Error, match="not finite"):
        layer.constants()
