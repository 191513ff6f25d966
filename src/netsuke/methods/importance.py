"""How much a channel matters: a score for each, by the root of its labels (`netsuke.methods.channels`)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error, first_line
from netsuke.methods.channels import Follower

Loss = Callable[[Tensor, Tensor], Tensor]
IMPORTANCES = ("l1", "l2", "batch_norm", "taylor")


def filter_norms(follower: Follower, model: nn.Module, order: int) -> dict[int, float]:
    """Norms of filters (Li et al. 2017, section 3.1: l1), each over the mean of its layer, so that layers compare. A
    channel that several layers make together has the sum of theirs: with it, a filter of each is lost. order: 1 or 2.
    """
    total, seen = _Sum(follower), set()
    for product in follower.products:
        if product.weight not in seen:
            seen.add(product.weight)
            weight = model.get_parameter(product.weight).detach().double().flatten(1)
            norms = weight.norm(order, dim=1).cpu().numpy()
            total.add(product.outputs, norms / (norms.mean() or 1.0))
    return total.of


def batch_norm_scales(follower: Follower, model: nn.Module) -> dict[int, float]:
    """|scale| of the batch norm behind a channel, compared over all layers as it is (Liu et al. 2017, section 3); where
    there are several, their sum."""
    total, seen = _Sum(follower), set()
    for norm in follower.norms:
        if norm.weight not in seen:
            seen.add(norm.weight)
            total.add(norm.channels, model.get_parameter(norm.weight).detach().double().abs().cpu().numpy())
    return total.of


class _Sum:
    """of: root -> sum of what the parts of the channel are worth."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.of: dict[int, float] = {}

    def add(self, labels: np.ndarray, worth: np.ndarray) -> None:
        for root, value in zip(self._follower.roots(labels).tolist(), worth.tolist(), strict=True):
            self.of[root] = self.of.get(root, 0.0) + value


def taylor(
    follower: Follower, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss
) -> dict[int, float]:
    """The square of what a loss loses, to first order, when a channel is switched off, meaned over batches.

    With a gate on the channel's output this is (sum of g_s w_s)^2 over scale and shift of its batch norm, or over its
    filter and bias where there is none (Molchanov et al. 2019, equations 8 and 9 and section 3.2). A channel of several
    layers is switched off in all of them at once. model: in eval mode, so that statistics stay.
    """
    model = copy.deepcopy(model).requires_grad_()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    gates = {norm.weight: (norm.channels, [norm.weight, norm.bias]) for norm in follower.norms}
    normed = {root for norm in follower.norms for root in follower.roots(norm.channels).tolist()}
    for product in follower.products:
        if not normed.issuperset(follower.roots(product.outputs).tolist()):
            owner, _, leaf = product.weight.rpartition(".")
            bias = f"{owner}.bias" if leaf == "weight" and f"{owner}.bias" in parameters else ""
            gates[product.weight] = (product.outputs, [product.weight, *([bias] if bias else [])])
    rooted = [(follower.roots(labels).tolist(), names) for labels, names in gates.values()]
    total: dict[int, float] = {}
    count = 0
    for images, labels in batches:
        model.zero_grad(set_to_none=True)
        with torch.enable_grad():
            try:
                value = loss(model(images), labels)
                value.backward()
            except Exception as error:
                raise Error(f"{type(model).__name__} or the loss fails on calibration: {first_line(error)}") from error
        count += 1
        lost: dict[int, float] = {}
        for roots, names in rooted:
            change = np.zeros(len(roots))
            for name in names:
                p = parameters[name]
                if p.grad is not None:
                    change += (p.detach().double() * p.grad.double()).view(len(p), -1).sum(1).cpu().numpy()
            for root, part in zip(roots, change.tolist(), strict=True):
                lost[root] = lost.get(root, 0.0) + part
        for root, part in lost.items():
            total[root] = total.get(root, 0.0) + part * part
    if not count:
        raise Error("importance 'taylor' needs calibration=(images, labels): there is no batch in it")
    return {root: value / count for root, value in total.items()}
