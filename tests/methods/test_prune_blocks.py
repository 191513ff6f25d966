"""`netsuke.prune_blocks`: which blocks go, and that the rest is the same network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netsuke
from netsuke import Error


class Residual(nn.Module):
    """relu(x + strength * conv(x))."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.strength = strength

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.strength * self.conv(x))


def network() -> nn.Module:
    torch.manual_seed(0)
    blocks = nn.Sequential(*(Residual(strength) for strength in (1.0, 0.01, 2.0, 0.1)))
    return nn.Sequential(nn.Conv2d(3, 4, 3), blocks, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).train()


IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_blocks_that_matter_least_go() -> None:
    model = network()
    pruned = netsuke.prune_blocks(model, IMAGES, 2, blocks="1.?")
    assert pruned.netsuke_dropped == ["1.1", "1.3"]
    assert [type(pruned[1][i]) for i in range(4)] == [Residual, nn.Identity, Residual, nn.Identity]
    assert pruned.training
    assert isinstance(model[1][1], Residual)
    expected = model[4](torch.relu(model[1][2](model[1][0](model[0](IMAGES)))).flatten(1))
    torch.testing.assert_close(pruned(IMAGES), expected)


def test_a_state_dict_loads_into_the_same_blocks() -> None:
    pruned = netsuke.prune_blocks(network(), IMAGES, 1, blocks="1.?")
    again = netsuke.drop_blocks(network(), pruned.netsuke_dropped)
    again.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(again(IMAGES), pruned(IMAGES))


def test_what_changes_shape_and_what_has_no_weights_stays() -> None:
    with pytest.raises(Error, match="count is 2: 1 modules named '\\?'"):  # of five
        netsuke.prune_blocks(network(), IMAGES, 2, blocks="?")
    pruned = netsuke.prune_blocks(network(), IMAGES, 1, blocks="1")
    assert isinstance(pruned[1], nn.Identity)


def test_blocks_in_blocks_are_refused() -> None:
    with pytest.raises(Error, match="names 1 and 1.0 inside it"):
        netsuke.prune_blocks(network(), IMAGES, 1, blocks="1*")


def test_names_that_the_model_lacks_are_refused() -> None:
    with pytest.raises(Error, match="no module '1.7'. Close to it: 1"):
        netsuke.drop_blocks(network(), ["1.7"])
