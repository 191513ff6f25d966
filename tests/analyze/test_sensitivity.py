"""Sensitivity: what is pruned, what is measured, what is chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
