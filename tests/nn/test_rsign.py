"""Signs of activations: values, gradients and exported constants, by hand."""

from __future__ import annotations

import pytest
import torch

from netsuke import Error
from netsuke.lowering.ops import activation_signs
from netsuke.nn import RSign, Sign, sign_clipped


def test_sign_clipped_by_hand() -> None:
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    y = sign_clipped(x, 1.0)
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    y.backward(torch.arange(1, 8, dtype=torch.float64))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_rsign_by_hand() -> None:
    """Two channels with biases 0.5 and -1, one image of two pixels; the estimator is 1 where |x + b| <= 1.5."""
    layer = RSign(2).double()
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, -1.0]).view(1, 2, 1, 1))
    x = torch.tensor([[[[-0.5, 1.25]], [[0.75, 2.5]]]], dtype=torch.float64, requires_grad=True)
    y = layer(x)  # x + b: 0, 1.75 and -0.25, 1.5
    assert y.flatten().tolist() == [1, 1, -1, 1]
    y.backward(torch.tensor([2.0, 3.0, 5.0, 7.0], dtype=torch.float64).view_as(y))
    assert x.grad is not None
    assert layer.bias.grad is not None
    assert x.grad.flatten().tolist() == [2, 0, 5, 7]
    assert layer.bias.grad.flatten().tolist() == [2, 12]
    assert layer.bias.grad.shape == layer.bias.shape == (1, 2, 1, 1)


def test_a_frozen_bias_costs_no_gradient() -> None:
    layer = RSign(3).requires_grad_(False)
    x = torch.randn(2, 3, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.bias.grad is None


def test_the_exported_threshold_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    layer = RSign(64)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(8, 64, 5, 5)
    x[:, :, 0, 0] = -layer.bias.detach().view(1, 64)  # on the threshold: sign(0) = +1
    x[:, :, 0, 1] = torch.nextafter(x[:, :, 0, 0], torch.tensor(-9.0))
    threshold, alpha, gamma = layer.constants()
    assert (alpha, gamma, threshold.shape) == (1, 0, (64,))
    assert torch.equal(activation_signs(x, threshold, alpha), layer(x))
    assert bool((layer(x)[:, :, 0, 0] == 1).all())
    assert bool((layer(x)[:, :, 0, 1] == -1).all())
    assert torch.equal(activation_signs(x, *Sign().constants()[:2]), Sign()(x))


def test_a_bias_that_is_not_finite_is_refused() -> None:
    layer = RSign(2)
    with torch.no_grad():
        layer.bias[0, 1] = float("nan")
    with pytest.raises(Error, match="not finite"):
        layer.constants()
