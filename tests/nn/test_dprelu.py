"""PokeBNN's DPReLU: values and gradients by hand."""

from __future__ import annotations

import torch

from netsuke.nn import DPReLU


def test_by_hand() -> None:
    """One channel: slopes 1 and 0.25 around 1, 2 taken away."""
    layer = DPReLU(1).double()
    with torch.no_grad():
        layer.before.fill_(1)
        layer.after.fill_(2)
    x = torch.tensor([-3.0, 1.5], dtype=torch.float64).view(1, 1, 1, 2).requires_grad_()
    y = layer(x)
    assert y.flatten().tolist() == [-3, -1.5]
    y.backward(torch.tensor([2.0, 3.0], dtype=torch.float64).view_as(y))
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.5, 3]
    parameters = (layer.before, layer.after, layer.slopes.pos_scale, layer.slopes.neg_scale)
    assert [p.grad.flatten().tolist() for p in parameters if p.grad is not None] == [[-3.5], [-5], [1.5], [-8]]
