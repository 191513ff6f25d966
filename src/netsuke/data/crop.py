"""The random crop of ImageNet training, made while an image is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from netsuke.artifact.contract import Error

TRIES = 10


@dataclass(frozen=True)
class RandomResizedCrop:
    """A box of random area and shape out of the image, resized to size x size pixels (Szegedy et al. 2015, section 6).

    size: pixels. scale: least and largest share of the image's area. ratio: least and largest width / height, drawn
    evenly on a log scale. interpolation: "bilinear" or "bicubic". As in torchvision: ten tries, then the largest box
    in the middle whose ratio is allowed. Raises netsuke.Error for ranges that are empty or not positive.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            try:
                low, high = (float(value) for value in getattr(self, name))
            except (TypeError, ValueError):
                raise Error(f"{name} of a random crop is {getattr(self, name)!r}: give two numbers") from None
            object.__setattr__(self, name, (low, high))
            if not 0 < low <= high < math.inf:
                raise Error(f"{name} of a random crop is {low} to {high}: give two positive numbers, the smaller first")
        if self.scale[1] > 1:
            raise Error(f"scale of a random crop is up to {self.scale[1]}: 1 is the whole image")
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise Error(f"size of a random crop is {self.size!r}: give a whole number of pixels")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise Error(f"interpolation is {self.interpolation!r}: use 'bilinear' or 'bicubic'")

    def box(self, width: int, height: int, seed: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in pixels of an image of this size; a function of the seed, 0 or more, alone."""
        uniform = Random(int(seed)).random  # Python promises to keep its stream
        for _ in range(TRIES):
            area, shape, down, right = uniform(), uniform(), uniform(), uniform()
            target = width * height * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
            ratio = math.exp(low + shape * (high - low))
            w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(right * (width - w + 1)), int(down * (height - h + 1))
                return left, top, left + w, top + h
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h
