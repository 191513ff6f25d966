"""BinaryEmbeddingBag: torch.nn.EmbeddingBag over the binarized rows, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netsuke import Error
from netsuke.nn import AdaBinWeight, BinaryEmbeddingBag, BiRealWeight, FloatWeight, SignWeight, XnorWeight

INDICES = torch.tensor([4, 0, 4, 9, 2, 2, 7, 1, 0, 5])
OFFSETS = torch.tensor([0, 0, 3, 4, 4])  # empty bags first, in the middle, and six indices last


def rounded(weight: Tensor) -> Tensor:
    """What the rows count as: sign times mean magnitude, of which a bfloat16 keeps 8 significant bits."""
    scale = weight.abs().mean(1, keepdim=True).to(torch.bfloat16).float()
    return torch.where(weight >= 0, scale, -scale)


def binary(mode: str, **options: Any) -> BinaryEmbeddingBag:
    torch.manual_seed(0)
    layer = BinaryEmbeddingBag(10, 7, mode=mode, **options)
    nn.init.uniform_(layer.weight, -0.9, 0.9)
    return layer


def both(mode: str, **options: Any) -> tuple[BinaryEmbeddingBag, nn.EmbeddingBag]:
    """A binary table, and a float one that holds what its rows count as."""
    layer = binary(mode, **options)
    return layer, nn.EmbeddingBag(10, 7, mode=mode, _weight=rounded(layer.weight.detach()), **options)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": 2}, {"include_last_offset": True}, {"sparse": True}], ids=str)
def test_forward_and_backward_are_those_of_a_table_of_the_binary_rows(mode: str, options: dict[str, Any]) -> None:
    layer, table = both(mode, **options)
    offsets = torch.cat([OFFSETS, torch.tensor([10])]) if "include_last_offset" in options else OFFSETS
    weight = torch.randn(5, 7)
    for module in (layer, table):
        result = module(INDICES, offsets)
        (result * weight).sum().backward()
    torch.testing.assert_close(layer(INDICES, offsets), table(INDICES, offsets), rtol=0, atol=0)
    made, expected = layer.weight.grad, table.weight.grad
    assert made is not None
    assert expected is not None
    assert made.is_sparse == ("sparse" in options)
    torch.testing.assert_close(made.to_dense(), expected.to_dense())  # BiRealWeight passes gradients, |w| being below 1


def test_indices_of_two_axes() -> None:
    layer, table = both("mean")
    indices = INDICES.view(5, 2)
    torch.testing.assert_close(layer(indices), table(indices), rtol=0, atol=0)


def test_per_sample_weights_and_their_gradient() -> None:
    layer, table = both("sum")
    gradients = []
    for module in (layer, table):
        factors = torch.linspace(-1, 2, 10).requires_grad_()
        (module(INDICES, OFFSETS, factors) * torch.arange(7.0)).sum().backward()
        gradients.append(factors.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    torch.testing.assert_close(layer.weight.grad, table.weight.grad)


def test_no_bag_asks_for_a_row() -> None:
    layer = binary("sum")
    assert not layer(INDICES[:0], torch.tensor([0, 0])).any()


def test_a_large_latent_weight_has_no_gradient() -> None:
    layer = binary("sum")
    with torch.no_grad():
        layer.weight[4, 0] = 1.5
    layer(INDICES, OFFSETS).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[4, 0] == 0
    assert layer.weight.grad[4, 1] == 2


def test_a_binarizer_that_clamps_its_weights_clamps_those_that_were_asked_for() -> None:
    layer = binary("sum", binary_w=SignWeight(bound=0.5))
    before = layer.weight.detach().clone()
    layer(torch.tensor([[3, 5]])).sum().backward()
    expected = before.clone()
    expected[[3, 5]] = before[[3, 5]].clamp(-0.5, 0.5)
    assert torch.equal(layer.weight.detach(), expected)
    assert not torch.equal(expected, before)
    layer.eval()
    with torch.inference_mode():
        layer(torch.arange(10).view(1, 10))
    assert torch.equal(layer.weight.detach(), expected)


@pytest.mark.parametrize("binarizer", [BiRealWeight(), SignWeight(), XnorWeight()], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.SparseAdam])
def test_it_learns_with_sparse_gradients(binarizer: nn.Module, optimizer: Any) -> None:
    """Each row is to take the signs of its target."""
    torch.manual_seed(0)
    layer = BinaryEmbeddingBag(50, 16, mode="sum", sparse=True, binary_w=binarizer)
    nn.init.uniform_(layer.weight, -0.1, 0.1)
    target = torch.randn(50, 16).sign()
    steps = optimizer(layer.parameters(), lr=0.02)
    for _ in range(40):
        rows = torch.randint(0, 50, (64, 1))
        loss = -(layer(rows) * target[rows[:, 0]]).sum()
        steps.zero_grad()
        loss.backward()
        steps.step()
    agree = (layer.eval().binarized(torch.arange(50)).sign() == target).float().mean()
    assert agree > 0.95


def test_from_float_takes_the_parameter_over() -> None:
    bag = nn.EmbeddingBag(10, 4, mode="sum", sparse=True, padding_idx=1).eval()
    layer = BinaryEmbeddingBag.from_float(bag)
    assert layer.weight is bag.weight
    assert (layer.mode, layer.sparse, layer.padding_idx, layer.training) == ("sum", True, 1, False)
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("options", [{"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"mode": "max"}], ids=str)
def test_what_a_binary_table_has_not_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Error, match="neither max_norm nor scale_grad_by_freq, and its mode is 'sum' or 'mean'"):
        BinaryEmbeddingBag(10, 4, **options)


def test_a_binarizer_with_a_centre_is_refused() -> None:
    with pytest.raises(Error, match="a row has one number"):
        BinaryEmbeddingBag(10, 4, binary_w=AdaBinWeight())


def test_float_rows_stay_what_they_are_but_for_their_rounding() -> None:
    layer = BinaryEmbeddingBag(10, 4, mode="sum", binary_w=FloatWeight(BiRealWeight()))
    expected = layer.weight.detach().bfloat16().float()
    assert torch.equal(layer(torch.arange(10).view(10, 1)).detach(), expected)
