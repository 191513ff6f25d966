"""The augmentation that SSD is trained with (Liu et al. 2016, sections 2.2 and 3.6).

Source of the numbers and of the order: its Caffe code, weiliu89/caffe, branch ssd, the files ssd_pascal.py,
annotated_data_layer.cpp and sampler.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data.annotation import Annotation, intersection_over_union
from netsuke.data.photometric import distort

EXPANSION = 4.0  # the most
TRIALS = 50
SCALE = (0.3, 1.0)  # of the square root of the area
RATIO = (0.5, 2.0)  # width / height
OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # the least IoU with some object that a crop may be asked to have
FILTERS = (  # those that stand for Caffe's LINEAR, AREA, NEAREST, CUBIC, LANCZOS4
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
    Image.Resampling.NEAREST,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)
FLIPS = ("none", "horizontal", "both")


@dataclass(frozen=True)
class SSDAugmentation:
    """An image and its boxes, changed by chance, as size x size pixels.

    In this order: photometric distortion; `expand`: with probability 1/2 the image is put somewhere on a field of
    `mean` (RGB), 1 to 4 times as wide and high; `crop`: the whole of that, or a part of it that has an IoU of at least
    0.1, 0.3, 0.5, 0.7, 0.9 or any with some object; the objects whose centre is in it stay, clipped; resizing by one
    of five filters; flips, each with probability 1/2: "horizontal", "both" for things that have no up, or "none".

    Of each kind of part 50 random ones are tried, and what is taken is drawn evenly from the kinds that were found;
    an image without objects stays whole. A part may hold no object, which makes an image of background.

    All of the numbers come from rng.random(), so that a generator of one state gives one result. For speed the colours
    are distorted after the resizing, and the field around the image is added last, to whole pixels of the result; the
    boxes follow the same map as the pixels.
    """

    size: int = 300
    mean: tuple[int, int, int] = (123, 117, 104)
    photometric: bool = True
    expand: bool = True
    crop: bool = True
    flips: str = "horizontal"

    def __post_init__(self) -> None:
        if self.flips not in FLIPS:
            raise Error(f"flips is {self.flips!r}: use one of {', '.join(FLIPS)}")
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise Error(f"size of an augmentation is {self.size!r}: give a whole number of pixels")
        if len(self.mean) != 3 or not all(0 <= level <= 255 for level in self.mean):
            raise Error(f"mean of an augmentation is {self.mean!r}: give three levels of 0 to 255, RGB")

    def __call__(
        self, image: Image.Image | np.ndarray, annotation: Annotation, rng: np.random.Generator
    ) -> tuple[np.ndarray, Annotation]:
        """uint8 (3, size, size) and the objects in it. image: RGB, or uint8 (H, W, 3)."""
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)
        # Everything is relative to the image, so that an expansion is a window larger than it.
        window = self._expanded(rng) if self.expand else np.array([0.0, 0.0, 1.0, 1.0])
        if self.crop:
            window = _part(window, annotation.boxes, rng)
        pixels, window = self._pixels(image, window, rng)
        annotation = _inside(annotation, window)
        for axis in range(FLIPS.index(self.flips)):
            if rng.random() < 0.5:
                pixels, annotation = np.flip(pixels, 1 - axis), _flipped(annotation, axis)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)), annotation

    def _expanded(self, rng: np.random.Generator) -> np.ndarray:
        """The window of an image on its field."""
        happens, share, right, down = rng.random(4)
        ratio = 1 + share * (EXPANSION - 1) if happens < 0.5 else 1.0
        left, top = -right * (ratio - 1), -down * (ratio - 1)
        return np.array([left, top, left + ratio, top + ratio])

    def _pixels(
        self, image: Image.Image, window: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The pixels in the window, (size, size, 3), and the window that it is after the rounding."""
        resample = FILTERS[int(rng.random() * len(FILTERS))]
        canvas = Image.new("RGB", (self.size, self.size), self.mean)
        across, down = (_span(window[axis::2], image.size[axis], self.size) for axis in (0, 1))
        if across is None or down is None:
            return np.asarray(canvas), window
        box = (across.source[0], down.source[0], across.source[1], down.source[1])
        # Cut first: a resize that is given the box would blend in pixels from outside of it.
        piece = image.crop(box).resize((across.length, down.length), resample)
        canvas.paste(distort(piece, rng) if self.photometric else piece, (across.start, down.start))
        return np.asarray(canvas), np.array([across.window, down.window]).T.ravel()


class _Span(NamedTuple):
    """One axis of what is drawn: pixels `source` (first, end) of the image become `length` pixels of the result from
    `start` on. window: of the whole result, relative to the image.
    """

    source: tuple[int, int]
    start: int
    length: int
    window: tuple[float, float]


def _span(window: np.ndarray, side: int, size: int) -> _Span | None:
    """window: (low, high) relative to the image. side, size: pixels of image and result. None: they do not meet."""
    low, high = (float(end) for end in window)
    if low >= 1 or high <= 0:
        return None
    first = min(round(max(low, 0) * side), side - 1)
    end = max(round(min(high, 1) * side), first + 1)
    start = min(round(max(-low, 0) / (high - low) * size), size - 1)
    length = max(round((min(high, 1) - low) / (high - low) * size) - start, 1)
    pixel = (end - first) / side / length  # of the result, relative to the image
    low = first / side - start * pixel
    return _Span((first, end), start, length, (low, low + size * pixel))


def _part(window: np.ndarray, boxes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A window within this one by Caffe's seven samplers; boxes, windows: relative to the image.

    Caffe runs all seven and draws from what they found; to try them in random order and take the first find is as
    likely for each, and is done sooner.
    """
    for kind in np.argsort(rng.random(len(OVERLAPS) + 1)):
        if kind == len(OVERLAPS) or len(boxes) == 0:
            return window
        scale, ratio, right, down = rng.random((4, TRIALS))
        scale = SCALE[0] + scale * (SCALE[1] - SCALE[0])
        ratio = (RATIO[0] + ratio * (RATIO[1] - RATIO[0])).clip(scale**2, 1 / scale**2)  # no side over 1
        sides = np.stack([scale * np.sqrt(ratio), scale / np.sqrt(ratio)], axis=1)
        low = np.stack([right, down], axis=1) * (1 - sides)
        extent = window[2:] - window[:2]
        tried = np.concatenate([window[:2] + low * extent, window[:2] + (low + sides) * extent], axis=1)
        found = np.flatnonzero((intersection_over_union(tried, boxes) >= OVERLAPS[kind]).any(axis=1))
        if len(found):
            return tried[found[0]]
    return window


def _inside(annotation: Annotation, window: np.ndarray) -> Annotation:
    """The objects whose centre is in the window, clipped to it and relative to it."""
    boxes = (annotation.boxes - np.tile(window[:2], 2)) / np.tile(window[2:] - window[:2], 2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    boxes = boxes.clip(0, 1).astype(np.float32)
    kept = ((centres >= 0) & (centres <= 1) & (boxes[:, 2:] > boxes[:, :2])).all(axis=1)
    return annotation._replace(boxes=boxes).take(kept)


def _flipped(annotation: Annotation, axis: int) -> Annotation:
    """The objects of the mirrored image; axis 0 swaps left and right, 1 top and bottom."""
    boxes = annotation.boxes.copy()
    boxes[:, [axis, axis + 2]] = 1 - boxes[:, [axis + 2, axis]]
    return annotation._replace(boxes=boxes)
