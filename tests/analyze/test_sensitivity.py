"""Sensitivity: what is pruned, what is measured, what is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netsuke
from netsuke import Error
from netsuke.analyze import Sensitivity, sensitivity


def test_one_layer_at_a_time_loses_its_smallest_weights_and_gets_them_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen: list[tuple[int, int]] = []

    def score(pruned: nn.Module) -> float:
        zeros = [int((pruned[i].weight == 0).sum()) for i in (0, 2)]
        kept = pruned[2].weight[pruned[2].weight != 0].abs().min()
        assert float(kept) >= float(before["2.weight"].abs().flatten().sort().values[zeros[1]])
        seen.append((zeros[0], zeros[1]))
        return -sum(zeros)

    shared: list[float] = []
    found = sensitivity(model, score, (0.0, 0.25, 0.5), shared.append)
    assert seen == [(0, 0), (9, 0), (18, 0), (0, 0), (0, 12), (0, 24)]
    assert found.scores == {"0": (0.0, -9.0, -18.0), "2": (0.0, -12.0, -24.0)}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert shared == [0.5, 1.0]


def test_the_share_is_chosen_up_to_where_the_score_first_falls() -> None:
    found = Sensitivity((0.0, 0.5, 0.9), {"a": (90.0, 89.8, 90.0), "b": (90.0, 88.0, 90.0), "c": (90.0, 90.0, 0.0)})
    assert found.sparsity(0.5) == {"a": 0.9, "b": 0.0, "c": 0.5}


@pytest.mark.parametrize("shares", [(), (0.5, 0.2), (-0.1,), (0.0, 1.0)])
def test_bad_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(Error, match="shares ascend"):
        sensitivity(nn.Linear(2, 2), lambda _: 0.0, shares)
    with pytest.raises(Error, match="no convolution"):
        sensitivity(nn.Flatten(), lambda _: 0.0)


def test_a_density_is_met_and_sensitive_layers_lose_less() -> None:
    found = Sensitivity((0.0, 0.5, 0.9), {"a": (90.0, 89.0, 88.0), "b": (90.0, 80.0, 70.0), "c": (90.0, 90.0, 89.5)})
    counts = {"a": 100, "b": 100, "c": 200}
    for density in (1.0, 0.7, 0.45, 0.2, 0.04):
        shares = found.to_density(density, counts)
        assert sum(counts[n] * (1 - s) for n, s in shares.items()) / 400 == pytest.approx(density)
        assert shares["b"] <= shares["a"] <= shares["c"] or density < 0.1
        assert all(0 <= share < 1 for share in shares.values())
    assert found.to_density(0.7, counts)["b"] == 0
    for density in (0.0, 1.1):
        with pytest.raises(Error, match="above 0, and at most 1"):
            found.to_density(density, counts)


def test_layers_that_are_pruned_already_are_measured_and_left_alone() -> None:
    torch.manual_seed(0)
    model = netsuke.prune(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), sparsity=0.5)
    before = model[1].weight.clone()
    seen: list[int] = []

    def score(pruned: nn.Module) -> float:
        seen.append(int((pruned[1].weight == 0).sum()))
        return 0.0

    sensitivity(model, score, (0.0, 0.75))
    assert seen == [24, 36]
    assert torch.equal(model[1].weight, before)
