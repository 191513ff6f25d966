"""`netsuke.share`: the weights of a layer become few numbers, by k-means (Han et al. 2016, "Deep Compression")."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsuke.artifact.contract import Error
from netsuke.nn.targets import chosen, weighted
from netsuke.nn.weights import Shared, bake

Start = Literal["linear", "density", "random"]
STARTS = ("linear", "density", "random")
MOST_BITS = 12
ROUNDS = 300


def share(model: nn.Module, bits: int | Mapping[str, int] = 5, start: Start = "linear", seed: int = 0) -> nn.Module:
    """A copy of `model` in which each weight is 0 or one of 2^bits - 1 numbers of its layer, which train on.

    The numbers are the centres of k-means over the layer's weights that are not 0; which weights share one does not
    change afterwards (section 3 of the paper). Pruned weights stay 0.

    bits: of an index, 1 to 12, for all convolutions and linear layers, or {shell pattern of layer names: bits} (the
    paper has 8 for convolutions and 5 for linear layers). start: where k-means begins (section 3.2): "linear", evenly
    between the least and the largest weight; "density", evenly in the share of weights below; "random", weights drawn
    with `seed`.

    Raises netsuke.Error for values outside these and patterns that fit nothing.
    """
    if start not in STARTS:
        raise Error(f"start is {start!r}: use one of {', '.join(STARTS)}")
    student = bake(copy.deepcopy(model))
    layers = weighted(student)
    for name, width in chosen(student, bits).items():
        if width != int(width) or not 1 <= width <= MOST_BITS:
            raise Error(f"bits for {name} is {width}: give a whole number, 1 to {MOST_BITS}")
        weight: Tensor = layers[name].weight.detach()
        kept = weight[weight != 0]
        if not kept.numel():
            continue  # all pruned away
        centres = k_means(kept, (1 << int(width)) - 1, start, seed)
        index = torch.zeros(weight.shape, dtype=torch.int32, device=weight.device)
        index[weight != 0] = (nearest(kept, centres) + 1).int()
        parametrize.register_parametrization(layers[name], "weight", Shared(index), unsafe=True)
    return student


def k_means(values: Tensor, k: int, start: Start = "linear", seed: int = 0) -> Tensor:
    """Centres of at most k clusters of numbers (n,), ascending, float32: Lloyd's algorithm, to its end.

    Clusters that become empty are left out. Raises netsuke.Error for a start that there is none of.
    """
    ordered = values.detach().double().flatten().sort().values
    centres = first_centres(ordered, k, start, seed)
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    for _ in range(ROUNDS):
        ends = torch.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        ends = torch.cat([ends.new_zeros(1), ends, ends.new_full((1,), len(ordered))])
        count = ends[1:] - ends[:-1]
        moved = ((sums[ends[1:]] - sums[ends[:-1]]) / count)[count > 0]
        if moved.shape == centres.shape and torch.equal(moved, centres):
            break
        centres = moved
    return centres.float().unique()


def first_centres(ordered: Tensor, k: int, start: Start, seed: int) -> Tensor:
    """Where k-means begins, at most k numbers, ascending. ordered: the numbers, ascending, float64 (n,)."""
    if start == "linear":
        return torch.linspace(float(ordered[0]), float(ordered[-1]), k, dtype=torch.float64).unique()
    if start == "density":
        at = (torch.arange(k, dtype=torch.float64) + 0.5) / k * len(ordered)
        return ordered[at.long().clamp(max=len(ordered) - 1)].unique()
    if start == "random":
        drawn = torch.randperm(len(ordered), generator=torch.Generator().manual_seed(seed))[:k]
        return ordered[drawn].unique()
    raise Error(f"start is {start!r}: use one of {', '.join(STARTS)}")


def nearest(values: Tensor, centres: Tensor) -> Tensor:
    """For each value the index of the centre next to it. centres: ascending."""
    return torch.searchsorted((centres[1:].double() + centres[:-1].double()) / 2, values.detach().double())
