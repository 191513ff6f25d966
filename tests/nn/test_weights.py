"""Pruned, shared and levelled weights: what holds in any training loop, and what a plain module keeps of them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsuke import Error
from netsuke.nn import Levels, Masked, Shared, bake, count_levels, rate
from netsuke.nn.weights import sites


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def layer_with(form: nn.Module, unsafe: bool = False) -> nn.Linear:
    layer = nn.Linear(6, 4)
    parametrize.register_parametrization(layer, "weight", form, unsafe=unsafe)
    return layer


def steps(layer: nn.Module, optimizer: torch.optim.Optimizer, count: int = 3) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        layer(torch.randn(5, 6)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, 0.1, momentum=0.9, weight_decay=0.1),
    ],
)
def test_a_mask_holds_through_any_optimizer(optimizer: object) -> None:
    mask = torch.rand(4, 6) < 0.5
    layer = layer_with(Masked(mask))
    start = layer.weight.detach().clone()
    steps(layer, optimizer(layer.parameters()))  # type: ignore[operator]
    assert bool((layer.weight[~mask] == 0).all())
    assert not bool(layer.weight.signbit()[~mask].any())
    assert bool((layer.weight[mask] != start[mask]).all())
    again = layer_with(Masked(torch.ones(4, 6)))
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.weight, layer.weight)


def test_shared_weights_have_the_summed_gradient_of_their_number() -> None:
    index = torch.randint(0, 4, (4, 6))
    layer = layer_with(Shared(index), unsafe=True)
    weight = layer.weight.detach()
    assert bool((weight[index == 0] == 0).all())
    x, target = torch.randn(5, 6), torch.randn(5, 4)
    plain = copy.deepcopy(nn.Linear(6, 4))
    with torch.no_grad():
        plain.weight.copy_(weight)
        plain.bias.copy_(layer.bias)
    for m in (layer, plain):
        (m(x) - target).square().sum().backward()
    numbers = next(sites(layer)).original
    assert numbers.shape == (3,)
    expected = torch.stack([plain.weight.grad[index == i].sum() for i in (1, 2, 3)])  # type: ignore[index]
    torch.testing.assert_close(numbers.grad, expected)


def test_shared_weights_start_at_the_mean_of_those_that_share() -> None:
    layer, index = nn.Linear(6, 4), torch.randint(0, 3, (4, 6))
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Shared(index), unsafe=True)
    for i in (1, 2):
        torch.testing.assert_close(layer.weight[index == i].mean(), before[index == i].mean())
    with pytest.raises(Error, match="below 0"):
        Shared(index - 1)


def test_levels_are_the_nearest_points_of_the_grid() -> None:
    form = Levels(torch.Size([4, 6]), 0.1, most=3)
    weight = torch.tensor([0.04, -0.04, 0.06, 0.149, -0.16, 9.0, -9.0])
    made = form(weight)
    torch.testing.assert_close(made, torch.tensor([0.0, 0.0, 0.1, 0.1, -0.2, 0.3, -0.3]))
    assert not bool(made.signbit()[:2].any())
    with pytest.raises(Error, match="step above 0"):
        Levels(torch.Size([4, 6]), 0.0)


def entropy_code(levels: Tensor) -> float:
    """Bits of an ideal code of the levels by their frequencies."""
    _, counts = levels.unique(return_counts=True)
    return float(-(counts * (counts / counts.sum()).log2()).sum())


def test_the_rate_is_about_what_a_code_takes_and_falls_as_weights_go_to_zero() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(60, 50)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(50, 60) * (torch.rand(50, 60) < 0.2))
    parametrize.register_parametrization(layer, "weight", Levels(layer.weight.shape, 0.5))
    count_levels(layer)
    site = next(sites(layer))
    bits = rate(layer)
    assert bits is not None
    with torch.no_grad():
        on_grid = site.form.rate(layer.weight)
    assert 0.9 < float(on_grid) / entropy_code(site.form.levels(site.original)) < 1.15
    bits.backward()
    kept = site.original.detach().abs() > 0.01
    assert bool((site.original.grad * site.original)[kept].gt(0).all())  # descent takes every weight towards 0
    smaller = site.form.rate(site.original.detach() * 0.5)
    assert float(smaller) < float(bits)


def test_the_rate_of_a_weight_counts_its_row_and_its_column() -> None:
    weight = torch.zeros(8, 8)
    weight[0], weight[:, 0] = 1.0, 1.0
    form = Levels(weight.shape, 1.0)
    form.count(weight)
    assert float(form.zero_lengths[0, 0]) > float(form.zero_lengths[0, 5]) > float(form.zero_lengths[5, 5])
    assert float(form.other_lengths[5, 5]) > float(form.other_lengths[0, 5])


def test_modules_without_a_grid_have_no_rate() -> None:
    assert rate(nn.Linear(3, 3)) is None


def test_bake_leaves_plain_weights_under_their_own_names() -> None:
    layer = layer_with(Masked(torch.rand(4, 6) < 0.5))
    weight = layer.weight.detach().clone()
    assert bake(layer) is layer
    assert type(layer) is nn.Linear
    assert torch.equal(layer.weight, weight)
    assert list(layer.state_dict()) == ["bias", "weight"]
