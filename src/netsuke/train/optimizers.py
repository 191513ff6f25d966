"""From a recipe's words to torch's optimizers."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from netsuke.artifact.contract import Error
from netsuke.train.recipe import Group, Optimizer


def make_optimizer(model: nn.Module, recipe: Optimizer) -> torch.optim.Optimizer:
    """The optimizer of all trainable parameters, in their groups; each group keeps its full learning rate as
    `base_learning_rate`, which `set_learning_rate` scales.

    Raises netsuke.Error where a group of the recipe takes no parameter.
    """
    rest = Group(weight_decay=recipe.weight_decay)
    rules = [*recipe.groups, rest]
    members: list[list[nn.Parameter]] = [[] for _ in rules]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[next(i for i, rule in enumerate(rules) if _takes(rule, name, parameter))].append(parameter)
    for rule, found in zip(recipe.groups, members, strict=False):
        if not found:
            raise Error(f"optimizer.groups: no parameter is left for {', '.join(rule.names)} {list(rule.dimensions)}")
    groups: list[dict[str, Any]] = [
        {
            "params": found,
            "weight_decay": rule.weight_decay,
            "base_learning_rate": recipe.learning_rate * rule.learning_rate_scale,
        }
        for rule, found in zip(rules, members, strict=True)
        if found
    ]
    # fused: one call a group instead of several a parameter.
    if recipe.name == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=recipe.nesterov, fused=True)
    betas = recipe.betas[0], recipe.betas[1]
    if recipe.name == "radam":  # has no fused form
        return torch.optim.RAdam(groups, recipe.learning_rate, betas)
    kind = torch.optim.Adam if recipe.name == "adam" else torch.optim.AdamW
    return kind(groups, recipe.learning_rate, betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_learning_rate"] * factor


def _takes(rule: Group, name: str, parameter: nn.Parameter) -> bool:
    by_name = any(fnmatchcase(name, pattern) for pattern in rule.names)
    return by_name and (not rule.dimensions or parameter.dim() in rule.dimensions)
