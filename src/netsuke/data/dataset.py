"""What every data set is to the rest of the library: labelled 8-bit images that can be read in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.loader import Loader

Labels = TypeVar("Labels")


class Source(ABC, Generic[Labels]):
    """8-bit images of one size with what is known of them: a label (`Dataset`), or boxes (`DetectionDataset`).

    name: the kind and the split, as in "cifar10 test". classes: their names; label i is classes[i]. decodes: whether
    reading decodes image files, so that it takes long, and a crop; else the images lie in memory.
    """

    name: str
    classes: tuple[str, ...]
    decodes: bool

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(
        self, indices: np.ndarray, change: Any = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, Labels]:
        """The images at these indices, uint8 (N, C, H, W), channels in RGB order, and their labels.

        change: what is done to an image while it is read, image i by the random numbers of seeds[i]; seeds: integers
        (N,), 0 or more.
        """

    def batches(self, size: int, limit: int | None = None) -> Iterator[tuple[np.ndarray, Labels]]:
        """Images uint8 (n, C, H, W) and their labels, n at most `size`, in order; files are read ahead.

        limit: read only that many images, evenly spaced (a folder is sorted by class, so its first images are one
        class). Raises Error if `size` or `limit` is not positive.
        """
        if size < 1 or (limit is not None and limit < 1):
            raise Error(f"batch size and limit must be 1 or more, got {size} and {limit}")
        count = len(self) if limit is None else min(limit, len(self))
        indices = np.arange(count, dtype=np.int64) * len(self) // count
        yield from Loader(self, (indices[start : start + size] for start in range(0, count, size)))


class Dataset(Source[np.ndarray]):
    """Labelled 8-bit images of one size. labels: of all images, int64 (len,), known without reading one."""

    labels: np.ndarray

    @abstractmethod
    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels at these indices: uint8 (N, C, H, W), channels in RGB order, and int64 (N,).

        crop: cut image i by the random numbers of seeds[i], instead of the set's own resizing; seeds: integers (N,),
        0 or more. Raises Error if the set's images lie in memory and a crop is given.
        """


@dataclass
class ArrayDataset(Dataset):
    """A data set held in memory. images: uint8 (N, C, H, W). labels: int64 (N,), each below len(classes)."""

    name: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    decodes = False

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise Error(f"{self.name} holds no images")
        if len(self.images) != len(self.labels):
            raise Error(f"{self.name} holds {len(self.images)} images but {len(self.labels)} labels")
        if self.labels.max() >= len(self.classes):
            raise Error(f"{self.name} has label {self.labels.max()}, but only {self.num_classes} classes")

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        if crop is not None:
            raise Error(f"the images of {self.name} are not cut from larger ones: a random resized crop is for files")
        return self.images[indices], self.labels[indices]
