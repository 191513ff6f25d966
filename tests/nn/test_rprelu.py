"""ReActNet's RPReLU: values and gradients by hand."""

from __future__ import annotations

import torch

from netsuke.nn import RPReLU


def test_by_hand() -> None:
    """One channel: y = prelu(x + 1) - 2, with slope 0.25 below."""
    layer = RPReLU(1).double()
    with torch.no_grad():
        layer.before.fill_(1)
        layer.after.fill_(-2)
    x = torch.tensor([-5.0, 0.5], dtype=torch.float64).view(1, 1, 1, 2).requires_grad_()
    y = layer(x)
    assert y.flatten().tolist() == [-3, -0.5]
    y.backward(torch.tensor([2.0, 3.0], dtype=torch.float64).view_as(y))
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.5, 3]
    gradients = [
        p.grad.flatten().tolist() for p in (layer.before, layer.prelu.weight, layer.after) if p.grad is not None
    ]
    assert gradients == [[3.5], [2 * -4], [5]]
