"""Ranks of all layers under one budget (Zhang et al. 2016, "Rank Selection for Whole-Model Acceleration")."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Choice:
    """A layer whose rank is to be chosen.

    energies (d,): what each direction holds, the largest first; d is the rank to start from. price: of one rank, in
    multiply-accumulates. base: those that come with any rank. whole: those of the layer left as it is.
    """

    energies: Tensor
    price: int
    base: int
    whole: int

    def cost(self, rank: int) -> int:
        """A rank that does not pay leaves the layer whole."""
        return min(self.whole, self.base + rank * self.price)

    def pays(self, rank: int) -> bool:
        return self.base + rank * self.price < self.whole

    def kept(self, rank: int) -> float:
        """The share of the energy that the rank keeps."""
        total = float(self.energies.sum())
        return float(self.energies[:rank].sum()) / total if total else 1.0


def choose_ranks(choices: Mapping[str, Choice], budget: float) -> dict[str, int]:
    """Ranks whose costs together are at most `budget`, and that keep much of the product of the layers' energies.

    Greedy: from the full ranks on, away goes the direction whose loss, as a share of the
    energy that its layer has left, is least for its price. Where the budget cannot be met all ranks end as 1.
    """
    ranks = {name: len(choice.energies) for name, choice in choices.items()}
    sums = {name: choice.energies.cumsum(0).tolist() for name, choice in choices.items()}
    values = {name: choice.energies.tolist() for name, choice in choices.items()}
    names = list(choices)

    def entry(place: int) -> tuple[float, int]:
        name = names[place]
        last = ranks[name] - 1
        loss = values[name][last] / sums[name][last] if sums[name][last] > 0 else 0.0
        return loss / choices[name].price, place

    heap = [entry(place) for place, name in enumerate(names) if ranks[name] > 1]
    heapq.heapify(heap)
    total = sum(choice.cost(ranks[name]) for name, choice in choices.items())
    while total > budget and heap:
        _, place = heapq.heappop(heap)
        name = names[place]
        total += choices[name].cost(ranks[name] - 1) - choices[name].cost(ranks[name])
        ranks[name] -= 1
        if ranks[name] > 1:
            heapq.heappush(heap, entry(place))
    return ranks
