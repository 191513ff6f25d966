"""What is known of the objects in one image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Annotation(NamedTuple):
    """The objects of one image, none or more.

    boxes: float32 (n, 4), x1, y1, x2, y2 relative to the image, 0 to 1. labels: int64 (n,). difficult: bool (n,), those
    that a score does not count (PASCAL VOC).
    """

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray

    def take(self, chosen: np.ndarray) -> Annotation:
        """The objects at these indices, or where this mask (n,) is true."""
        return Annotation(self.boxes[chosen], self.labels[chosen], self.difficult[chosen])


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) of the boxes a (n, 4) and b (m, 4), x1, y1, x2, y2; 0 where neither box has an area."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.maximum(high - low, 0).prod(axis=2)
    either = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None] + (b[:, 2:] - b[:, :2]).prod(axis=1) - inner
    return inner / np.where(either > 0, either, 1)
