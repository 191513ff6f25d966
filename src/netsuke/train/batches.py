"""Batches of an epoch: which images, in what order, with which random numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netsuke.artifact.contract import Error
from netsuke.data import Annotation, Loader, RandomResizedCrop, Source, SSDAugmentation, WebDataset, shard_order
from netsuke.train.augment import Augment
from netsuke.train.randomness import derive, generator, order
from netsuke.train.views import FixedViews


@dataclass(frozen=True)
class Batch:
    """images: float32 (n, C, H, W), augmented, channels last, on the device. labels: as of `label_tensor`, there.

    indices: of the images in the data set, (n,). view: which fixed view they are, if they are one.
    """

    images: Tensor
    labels: Tensor
    indices: np.ndarray
    view: int


def label_tensor(labels: np.ndarray | Sequence[Annotation]) -> Tensor:
    """Labels int64 (n,) as they are; of annotations their objects, float32 (n, M, 6), M those of the image with most.

    An object is x1, y1, x2, y2 relative to the image, its label, and 1 where it is difficult; rows that an image has no
    object for are zeros with the label -1.
    """
    if isinstance(labels, np.ndarray):
        return torch.from_numpy(labels)
    rows = np.tile(np.array([0, 0, 0, 0, -1, 0], np.float32), (len(labels), max(len(a.labels) for a in labels), 1))
    for own, (boxes, names, difficult) in zip(rows, labels, strict=True):
        own[: len(names)] = np.concatenate([boxes, names[:, None], difficult[:, None]], 1)
    return torch.from_numpy(rows)


def annotation(objects: np.ndarray) -> Annotation:
    """The annotation of one image out of its rows of `label_tensor`, (M, 6)."""
    objects = objects[objects[:, 4] >= 0]
    return Annotation(objects[:, :4], objects[:, 4].astype(np.int64), objects[:, 5] > 0)


class Batches:
    """One process's parts of the batches of `size` images; `len` is the number of batches in an epoch.

    Batch b of an epoch is order[b * size : (b + 1) * size], of which process r of p takes the r-th of p equal slices.
    The random numbers are made for the whole batch and sliced alike, so that p changes nothing. Images that do not fill
    the last batch of an epoch wait for another one. crop: for images decoded from files. views: instead of new random
    numbers in every epoch. shard_group: of shards that are in use together (`shard_order`), 0 for all.

    Raises netsuke.Error where the data are too few for a batch, have no shards to group, or a batch cannot be sliced.
    """

    def __init__(
        self,
        data: Source[Any],
        augment: Augment,
        size: int,
        seed: int,
        crop: RandomResizedCrop | SSDAugmentation | None = None,
        views: FixedViews | None = None,
        shard_group: int = 0,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(data) < size:
            raise Error(f"{data.name} holds {len(data)} images, fewer than one batch of {size}: set batch lower")
        if size % processes:
            raise Error(f"a batch of {size} images cannot be shared equally by {processes} processes")
        if shard_group and not isinstance(data, WebDataset):
            raise Error(f"shard_group is for whole WebDataset shards, and {data.name} is none: set it to 0")
        self.data, self.augment, self.size, self.seed = data, augment, size, seed
        self.crop, self.views, self.shard_group, self.device = crop, views, shard_group, torch.device(device)
        own = size // processes
        self.mine = slice(rank * own, (rank + 1) * own)

    def __len__(self) -> int:
        return len(self.data) // self.size

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `first` on; files are decoded some batches ahead."""
        chosen = self._order(epoch)
        numbers = range(first, len(self))
        places = [chosen[b * self.size : (b + 1) * self.size][self.mine] for b in numbers]
        seeds = None
        if self.crop is not None:
            seeds = (self._seeds(epoch, b, indices) for b, indices in zip(numbers, places, strict=True))
        view = self.views.at(epoch) if self.views is not None else 0
        loader = Loader(self.data, places, self.crop, seeds)
        for b, indices, (images, labels) in zip(numbers, places, loader, strict=True):
            draws = self._draws(epoch, b, indices)
            x = self.augment.apply(torch.from_numpy(images).to(self.device), draws)
            x = x.contiguous(memory_format=torch.channels_last)
            yield Batch(x, label_tensor(labels).to(self.device), indices, view)

    def _order(self, epoch: int) -> np.ndarray:
        if self.shard_group:
            assert isinstance(self.data, WebDataset)
            return shard_order(self.data.shard_sizes, self.shard_group, derive("shards", self.seed, epoch))
        return order(self.seed, epoch, len(self.data)).numpy()

    def _draws(self, epoch: int, b: int, indices: np.ndarray) -> Tensor:
        """Random numbers of the augmentation of this process's images."""
        if self.views is not None:
            return self.views.draws(self.augment, indices, self.views.at(epoch))
        return self.augment.draw(self.size, generator(self.seed, epoch, b, 0))[self.mine]

    def _seeds(self, epoch: int, b: int, indices: np.ndarray) -> np.ndarray:
        """Seeds of their crops."""
        if self.views is not None:
            return self.views.seeds(indices, self.views.at(epoch))
        random = torch.Generator().manual_seed(derive("crop", self.seed, epoch, b))
        return torch.randint(2**62, (self.size,), generator=random).numpy()[self.mine]
