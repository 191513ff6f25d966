"""What a data set of images with boxes is to the rest of the library."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

import numpy as np
from PIL import Image

from netsuke.data.annotation import Annotation
from netsuke.data.dataset import Source


class Augmentation(Protocol):
    """What a detection set can be read through: the image and its boxes changed together, by chance."""

    def __call__(
        self, image: Image.Image | np.ndarray, annotation: Annotation, rng: np.random.Generator
    ) -> tuple[np.ndarray, Annotation]: ...


class DetectionDataset(Source[list[Annotation]]):
    """Images and the boxes of the objects in them. What is said of the boxes is known without decoding an image.

    skipped: how many objects were left out because their box has no area; published sets have some.
    """

    skipped: int

    @abstractmethod
    def annotations(self, i: int) -> Annotation:
        """The objects of image i."""

    @abstractmethod
    def size(self, i: int) -> tuple[int, int]:
        """Width and height of image i in pixels, as its file is."""

    @abstractmethod
    def read(
        self, indices: np.ndarray, augmentation: Augmentation | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[Annotation]]:
        """The images at these indices, uint8 (N, C, H, W), channels in RGB order, and their objects.

        augmentation: change image i and its boxes by the random numbers of seeds[i], instead of the set's own
        resizing; seeds: integers (N,), 0 or more.
        """
