"""Layers of networks whose maps are bits between the convolutions too (BoolNet, Guo et al. 2021): numbers -1 and +1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from netsuke.artifact.contract import Error
from netsuke.nn.ste import sign_clipped


def shifts(slices: int) -> list[float]:
    """The shifts of `slices` copies, evenly spaced in (-1, 1) without 0: -2/3, -1/3, 1/3, 2/3 for 4; 0 for 1.

    Raises netsuke.Error for another odd number, or one below 1.
    """
    if isinstance(slices, bool) or not isinstance(slices, int) or slices < 1 or (slices > 1 and slices % 2):
        raise Error(f"slices is {slices!r}: give 1 or an even number")
    half = slices // 2
    return [i / (half + 1) for i in range(-half, half + 1) if i] or [0.0]


class MultiSliceSign(nn.Module):
    """Several signs of one map, each of the map shifted (Guo et al. 2021, multi-slice binary convolution):

        y = concat(sign(x + s) for s in shifts(slices)), sign(0) = +1        dy/dx = 1 for |x + s| <= 1, else 0

    (N, C, H, W) -> (N, slices * C, H, W), slice after slice. A convolution of it has `slices` groups.
    """

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.shifts = shifts(slices)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([sign_clipped(x + s) for s in self.shifts], 1)

    def extra_repr(self) -> str:
        return str(len(self.shifts))


class Xnor(nn.Module):
    """x * y, which for signs is +1 where they are equal. Two maps of one shape -> the same shape."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y


class Or(nn.Module):
    """+1 where x or y is, else -1, for signs. Two maps of one shape -> the same shape.

    clamp(x + y + 1, -1, 1), whose gradient reaches both but where both are +1, as in BoolNet's published code.
    """

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y + 1).clamp(-1, 1)


class ChannelOrder(nn.Module):
    """The channels `index` of a map, in that order. (N, C, H, W) -> (N, len(index), H, W)."""

    index: Tensor

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index.flatten(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.index)

    def extra_repr(self) -> str:
        return str(self.index.numel())
