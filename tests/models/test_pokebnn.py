"""PokeBNN: its arithmetic against the published code's own count, its shortcuts by hand, and that it trains."""

from __future__ import annotations

import pytest
import torch

from binary_networks import costs, train_two_steps
from netsuke.models.pokebnn import ReshapeAdd


def test_costs_are_those_that_the_published_code_counts() -> None:
    """ACE: bits of a weight times bits of an input, a multiply-accumulate (pokebnn_test.py of the published code)."""
    found = costs("pokebnn_1_0x")
    means = sum(layer.flops for layer in found.layers if layer.kind == "ReshapeAdd")
    gates = sum(layer.flops for layer in found.layers if ".gate." in layer.name)
    classifier = 2048 * 1000
    stem = found.flops - means - gates - classifier
    assert found.bops + 4 * 4 * gates + 8 * 8 * stem == 4_091_469_824
    assert 8 * 8 * classifier == 131_072_000
    assert means == 5_419_008


@pytest.mark.slow
@pytest.mark.parametrize(("name", "billions"), [("0_5x", 1.4), ("0_75x", 2.6), ("1_5x", 8.9), ("2_0x", 15.4)])
def test_costs_of_the_others(name: str, billions: float) -> None:
    found = costs(f"pokebnn_{name}")
    means = sum(layer.flops for layer in found.layers if layer.kind == "ReshapeAdd")
    gates = sum(layer.flops for layer in found.layers if ".gate." in layer.name)
    ace = found.bops + 16 * gates + 64 * (found.flops - means - gates)
    assert ace == pytest.approx(billions * 1e9, rel=0.01)


def test_shortcuts_by_hand() -> None:
    x = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    assert ReshapeAdd(4, 2, 1)(x)[0, :, 0, 0].tolist() == [0.5, 2.5]
    assert ReshapeAdd(4, 3, 1)(x)[0, :, 0, 0].tolist() == [0, 1, 2]
    wide = torch.arange(5.0).view(1, 5, 1, 1)
    assert ReshapeAdd(5, 2, 1)(wide).flatten().tolist() == [0.5, 2.5]
    assert ReshapeAdd(4, 6, 1)(x)[0, :, 1, 1].tolist() == [0, 1, 2, 3, 0, 0]
    assert ReshapeAdd(4, 8, 1, tile=True)(x)[0, :, 0, 1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert torch.equal(ReshapeAdd(4, 4, 2)(x), x[:, :, :1, :1] * 4 / 9)  # zeros count
    assert ReshapeAdd(4, 4, 1)(x) is x


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 2), (4, 3), (4, 6), (4, 4)])
def test_shortcuts_can_be_traced(inputs: int, outputs: int) -> None:
    """So that batch norms fold in the float counterpart, and `netsuke.nn.fuse` can follow."""
    shortcut, x = ReshapeAdd(inputs, outputs, 2), torch.randn(1, inputs, 4, 4)
    assert torch.equal(torch.fx.symbolic_trace(shortcut)(x), shortcut(x))


def test_two_training_steps() -> None:
    train_two_steps("pokebnn_1_0x")
