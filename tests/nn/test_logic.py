"""Layers on maps of signs, by hand."""

from __future__ import annotations

import pytest
import torch

from netsuke import Error
from netsuke.nn import ChannelOrder, MultiSliceSign, Or, Xnor
from netsuke.nn.logic import shifts


def test_shifts() -> None:
    assert shifts(1) == [0]
    assert shifts(2) == [-0.5, 0.5]
    assert shifts(4) == [-2 / 3, -1 / 3, 1 / 3, 2 / 3]


@pytest.mark.parametrize("slices", [0, -2, 3, 2.0, True, "4"])
def test_other_numbers_of_slices_are_refused(slices: object) -> None:
    with pytest.raises(Error, match="even number"):
        MultiSliceSign(slices)  # type: ignore[arg-type]


def test_slices_lie_one_after_another() -> None:
    x = torch.tensor([-0.7, -0.5, 0.0, 0.5]).view(1, 4, 1, 1).requires_grad_()
    y = MultiSliceSign(4)(x)
    assert y.view(4, 4).tolist() == [[-1, -1, -1, -1], [-1, -1, -1, 1], [-1, -1, 1, 1], [-1, 1, 1, 1]]
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [2, 3, 4, 3]  # shifts that keep it inside [-1, 1]


def test_logic_and_its_gradients() -> None:
    x = torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(1, 4, 1, 1).requires_grad_()
    y = torch.tensor([-1.0, 1.0, -1.0, 1.0]).view(1, 4, 1, 1).requires_grad_()
    both = Or()(x, y)
    assert both.flatten().tolist() == [-1, 1, 1, 1]
    both.sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert x.grad.flatten().tolist() == y.grad.flatten().tolist() == [1, 1, 1, 0]
    assert Xnor()(x, y).flatten().tolist() == [1, -1, -1, 1]


def test_channels_in_another_order() -> None:
    x = torch.arange(4.0).view(1, 4, 1, 1)
    assert ChannelOrder(torch.tensor([[3, 0], [1, 1]]))(x).flatten().tolist() == [3, 0, 1, 1]
    assert ChannelOrder(torch.tensor([0])).state_dict() == {}
