"""What stands behind a convolution: the batch norm that scales its responses, and whether a ReLU cuts them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from netsuke.methods.relus import is_relu, label, trace

# What values pass one by one. The largest of several and a ReLU, or a scale of either sign, change places freely.
_THROUGH = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.MaxPool2d)
_THROUGH_FUNCTIONS = {F.dropout, F.dropout2d, F.max_pool2d}


DEAD = 1e-6  # of the largest scale: a channel below it is read by nobody, and its scale counts as 0


@dataclass(frozen=True)
class Behind:
    """The network reads z = scale * y + shift of a response y, each (d,) in float64, or r(z) where `relu`. why: what
    there is instead of a ReLU."""

    scale: Tensor
    shift: Tensor
    relu: bool
    why: str = ""


def behind(model: nn.Module, names: dict[str, int]) -> dict[str, Behind]:
    """For each of the layers `names`, name to number of responses, what stands behind it in eval mode.

    Found by torch.fx; where that cannot follow the forward, nothing is known to stand there.
    """
    graph = trace(model)
    modules = dict(model.named_modules())
    nodes = {str(n.target): n for n in graph.nodes if n.op == "call_module"} if graph is not None else {}
    why = "torch.fx cannot follow the forward" if graph is None else "it is not called as a module"
    found = {}
    for name, width in names.items():
        one, none = torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
        node = nodes.get(name)
        stands = _follow(node, modules, one, none) if node is not None else Behind(one, none, False, why)
        dead = stands.scale.abs() <= DEAD * stands.scale.abs().max()
        found[name] = replace(stands, scale=stands.scale.masked_fill(dead, 0))
    return found


def _follow(node: fx.Node, modules: dict[str, nn.Module], scale: Tensor, shift: Tensor) -> Behind:
    while True:
        if len(node.users) != 1:
            return Behind(scale, shift, False, f"{len(node.users)} others read {label(node)}")
        node = next(iter(node.users))
        module = modules[str(node.target)] if node.op == "call_module" else None
        if is_relu(node, modules):
            return Behind(scale, shift, True)
        if type(module) is nn.BatchNorm2d and module.running_mean is not None and module.running_var is not None:
            gain, offset = _affine(module)
            scale, shift = scale * gain, shift * gain + offset
        elif not isinstance(module, _THROUGH) and node.target not in _THROUGH_FUNCTIONS:
            return Behind(scale, shift, False, f"{label(node)} stands behind it")


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = (norm.get_buffer(name).double().cpu() for name in ("running_mean", "running_var"))
    gain = (variance + norm.eps).rsqrt()
    if norm.affine:
        gain = gain * norm.weight.detach().double().cpu()
    offset = -mean * gain
    return gain, offset + norm.bias.detach().double().cpu() if norm.affine else offset
