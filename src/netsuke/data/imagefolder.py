"""A folder of images, one sub-folder a class; images are read when they are asked for."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from netsuke.artifact.contract import Error, first_line
from netsuke.data import files
from netsuke.data.dataset import Dataset

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class ImageFolder(Dataset):
    """PATH/CLASS/NAME.jpg. Classes are the sub-folders in sorted order, labels their indices; files that do not end
    as an image does are passed over.

    resize: length the shorter side is scaled to, 0 for none. crop: side of the square cut from the centre, 0 for
    none. channels: 3 (RGB) or 1 (grey). These come from the file that will run the images.
    Raises Error for a missing path, no classes, a class without images; when read, for a file that is no image
    or too small for the crop, and for images of different sizes where nothing makes them equal.
    """

    def __init__(
        self, path: str, resize: int = 0, crop: int = 0, interpolation: str = "bilinear", channels: int = 3
    ) -> None:
        root = files.folder("imagefolder", path, "one sub-folder of images for each class")
        folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        if not folders:
            raise Error(f"imagefolder: {path} has no sub-folders; it should hold one for each class")
        self.name = "imagefolder"
        self.classes = tuple(entry.name for entry in folders)
        self.paths: list[Path] = []
        self.labels: list[int] = []
        for label, entry in enumerate(folders):
            found = sorted(image for image in entry.rglob("*") if image.suffix.lower() in SUFFIXES and image.is_file())
            if not found:
                raise Error(f"imagefolder: {entry} holds no images (looked for {', '.join(SUFFIXES)})")
            self.paths += found
            self.labels += [label] * len(found)
        self.resize, self.crop, self.channels = resize, crop, channels
        self.filter = FILTERS[interpolation]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = [self._image(self.paths[i]) for i in indices]
        for image, index in zip(images, indices, strict=True):
            if image.shape != images[0].shape:
                raise Error(
                    f"{self.paths[index]} is {_size(image)}, others are {_size(images[0])}; the file crops nothing\n"
                    "export it with preprocess=Preprocess(..., resize=, crop=)"
                )
        return np.stack(images), np.array([self.labels[i] for i in indices], np.int64)

    def _image(self, path: Path) -> np.ndarray:
        """uint8 (C, H, W), resized and cropped."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata; what it cannot read raises
                with Image.open(path) as opened:
                    image = opened.convert("RGB" if self.channels == 3 else "L")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise Error(
                f"{path} is not an image that can be read: take it out or mend it\n({first_line(error)})"
            ) from None
        if self.resize:
            image = self._resized(image)
        if self.crop:
            image = self._cropped(image, path)
        pixels = np.asarray(image)
        return pixels[None] if self.channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _resized(self, image: Image.Image) -> Image.Image:
        shorter = min(image.size)
        size = [self.resize if side == shorter else int(self.resize * side / shorter) for side in image.size]
        return image.resize((size[0], size[1]), self.filter)

    def _cropped(self, image: Image.Image, path: Path) -> Image.Image:
        width, height = image.size
        if min(width, height) < self.crop:
            raise Error(f"{path} is {width}x{height}, smaller than the crop of {self.crop}\nexport with a resize")
        left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
        return image.crop((left, top, left + self.crop, top + self.crop))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
