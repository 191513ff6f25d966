"""Optimal Brain Damage: what the loss gains when a weight is deleted (LeCun, Denker, Solla 1989)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from netsuke.artifact.contract import Error
from netsuke.nn.targets import weighted
from netsuke.nn.weights import bake


def second_derivatives(model: nn.Module, images: Tensor, batch: int = 8) -> dict[str, Tensor]:
    """h_kk of the weights of convolutions and linear layers, of their shapes, by the layers' names: second derivatives
    of the cross entropy, averaged over the images, by back-propagation.

    For an image and each class c, sqrt(p_c) (e_c - p) with p = softmax(logits) is propagated back; these vectors make
    up the second derivative by the logits, so that the squares of what reaches a weight add up to the diagonal of the
    Gauss-Newton matrix: the Levenberg-Marquardt form of the paper's recursion, but with what the units of a layer have
    to do with one another. Where the logits are linear in each single weight, as behind ReLUs and max pools, it is h_kk
    itself. No labels are in it.

    model: (N, C, H, W) -> logits (N, classes), a copy of which runs in eval mode. images: float (N, C, H, W), some
    hundreds of training images, normalised. batch: images at once; memory grows with batch * classes * weights.
    Raises netsuke.Error where there are no images or no such layers.
    """
    still = bake(copy.deepcopy(model)).eval()
    weights = {f"{name}.weight": layer.weight.detach() for name, layer in weighted(still).items()}
    if not weights or not len(images):
        raise Error("second derivatives need images, and a model with convolutions or linear layers")

    def of_image(image: Tensor) -> dict[str, Tensor]:
        logits, back = vjp(lambda own: functional_call(still, own, (image[None],))[0], weights)  # type: ignore[misc]
        p = logits.softmax(0)
        columns = p.sqrt()[:, None] * (torch.eye(len(p), dtype=p.dtype, device=p.device) - p)
        (reached,) = vmap(back)(columns)
        return {name: part.square().sum(0) for name, part in reached.items()}

    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for part in images.split(batch):
        for name, squares in vmap(of_image)(part).items():
            sums[name] += squares.sum(0)
    return {name.removesuffix(".weight"): total / len(images) for name, total in sums.items()}


def saliency(model: nn.Module, images: Tensor, batch: int = 8) -> dict[str, Tensor]:
    """s_k = h_kk u_k^2 / 2 of each weight u_k, as the paper has it: arguments and result as of `second_derivatives`,
    and as `netsuke.prune(model, sparsity=..., scores=...)` takes them."""
    curvature = second_derivatives(model, images, batch)
    layers = weighted(model)
    return {name: h * layers[name].weight.detach().square() / 2 for name, h in curvature.items()}
