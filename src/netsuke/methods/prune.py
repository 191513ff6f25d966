"""`netsuke.prune`: weights that matter little become zeros and stay so."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsuke.artifact.contract import Error
from netsuke.nn.targets import Weighted, chosen, weighted
from netsuke.nn.weights import Masked, bake

Values = float | Mapping[str, float]


def prune(
    model: nn.Module,
    quality: Values | None = None,
    sparsity: Values | None = None,
    scores: Mapping[str, Tensor] | None = None,
    scope: Literal["layer", "global"] = "layer",
    adjust_dropout: bool = False,
) -> nn.Module:
    """A copy of `model` in which the weights that matter least are 0, whatever trains it further.

    Give one of
    quality: weights below quality * (standard deviation of the layer's weights that are not 0) go: the threshold of Han
    et al. 2015, "Learning both Weights and Connections", section 3.
    sparsity: the share of a layer's weights that are to be 0, 0 up to, not including, 1. With scope="global" it is one
    number, of the weights of all layers, whose least scores go wherever they are.
    Either is a number for all convolutions and linear layers, or {shell pattern of layer names: number}; layers that no
    pattern fits are left alone. Weights that are 0 already stay 0 in every layer: so pruning goes on step by step.

    scores: what a weight matters, by the names of layers, of their weights' shapes; magnitude when not given,
    `netsuke.analyze.saliency` for those of Optimal Brain Damage. With quality it must be magnitude.

    adjust_dropout: the rate of each nn.Dropout is multiplied by the root of the share of weights that pruning leaves in
    the layer behind it, the next in named_modules(): D_r = D_o sqrt(C_ir / C_io) of Han et al.

    Train the result in any loop. `netsuke.nn.bake` makes plain weights of it; `netsuke.export` does that by itself.
    Raises netsuke.Error for values outside these, patterns that fit nothing, and scores that do not fit.
    """
    if (quality is None) == (sparsity is None):
        raise Error("prune takes one of quality= and sparsity=")
    if quality is not None and (scores is not None or scope != "layer"):
        raise Error("a quality is of magnitudes, layer by layer: give sparsity= to use scores or scope='global'")
    student = bake(copy.deepcopy(model))
    layers = weighted(student)
    values = chosen(student, quality if quality is not None else sparsity)  # type: ignore[arg-type]
    _check(values, quality is not None)
    matter = {name: _scores(name, layers[name], scores) for name in values}
    if quality is not None:
        masks = {name: matter[name] >= q * _deviation(layers[name].weight) for name, q in values.items()}
    elif scope == "global":
        if len(set(values.values())) != 1:
            raise Error("scope='global' takes one sparsity for all layers that it is given for")
        masks = _smallest_away(matter, next(iter(values.values())))
    else:
        masks = {name: _smallest_away({name: matter[name]}, share)[name] for name, share in values.items()}
    left: dict[nn.Module, float] = {}
    for name, layer in layers.items():
        weight: Tensor = layer.weight
        mask = (weight.detach() != 0) & masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        if not bool(mask.all()):
            parametrize.register_parametrization(layer, "weight", Masked(mask))
        left[layer] = float(mask.sum()) / max(1, int((weight.detach() != 0).sum()))
    if adjust_dropout:
        share = 1.0
        for module in reversed(list(student.modules())):
            share = left.get(module, share)
            if isinstance(module, nn.Dropout):
                module.p *= share**0.5
    return student


def _check(values: Mapping[str, float], is_quality: bool) -> None:
    for name, value in values.items():
        if is_quality and not 0 <= value < float("inf"):
            raise Error(f"the quality for {name} is {value}: it must be 0 or more")
        if not is_quality and not 0 <= value < 1:
            raise Error(f"the sparsity for {name} is {value}: it must be 0 or more, and below 1")


def _scores(name: str, layer: Weighted, scores: Mapping[str, Tensor] | None) -> Tensor:
    weight: Tensor = layer.weight.detach()
    if scores is None:
        return weight.abs()
    if name not in scores or scores[name].shape != weight.shape:
        raise Error(f"scores has none for {name}, of the shape {tuple(weight.shape)}")
    return torch.where(weight != 0, scores[name], -torch.inf)  # zeros go first


def _deviation(weight: Tensor) -> float:
    kept = weight.detach()[weight.detach() != 0]
    return float(kept.std(correction=0)) if kept.numel() else 0.0


def _smallest_away(matter: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Masks that leave out the given share of all weights together, those of the smallest scores."""
    flat = torch.cat([score.flatten() for score in matter.values()])
    kept = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    kept[flat.argsort(stable=True)[: round(share * len(flat))]] = False
    parts = kept.split([score.numel() for score in matter.values()])
    return {name: part.view(score.shape) for (name, score), part in zip(matter.items(), parts, strict=True)}
