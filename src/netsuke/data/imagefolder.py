"""A folder of images, one sub-folder a class; images are read when they are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data import files
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import Dataset
from netsuke.data.decode import SUFFIXES, Decoder


class ImageFolder(Dataset):
    """PATH/CLASS/NAME.jpg. Classes are the sub-folders in sorted order, labels their indices; files that do not end
    as an image does are passed over.

    resize: length the shorter side is scaled to, 0 for none. crop: side of the square cut from the centre, 0 for
    none. channels: 3 (RGB) or 1 (grey). These come from the file that will run the images.
    Raises Error for a missing path, no classes, a class without images; when read, for a file that is no image
    or too small for the crop, and for images of different sizes where nothing makes them equal.
    """

    decodes = True

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
        labels: list[int] = []
        for label, entry in enumerate(folders):
            found = sorted(image for image in entry.rglob("*") if image.suffix.lower() in SUFFIXES and image.is_file())
            if not found:
                raise Error(f"imagefolder: {entry} holds no images (looked for {', '.join(SUFFIXES)})")
            self.paths += found
            labels += [label] * len(found)
        self.labels = np.array(labels, np.int64)
        self.decode = Decoder(resize, crop, interpolation, channels)

    def __len__(self) -> int:
        return len(self.paths)

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        paths = [self.paths[i] for i in indices]
        return self.decode.batch(((path, str(path)) for path in paths), crop, seeds), self.labels[indices]
