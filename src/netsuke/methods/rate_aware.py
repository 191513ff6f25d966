"""`netsuke.rate_aware`: weights on a grid that train for few bits as well as for the task."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsuke.artifact.contract import Error
from netsuke.nn.targets import chosen, weighted
from netsuke.nn.weights import Levels, bake, count_levels


def rate_aware(model: nn.Module, step: float | Mapping[str, float] = 0.5) -> nn.Module:
    """A copy of `model` whose weights are whole multiples of a step, and whose bits can be trained for.

    Minimise  loss + weight * netsuke.nn.rate(result)  and call netsuke.nn.count_levels(result) every few steps. The
    rate is what the weights would take in bits under an entropy code of the levels as they are used now, straight lines
    in between (`netsuke.nn.Levels`); that training pays for bits is from Oktay et al. 2020, "Scalable Model Compression
    by Entropy Penalized Reparameterization", whose densities are trained and not counted.

    step: of the grid, in standard deviations of a layer's weights that are not 0, for all convolutions and linear
    layers or {shell pattern of layer names: step}. Raises netsuke.Error for a step that is not above 0.
    """
    student = bake(copy.deepcopy(model))
    layers = weighted(student)
    for name, relative in chosen(student, step).items():
        weight: Tensor = layers[name].weight.detach()
        kept = weight[weight != 0]
        if not 0 < relative < float("inf"):
            raise Error(f"the step for {name} is {relative}: it must be above 0")
        own = float(kept.std(correction=0)) if kept.numel() > 1 else float(weight.abs().max())
        if own > 0:
            form = Levels(weight.shape, relative * own)
            parametrize.register_parametrization(layers[name], "weight", form)
    count_levels(student)
    return student


def round_biases(model: nn.Module, bits: int = 6) -> nn.Module:
    """Round all parameters of one dimension to `bits` bits of fraction, in place: a file holds no more."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                fraction, exponent = torch.frexp(parameter)
                scale = 1 << (bits + 1)
                parameter.copy_(torch.ldexp((fraction * scale).round() / scale, exponent))
    return model
