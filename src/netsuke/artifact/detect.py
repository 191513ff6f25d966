"""The operator `detect` (docs/format.md, section 4), in plain numpy: from an SSD's maps to rows of boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .float32 import exp, fma
from .graph import Detect

LARGEST_SIZE = np.float32(math.log(1000 / 16))  # of a location: a box is at most 62.5 times its default box


def detect(node: Detect, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The rows (N, keep, 6, 1) of a batch. inputs: locations and logits of each map, (N, C, H, W) each."""
    sizes = [locations.shape[2:] for locations in inputs[::2]]
    located = _by_box(inputs[::2], 4)
    with np.errstate(all="ignore"):  # infinity and NaN are numbers like others
        scores = _scores(_by_box(inputs[1::2], node.classes))
        boxes = _decoded(located, default_boxes(node, sizes), node.variances)
        rows = [_rows(node, scores[i], boxes[i]) for i in range(len(scores))]
    return np.array(rows, np.float32).reshape(-1, node.keep, 6, 1)


def default_boxes(node: Detect, sizes: Sequence[Sequence[int]]) -> np.ndarray:
    """float32 (P, 4) of cx, cy, w, h, in the order map, y, x, box of a pixel. sizes: H, W of each map."""
    parts = []
    for shapes, step, (height, width) in zip(node.shapes, node.steps, sizes, strict=True):
        part = np.empty((height, width, len(shapes), 4), np.float32)
        half = np.float32(0.5)
        part[..., 0] = ((np.arange(width, dtype=np.float32) + half) * step[0])[None, :, None]
        part[..., 1] = ((np.arange(height, dtype=np.float32) + half) * step[1])[:, None, None]
        part[..., 2:] = shapes
        parts.append(part.reshape(-1, 4))
    return np.concatenate(parts)


def _by_box(maps: Sequence[np.ndarray], numbers: int) -> np.ndarray:
    """(N, A * numbers, H, W) of each map -> (N, P, numbers)"""
    parts = [y.transpose(0, 2, 3, 1).reshape(len(y), math.prod(y.shape[1:]) // numbers, numbers) for y in maps]
    return np.concatenate(parts, axis=1)


def _scores(logits: np.ndarray) -> np.ndarray:
    """(N, P, classes) -> (N, P, classes - 1), of the classes behind the background."""
    largest = logits[..., 0]
    for c in range(1, logits.shape[-1]):
        largest = np.where(logits[..., c] > largest, logits[..., c], largest)
    powers = exp(logits - largest[..., None])
    total = np.zeros_like(largest)
    for c in range(logits.shape[-1]):
        total = total + powers[..., c]
    return powers[..., 1:] / total[..., None]


def _decoded(located: np.ndarray, default: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """(N, P, 4) of x1, y1, x2, y2, each 0 to 1, or NaN."""
    centre = fma(located[..., :2] * variances[0], default[:, 2:], default[:, :2])
    size = located[..., 2:] * variances[1]
    size = default[:, 2:] * exp(np.where(size > LARGEST_SIZE, LARGEST_SIZE, size))
    half = size * np.float32(0.5)
    boxes = np.concatenate([centre - half, centre + half], axis=-1)
    boxes = np.where(boxes < 0, np.float32(0), boxes)
    return np.where(boxes > 1, np.float32(1), boxes)


def _rows(node: Detect, scores: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(keep, 6) of one image."""
    sound = ~np.isnan(boxes).any(axis=1)
    found: list[tuple[float, int, int]] = []  # what sorts as the rows do: -score, label, box
    for label in range(len(node.labels)):
        of_class = scores[:, label]
        taken = np.flatnonzero(sound & (of_class > np.float32(node.score_threshold)))
        taken = taken[np.argsort(-of_class[taken], kind="stable")][: node.candidates]
        for box in taken[_apart(boxes[taken], np.float32(node.iou_threshold))]:
            found.append((-float(of_class[box]), label, int(box)))
    rows = np.tile(np.array([0, 0, 0, 0, 0, -1], np.float32), (node.keep, 1))
    for row, (score, label, box) in zip(rows, sorted(found), strict=False):
        row[:] = [*boxes[box], -score, label]
    return rows


def _apart(boxes: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Which of the boxes (n, 4), best first, are kept: each that overlaps no better one that is kept by more."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area = width * height
    kept = np.zeros(len(boxes), bool)
    for i in range(len(boxes)):
        left, top = np.maximum(boxes[i, :2], boxes[kept, :2]).T
        right, bottom = np.minimum(boxes[i, 2:], boxes[kept, 2:]).T
        both = np.maximum(right - left, np.float32(0)) * np.maximum(bottom - top, np.float32(0))
        kept[i] = not (both / (area[i] + area[kept] - both) > threshold).any()
    return kept
