"""A folder of images, one sub-folder a class; images are read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data import files
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import Dataset
from netsuke.data.decode import SUFFIXES, Decoder

EVALUATION = ("test", "val")  # ImageNet's folder test has images but no classes, so its val is taken


class ImageFolder(Dataset):
    """PATH/CLASS/NAME.jpg. Classes are the sub-folders in sorted order, labels their indices; files that do not end
    as an image does are passed over.

    If PATH holds train, and test or val (the first with classes in it), the split chooses one of the two; both then
    have the classes of train. Else `split` chooses nothing: PATH is the one set there is.
    resize: length the shorter side is scaled to, 0 for none. crop: side of the square cut from the centre, 0 for
    none. channels: 3 (RGB) or 1 (grey). fit: "shorter" as just said, or "stretch" to make both sides `resize` long.
    These come from the file that will run the images.
    Raises Error for a missing path, no classes, a class without images; when read, for a file that is no image
    or too small for the crop, and for images of different sizes where nothing makes them equal.
    """

    decodes = True

    def __init__(
        self,
        path: str,
        resize: int = 0,
        crop: int = 0,
        interpolation: str = "bilinear",
        channels: int = 3,
        split: str = "test",
        fit: str = "shorter",
    ) -> None:
        self.name = "imagefolder"
        self.root = files.folder("imagefolder", path, "one sub-folder of images for each class")
        self.classes = _folders(self.root)
        if not self.classes:
            raise Error(f"imagefolder: {path} has no sub-folders; it should hold one for each class")
        here = self.classes
        evaluation = next((name for name in EVALUATION if name in here and _folders(self.root / name)), None)
        if "train" in here and evaluation and _folders(self.root / "train"):
            self.name = f"imagefolder {split}"
            self.classes = _folders(self.root / "train")
            self.root /= evaluation if split == "test" else "train"
            here = _folders(self.root)
            if not set(here) <= set(self.classes):
                raise Error(f"imagefolder: {min(set(here) - set(self.classes))} is in {self.root}, but not in train")
        self.names: list[str] = []  # of the files, below root; ImageNet has over a million
        labels: list[int] = []
        for entry in here:
            found = sorted(_images(self.root, entry))
            if not found:
                raise Error(f"imagefolder: {self.root / entry} holds no images (looked for {', '.join(SUFFIXES)})")
            self.names += found
            labels += [self.classes.index(entry)] * len(found)
        self.labels = np.array(labels, np.int64)
        self.decode = Decoder(resize, crop, interpolation, channels, fit)

    def __len__(self) -> int:
        return len(self.names)

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        paths = (self.root / self.names[i] for i in indices)
        return self.decode.batch(((path, str(path)) for path in paths), crop, seeds), self.labels[indices]


def _folders(root: Path) -> tuple[str, ...]:
    with os.scandir(root) as entries:
        return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))


def _images(root: Path, below: str) -> Iterator[str]:
    """The image files in a folder and the folders in it, named from `root`."""
    with os.scandir(root / below) as entries:
        for entry in entries:
            name = f"{below}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _images(root, name)
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                yield name
