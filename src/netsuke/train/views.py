"""A fixed number of augmentations of each image, so that what a teacher says of them can be kept."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from netsuke.artifact.contract import Error
from netsuke.train.augment import Augment
from netsuke.train.randomness import derive


class FixedViews:
    """`count` views of each of `images` images: view v of image i is a function of (seed, v, i) alone.

    Epoch e shows view e mod count of every image (`at`). A loop that uses it takes the random numbers of a batch from
    `draws` (and `seeds`, where images are cut as they are decoded) instead of from its generator of the batch:

        view = views.at(epoch)
        images, labels = dataset.read(indices, crop, views.seeds(indices, view))
        inputs = augment.apply(images, views.draws(augment, indices, view))
        logits = cached_teachers(inputs, progress, indices, view)

    Raises netsuke.Error for fewer than one image or view.
    """

    def __init__(self, images: int, count: int, seed: int) -> None:
        if images < 1 or count < 1:
            raise Error(f"fixed views are at least 1 of at least 1 image, not {count} of {images}")
        self.images, self.count, self.seed = images, count, seed
        self._draws: tuple[int, Tensor] | None = None
        self._seeds: tuple[int, np.ndarray] | None = None

    def at(self, epoch: int) -> int:
        """The view that epoch `epoch`, counted from 0, shows."""
        return epoch % self.count

    def draws(self, augment: Augment, indices: np.ndarray, view: int) -> Tensor:
        """Random numbers for `augment.apply`: float64 (N, columns). indices: (N,), each below `images`."""
        if self._draws is None or self._draws[0] != view:
            place = torch.Generator().manual_seed(derive("view", self.seed, view))
            self._draws = view, augment.draw(self.images, place)
        return self._draws[1][torch.as_tensor(indices)]

    def seeds(self, indices: np.ndarray, view: int) -> np.ndarray:
        """Seeds for a data set's random crop: int64 (N,), not negative."""
        if self._seeds is None or self._seeds[0] != view:
            random = np.random.Generator(np.random.PCG64(derive("view crop", self.seed, view)))
            self._seeds = view, random.integers(0, 2**63, self.images, dtype=np.int64)
        return self._seeds[1][indices]
