"""What a detector found in one image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from netsuke.artifact.contract import Error


class Detections(NamedTuple):
    """boxes: float32 (n, 4), x1, y1, x2, y2. labels: int64 (n,). scores: float32 (n,), the highest first."""

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def detections(rows: np.ndarray, width: float = 1, height: float = 1) -> Detections:
    """One image's rows of a detector, (keep, 6) of x1, y1, x2, y2, score, label, without those that are unused.

    Those have the label -1. The rows' coordinates are relative to the image; with its width and height in pixels, the
    boxes are in pixels. Raises Error for rows of another shape.
    """
    rows = np.asarray(rows, np.float32)
    if rows.ndim != 2 or rows.shape[1] != 6:
        raise Error(f"a detector gives rows (keep, 6) for an image, not {rows.shape}")
    rows = rows[rows[:, 5] >= 0]
    scale = np.array([width, height, width, height], np.float32)
    return Detections(rows[:, :4] * scale, rows[:, 5].astype(np.int64), rows[:, 4])
