"""From an image file to pixels of the size a network takes, with Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from netsuke.artifact.contract import Error, first_line
from netsuke.data.crop import RandomResizedCrop

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

T = TypeVar("T")


@dataclass(frozen=True)
class Decoder:
    """resize: length the shorter side is scaled to, 0 for none. crop: side of the square cut from the centre, 0 for
    none. interpolation: "bilinear" or "bicubic". channels: 3 (RGB) or 1 (grey). fit: "shorter" as just said, or
    "stretch" to make both sides `resize` long, whatever their ratio.
    """

    resize: int = 0
    crop: int = 0
    interpolation: str = "bilinear"
    channels: int = 3
    fit: str = "shorter"

    def __call__(
        self, file: Path | IO[bytes], name: str, random: RandomResizedCrop | None = None, seed: int = 0
    ) -> np.ndarray:
        """uint8 (C, H, W). name: of the image, for errors. random: cut and resize by it and `seed` instead.

        Raises Error for what is no image, or smaller than the crop.
        """
        mode = "RGB" if self.channels == 3 else "L"
        if random is None:
            image = open_image(file, name, lambda opened: opened.convert(mode))
        else:
            image = open_image(file, name, lambda opened: _random(opened, mode, random, seed))
        if random is None and self.resize:
            image = self._resized(image)
        if random is None and self.crop:
            image = self._cropped(image, name)
        pixels = np.asarray(image)
        return pixels[None] if self.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def batch(
        self,
        sources: Iterable[tuple[Path | IO[bytes], str]],
        crop: RandomResizedCrop | None = None,
        seeds: np.ndarray | None = None,
    ) -> np.ndarray:
        """uint8 (N, C, H, W) of the files and their names; as `Dataset.read`. Raises Error for unequal sizes."""
        if crop is not None and seeds is None:
            raise Error("a random crop needs a seed for each image")
        images: list[np.ndarray] = []
        for (file, name), seed in zip(sources, repeat(0) if seeds is None else seeds, strict=seeds is not None):
            images.append(self(file, name, crop, int(seed)))
            if images[-1].shape != images[0].shape:
                raise Error(
                    f"{name} is {_size(images[-1])}, others are {_size(images[0])}; the file crops nothing\n"
                    "export it with preprocess=Preprocess(..., resize=, crop=)"
                )
        return np.stack(images)

    def _resized(self, image: Image.Image) -> Image.Image:
        shorter = min(image.size)
        if self.fit == "stretch":
            return image.resize((self.resize, self.resize), FILTERS[self.interpolation])
        size = [self.resize if side == shorter else int(self.resize * side / shorter) for side in image.size]
        return image.resize((size[0], size[1]), FILTERS[self.interpolation])

    def _cropped(self, image: Image.Image, name: str) -> Image.Image:
        width, height = image.size
        if min(width, height) < self.crop:
            raise Error(f"{name} is {width}x{height}, smaller than the crop of {self.crop}\nexport with a resize")
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        return image.crop((left, top, left + self.crop, top + self.crop))


def open_image(file: Path | IO[bytes], name: str, read: Callable[[Image.Image], T]) -> T:
    """What `read` takes from the image in the file. name: of the image, for errors.

    Raises Error if it is no image or damaged, as far as `read` comes to see that.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; what it cannot read raises
            with Image.open(file) as opened:
                return read(opened)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Error(f"{name} is not an image that can be read: take it out or mend it\n({first_line(error)})") from None


def _random(opened: Image.Image, mode: str, random: RandomResizedCrop, seed: int) -> Image.Image:
    """The box cut out and resized. A JPEG far larger than needed is decoded at 1/2, 1/4 or 1/8."""
    width, height = opened.size
    left, top, right, bottom = random.box(width, height, seed)
    share = min((right - left) / random.size, (bottom - top) / random.size)
    if share >= 2:
        opened.draft(mode, (int(width / share), int(height / share)))
    across, down = opened.size[0] / width, opened.size[1] / height
    box = (round(left * across), round(top * down), round(right * across), round(bottom * down))
    # Cut first: a resize that is given the box would blend in pixels from outside of it.
    return opened.convert(mode).crop(box).resize((random.size, random.size), FILTERS[random.interpolation])


def _size(image: np.ndarray) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
