"""Real-to-Binary's ResNet-18: its cost, and that it trains. Its unit is tested by its formula in test_bnext.py."""

from __future__ import annotations

import pytest

from binary_networks import MIB, costs, train_two_steps


def test_costs() -> None:
    """Published: 1.67 G BOPs, 5.1 MB. Larq counts 11,995,624 parameters with two running statistics a channel."""
    found = costs("real_to_binary_resnet18")
    statistics = 2 * (64 + (5 * 64 + 4 * 128 + 4 * 256 + 3 * 512) + 128 + 256 + 512)
    assert found.parameters == 11_995_624 - statistics
    gates = found.flops - 137_793_536
    assert gates == sum(c * c // 8 + c // 8 * n for c, n in [(64, 64)] * 4 + [(64, 128)] + [(128, 128)] * 3
                        + [(128, 256)] + [(256, 256)] * 3 + [(256, 512)] + [(512, 512)] * 3)  # fmt: skip
    assert found.bops == pytest.approx(1.67e9, rel=0.005)
    assert found.size_bytes() / MIB == pytest.approx(5.13, abs=0.005)


def test_two_training_steps() -> None:
    train_two_steps("real_to_binary_resnet18")
