"""Boxes: their overlap, their offsets from default boxes, and which of them overlap too much to be two objects.

A box is x1, y1, x2, y2, relative to the image: 0 to 1 inside it. A default box is its centre, width and height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_GROWTH = math.log(1000 / 16)  # of a side, over its default box's, as a logarithm

Shape = tuple[float, float]  # width, height


def default_boxes(
    sizes: Sequence[tuple[int, int]], shapes: Sequence[Sequence[Shape]], steps: Sequence[float]
) -> Tensor:
    """Centre x, centre y, width and height of all default boxes (Liu et al. 2016, section 2.2): float32 (P, 4).

    sizes: (H, W) of each source map. shapes: of the boxes at each of its places. steps: between two places, relative to
    the image. Ordered by map, row, column and shape; the centre of row y and column x is ((x + 0.5), (y + 0.5)) * step.
    """
    maps = []
    for (height, width), own, step in zip(sizes, shapes, steps, strict=True):
        y, x = ((torch.arange(n, dtype=torch.float32) + 0.5) * torch.tensor(step) for n in (height, width))
        centres = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], 2)  # (H, W, 2): x, y
        boxes = torch.cat(
            [centres[:, :, None].expand(-1, -1, len(own), -1), torch.tensor(own).expand(height, width, -1, -1)], 3
        )
        maps.append(boxes.reshape(-1, 4))
    return torch.cat(maps)


def corners(boxes: Tensor) -> Tensor:
    """x1, y1, x2, y2 of boxes that are centre, width and height: (..., 4) -> (..., 4)."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each box of a with each of b: (..., A, 4), (..., B, 4) -> (..., A, B)."""
    ax1, ay1, ax2, ay2 = a[..., :, None, :].unbind(-1)
    bx1, by1, bx2, by2 = b[..., None, :, :].unbind(-1)
    shared = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    shared *= (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)


def encode(boxes: Tensor, defaults: Tensor, variances: Sequence[float]) -> Tensor:
    """The offsets that a network learns (Liu et al. 2016, equation 2; the variances are those of its code).

    boxes: (..., P, 4) as corners, the object of each default box. defaults: (P, 4). -> (..., P, 4).
    """
    centres, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    offsets = (centres - defaults[:, :2]) / (defaults[:, 2:] * variances[0])
    return torch.cat([offsets, (sides / defaults[:, 2:]).log() / variances[1]], -1)


def decode(offsets: Tensor, defaults: Tensor, variances: Sequence[float]) -> Tensor:
    """Boxes of offsets, as corners, clipped to the image; the inverse of `encode`. (..., P, 4) -> (..., P, 4).

    No box has sides of more than 1000 / 16 times its default box's, so that none is infinite.
    """
    centres = offsets[..., :2] * variances[0] * defaults[:, 2:] + defaults[:, :2]
    sides = defaults[:, 2:] * (offsets[..., 2:] * variances[1]).clamp(max=LARGEST_GROWTH).exp()
    return corners(torch.cat([centres, sides], -1)).clamp(0, 1)


def suppress(boxes: Tensor, alive: Tensor, threshold: float) -> Tensor:
    """What greedy non-maximum suppression leaves of several lists of boxes: bool (..., n).

    boxes: (..., n, 4), the best of a list first. alive: bool (..., n), false for rows that are no boxes. A box goes
    where it overlaps one before it that stays by more than the threshold.
    """
    beyond = overlaps(boxes, boxes) > threshold
    stays = alive.clone()
    for i in range(boxes.shape[-2] - 1):
        stays[..., i + 1 :] &= ~(beyond[..., i, i + 1 :] & stays[..., i, None])
    return stays
