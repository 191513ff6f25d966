"""Mean average precision as PASCAL VOC's development kit computes it (Everingham et al. 2010, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.annotation import Annotation, intersection_over_union
from netsuke.data.detections import Detections

POINTS = 10  # recalls 0, 1/10, ..., 1
INTERPOLATIONS = ("11-point", "all-point")


@dataclass(frozen=True)
class AveragePrecision:
    """classes: their names. of_class: float64 (classes,), 0 to 1; NaN for a class that has no object that counts."""

    classes: tuple[str, ...]
    of_class: np.ndarray

    @property
    def map(self) -> float:
        """The mean over the classes that have objects."""
        return float(np.nanmean(self.of_class))


def average_precision(
    found: Sequence[Detections],
    annotations: Sequence[Annotation],
    classes: Sequence[str],
    interpolation: str = "11-point",
    iou_threshold: float = 0.5,
) -> AveragePrecision:
    """found, annotations: one of each an image, boxes in the same coordinates; labels are indices of `classes`.

    The detections of a class are looked at by score, the highest first (equal ones by image, then row). Each belongs
    to the object of its class in its image with the largest IoU. If that IoU is below the threshold, or the object has
    a detection already, it is a false positive, else a true one; but if the object is difficult, the detection is not
    counted. Difficult objects do not count either.

    With p(r) the largest precision at a recall of r or more, "11-point" (VOC until 2009) is the mean of p over r = 0,
    0.1, ..., 1, and "all-point" (VOC since 2010) the area under p.

    Raises Error for lists of different lengths, labels that are no class, scores that are not finite, and where no
    object counts.
    """
    classes = tuple(classes)
    if interpolation not in INTERPOLATIONS:
        raise Error(f"interpolation is {interpolation!r}: use one of {', '.join(INTERPOLATIONS)}")
    if not 0 < iou_threshold <= 1:
        raise Error(f"iou_threshold is {iou_threshold}: give a number over 0, up to 1")
    if len(found) != len(annotations):
        raise Error(f"there are detections of {len(found)} images, but annotations of {len(annotations)}")
    if not found:
        raise Error("there are no images to measure the precision on")
    labels, scores = (np.concatenate([each[i] for each in found]) for i in (1, 2))
    objects, difficult = (np.concatenate([each[i] for each in annotations]) for i in (1, 2))
    for what, seen in (("detections", labels), ("annotations", objects)):
        if seen.size and not 0 <= seen.min() <= seen.max() < len(classes):
            raise Error(f"the {what} have labels {seen.min()} to {seen.max()}, but there are {len(classes)} classes")
    if not np.isfinite(scores).all():
        raise Error("a detection has a score that is not finite")
    nearest = _nearest(found, annotations, iou_threshold)
    of_class = np.full(len(classes), np.nan)
    for label in range(len(classes)):
        count = int(((objects == label) & ~difficult).sum())
        if count:
            mine = np.flatnonzero(labels == label)
            best_first = nearest[mine[np.argsort(-scores[mine], kind="stable")]]
            counted = best_first[(best_first < 0) | ~difficult[best_first]]
            true = np.zeros(len(counted), bool)
            true[np.unique(counted, return_index=True)[1]] = True  # the first of each object
            of_class[label] = _average(true & (counted >= 0), count, interpolation)
    if np.isnan(of_class).all():
        raise Error("the annotations hold no object that counts: mean average precision is of one or more")
    return AveragePrecision(classes, of_class)


def _nearest(found: Sequence[Detections], annotations: Sequence[Annotation], iou_threshold: float) -> np.ndarray:
    """int64 (detections of all images,): the object, of those of all images, of the same class and the largest IoU;
    -1 where that is below the threshold.
    """
    nearest, first = [np.zeros(0, np.int64)], 0
    for seen, annotation in zip(found, annotations, strict=True):
        overlaps = intersection_over_union(seen.boxes.astype(np.float64), annotation.boxes.astype(np.float64))
        overlaps[seen.labels[:, None] != annotation.labels] = 0
        overlaps = np.pad(overlaps, ((0, 0), (0, 1)))  # where there is no object, none overlaps
        nearest.append(np.where(overlaps.max(axis=1) >= iou_threshold, first + overlaps.argmax(axis=1), -1))
        first += len(annotation.labels)
    return np.concatenate(nearest)


def _average(outcomes: np.ndarray, objects: int, interpolation: str) -> float:
    """The average precision of a class with this many objects, its detections true or not, the best first."""
    true = outcomes.cumsum()
    precision = true / np.arange(1, len(true) + 1)
    # p: at each place the largest precision from there on, and 0 past the end.
    precision = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if interpolation == "all-point":
        return float(precision[:-1][outcomes].sum() / objects)  # each true detection adds 1 / objects of recall
    first = np.searchsorted(true * POINTS, np.arange(POINTS + 1) * objects)  # recall >= r, in whole numbers
    return float(precision[first].mean())
