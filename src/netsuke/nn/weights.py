"""Weights in a form that is coded in few bits: pruned, of few values, on a grid. They are torch parametrizations.

A layer keeps its class and its forward; its `weight` is made from the trained tensor each time it is read, so that no
optimizer, momentum or weight decay moves what is pruned. `bake` puts the made weight in place of the tensor: pruned
weights are zeros then, and shared ones equal numbers, which is all that a file and a later step need to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from netsuke.artifact.contract import Error
from netsuke.nn.ste import straight_through


class Masked(nn.Module):
    """The weight where `mask` is true, 0 elsewhere. The tensor it is made from has the weight's shape."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.bool())

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0.0)  # a product would make zeros of both signs

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight


class Shared(nn.Module):
    """Each weight is 0 or one of k numbers, which are what is trained: their gradient is the sum of their weights'
    (Han et al. 2016, "Deep Compression", section 3.3).

    index: of the weight's shape; 0 for a weight of 0, i for the i-th number. The tensor it is made from is (k,).
    """

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        if bool((index < 0).any()):
            raise Error("an index of a shared weight is below 0")
        self.register_buffer("index", index.to(torch.int32))

    def forward(self, values: Tensor) -> Tensor:
        table = torch.cat([values.new_zeros(1), values])
        return table.index_select(0, self.index.flatten()).view(self.index.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The mean of the weights that share a number."""
        index, k = self.index.flatten().long(), int(self.index.max())
        sums = weight.new_zeros(k + 1, dtype=torch.float64).index_add_(0, index, weight.flatten().double())
        count = torch.bincount(index, minlength=k + 1).clamp(min=1)
        return (sums / count)[1:].to(weight.dtype)


class Levels(nn.Module):
    """The weight on the grid step * (-most, ..., most), as its nearest point; the gradient passes through the rounding.

    `rate` is what the weights cost in bits under an entropy code of how they are now, which `count` looks at: whether a
    weight is 0, by how many others of its output and of its input are, as a context-adaptive coder has it; its sign;
    and its magnitude, by their mean. Between two points the cost is on the line through theirs, so that its gradient
    draws a weight towards the cheaper one; what is rounded to 0 is pruned.

    step: a number above 0. most: the largest multiple.
    """

    step: Tensor
    lengths: Tensor
    zero_lengths: Tensor
    other_lengths: Tensor

    def __init__(self, shape: torch.Size, step: float, most: int = 127) -> None:
        super().__init__()
        if not 0 < step < float("inf") or most < 1:
            raise Error(f"a grid has a step above 0 and a largest multiple of 1 or more, not {step} and {most}")
        self.most = most
        outputs, inputs = shape[0], shape[1]
        self.register_buffer("step", torch.tensor(step))
        self.register_buffer("lengths", torch.zeros(2))  # of a magnitude of 1 with its sign, and of each 1 more
        self.register_buffer("zero_lengths", torch.zeros(outputs, inputs))  # of saying that it is 0
        self.register_buffer("other_lengths", torch.zeros(outputs, inputs))  # that it is not

    def levels(self, weight: Tensor) -> Tensor:
        """Whole numbers, -most to most."""
        return (weight / self.step).round().clamp(-self.most, self.most)

    def forward(self, weight: Tensor) -> Tensor:
        return straight_through(self.levels(weight) * self.step + 0.0, weight)  # + 0.0: zeros of one sign

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    @torch.no_grad()
    def count(self, weight: Tensor) -> None:
        """Learn the code lengths from where the weights are now."""
        magnitude = self.levels(weight).abs().long()
        kept = (magnitude > 0).double()
        grid = kept.flatten(2).mean(2) if kept.dim() > 2 else kept
        taps = kept[0, 0].numel()
        # The share of a weight that is not 0, of its output and its input, as log odds that add up; half a weight of
        # each kind is put in, as by a coder that has seen nothing.
        whole = _odds(grid.sum() * taps, grid.numel() * taps)
        rows = _odds(grid.sum(1) * taps, grid.shape[1] * taps)
        columns = _odds(grid.sum(0) * taps, grid.shape[0] * taps)
        odds = rows[:, None] + columns[None, :] - whole
        self.zero_lengths.copy_(nn.functional.softplus(odds) / _LN2)
        self.other_lengths.copy_(nn.functional.softplus(-odds) / _LN2)
        # Magnitudes as a geometric distribution: of their own frequencies, rare small ones would be a wall around 0.
        mean = (magnitude.sum().double() + 1) / (kept.sum() + 1)
        more = (mean / (mean - 1).clamp(min=0.05)).log2()
        self.lengths.copy_(torch.stack([1 + mean.log2(), more]))

    def rate(self, weight: Tensor) -> Tensor:
        """Bits of the weights, a scalar."""
        place = (weight / self.step).abs().clamp(max=self.most)
        shape = self.zero_lengths.shape + (1,) * (weight.dim() - 2)
        zero, one = self.zero_lengths.view(shape), (self.other_lengths + self.lengths[0]).view(shape)
        # Where few weights are 0, saying so is dear, and would drive the last of them away from it.
        first = (one - zero).clamp(min=self.lengths[1])
        return (zero + place.clamp(max=1) * first + (place - 1).clamp(min=0) * self.lengths[1]).sum()

    def extra_repr(self) -> str:
        return f"step={float(self.step):.4g}, most={self.most}"


_LN2 = 0.6931471805599453


def _odds(kept: Tensor, count: float) -> Tensor:
    return torch.log(kept + 0.5) - torch.log(count - kept + 0.5)


@dataclass(frozen=True)
class Site:
    """A tensor of a layer that is made by parametrizations. name: of the layer."""

    name: str
    layer: Any
    tensor: str

    @property
    def form(self) -> Any:
        """The last parametrization."""
        return self.layer.parametrizations[self.tensor][-1]

    @property
    def original(self) -> Tensor:
        """What is trained."""
        return self.layer.parametrizations[self.tensor].original


def sites(module: nn.Module) -> Iterator[Site]:
    """The weights of `module` that have one of the forms above."""
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer):
            for tensor, forms in layer.parametrizations.items():
                if isinstance(forms[-1], (Masked, Shared, Levels)):
                    yield Site(name, layer, tensor)


def rate(module: nn.Module) -> Tensor | None:
    """Bits of all weights of `module` that are on a grid, a scalar with a gradient; None where there are none."""
    rates = [site.form.rate(site.original) for site in sites(module) if isinstance(site.form, Levels)]
    return torch.stack(rates).sum() if rates else None


def count_levels(module: nn.Module) -> None:
    """Let all weights on a grid learn their code lengths anew. Call it every few steps, and before the first."""
    for site in sites(module):
        if isinstance(site.form, Levels):
            site.form.count(site.original)


def magnitudes(module: nn.Module) -> Tensor:
    """Sum of the magnitudes of the weights of convolutions and linear layers, a scalar with a gradient."""
    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return torch.stack([layer.weight.abs().sum() for layer in layers]).sum()


def bake(module: nn.Module) -> nn.Module:
    """Make the weights of `module` that any parametrization makes plain parameters, in place; returns it."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer):
            _take_class(layer)
            for tensor in list(layer.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(layer, tensor, leave_parametrized=True)
    return module


def _take_class(layer: nn.Module) -> None:
    """A class of its own: torch makes one for a parametrized layer, a copy of the layer has the same one, and what
    removes a parametrization changes the class.
    """
    own = {name: value for name, value in vars(type(layer)).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(type(layer).__name__, type(layer).__bases__, own)
