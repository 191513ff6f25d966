"""How much of each layer can be pruned away by itself (Han et al. 2015, "Learning both Weights and Connections")."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from netsuke.artifact.contract import Error
from netsuke.nn.targets import weighted
from netsuke.nn.weights import bake

SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Sensitivity:
    """shares: of a layer's weights that were 0, ascending. scores: by layer, one a share: higher is better."""

    shares: tuple[float, ...]
    scores: dict[str, tuple[float, ...]]

    def sparsity(self, tolerance: float) -> dict[str, float]:
        """For each layer the largest share up to which its score never falls more than `tolerance` below the first: as
        `netsuke.prune(sparsity=...)` takes it."""
        chosen = {}
        for name, scores in self.scores.items():
            held = [score >= scores[0] - tolerance for score in scores]
            chosen[name] = self.shares[(held + [False]).index(False) - 1]
        return chosen

    def to_density(self, density: float, counts: Mapping[str, int]) -> dict[str, float]:
        """For each layer the share that may go, such that the share `density` of all weights is left: what one
        tolerance for all layers allows, so that a layer that is sensitive loses less. counts: weights of each layer.

        Raises netsuke.Error for a density that is not above 0 and at most 1.
        """
        if not 0 < density <= 1:
            raise Error(f"the density is {density}: it must be above 0, and at most 1")
        total = sum(counts.values())

        def left(chosen: Mapping[str, float]) -> float:
            return sum(counts[name] * (1 - share) for name, share in chosen.items()) / total

        drops = sorted({max(0.0, s[0] - score) for s in self.scores.values() for score in s})
        before = dict.fromkeys(self.scores, 0.0)
        for tolerance in drops:
            now = self.sparsity(tolerance)
            if left(now) <= density:
                part = (left(before) - density) / (left(before) - left(now)) if left(now) < left(before) else 0.0
                return {name: before[name] + part * (now[name] - before[name]) for name in now}
            before = now
        # More than was tried: of what is left, the same share of every layer.
        return {name: 1 - (1 - share) * density / left(before) for name, share in before.items()}


def sensitivity(
    model: nn.Module,
    score: Callable[[nn.Module], float],
    shares: Sequence[float] = SHARES,
    progress: Callable[[float], None] | None = None,
) -> Sensitivity:
    """Prune one layer at a time, the smallest magnitudes first, without retraining, and measure (the paper's figure 6).

    model: any module; a copy of it is pruned, in the mode that it is in. score: accuracy on held-out training images,
    say. shares: from 0 up to, not including, 1, ascending. progress: called with the share that is done.

    Raises netsuke.Error for shares outside these, or a model without convolutions and linear layers.
    """
    if not shares or list(shares) != sorted(set(shares)) or shares[0] < 0 or shares[-1] >= 1:
        raise Error("shares ascend from 0 or more to less than 1")
    pruned = bake(copy.deepcopy(model))
    layers = weighted(pruned)
    if not layers:
        raise Error(f"{type(model).__name__} has no convolution and no linear layer")
    found: dict[str, tuple[float, ...]] = {}
    for name, layer in layers.items():
        weight = layer.weight.detach().clone()
        order = weight.abs().flatten().argsort(stable=True)
        scores = []
        for share in shares:
            left = weight.flatten().clone()
            left[order[: round(share * len(order))]] = 0
            with torch.no_grad():
                layer.weight.copy_(left.view_as(weight))
            scores.append(float(score(pruned)))
        with torch.no_grad():
            layer.weight.copy_(weight)
        found[name] = tuple(scores)
        if progress is not None:
            progress(len(found) / len(layers))
    return Sensitivity(tuple(shares), found)
