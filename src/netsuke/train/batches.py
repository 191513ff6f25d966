"""Batches of an epoch: which images, in what order, with which random numbers; read ahead where files are decoded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from netsuke.artifact.contract import Error
from netsuke.data import Dataset, RandomResizedCrop
from netsuke.train.augment import Augment
from netsuke.train.randomness import generator, order
from netsuke.train.views import FixedViews

AHEAD = 3  # batches


@dataclass(frozen=True)
class Batch:
    """images: float32 (n, C, H, W), augmented, channels last, on the device. labels: int64 (n,) there.

    indices: of the images in the data set, (n,). view: which fixed view they are, if they are one.
    """

    images: Tensor
    labels: Tensor
    indices: np.ndarray
    view: int


class Batches:
    """One process's parts of the batches of `size` images; `len` is the number of batches in an epoch.

    Batch b of an epoch is order[b * size : (b + 1) * size], of which process r of p takes the r-th of p equal slices.
    The random numbers are made for the whole batch and sliced alike, so that p changes nothing. Images that do not fill
    the last batch of an epoch wait for another one. crop: for images decoded from files. views: instead of new random
    numbers in every epoch.

    Raises netsuke.Error where the data are too few for a batch, or a batch cannot be sliced.
    """

    def __init__(
        self,
        data: Dataset,
        augment: Augment,
        size: int,
        seed: int,
        crop: RandomResizedCrop | None = None,
        views: FixedViews | None = None,
        rank: int = 0,
        processes: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(data) < size:
            raise Error(f"{data.name} holds {len(data)} images, fewer than one batch of {size}: set batch lower")
        if size % processes:
            raise Error(f"a batch of {size} images cannot be shared equally by {processes} processes")
        self.data, self.augment, self.size, self.seed = data, augment, size, seed
        self.crop, self.views, self.device = crop, views, torch.device(device)
        own = size // processes
        self.mine = slice(rank * own, (rank + 1) * own)
        self.workers = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    def __len__(self) -> int:
        return len(self.data) // self.size

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from batch `first` on."""
        chosen = order(self.seed, epoch, len(self.data)).numpy()
        places = ((b, chosen[b * self.size : (b + 1) * self.size][self.mine]) for b in range(first, len(self)))
        if not self.data.decodes:
            for b, indices in places:
                draws, seeds = self._random(epoch, b, indices)
                yield self._made(epoch, indices, draws, *self.data.read(indices, self.crop, seeds))
            return
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[tuple[np.ndarray, Tensor, list[Future[tuple[np.ndarray, np.ndarray]]]]] = deque()
            try:
                for b, indices in places:
                    draws, seeds = self._random(epoch, b, indices)
                    shares = np.array_split(np.arange(len(indices)), min(self.workers, len(indices)))
                    parts = [
                        pool.submit(self.data.read, indices[i], self.crop, None if seeds is None else seeds[i])
                        for i in shares
                    ]
                    waiting.append((indices, draws, parts))
                    if len(waiting) > AHEAD:
                        yield self._joined(epoch, *waiting.popleft())
                while waiting:
                    yield self._joined(epoch, *waiting.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _random(self, epoch: int, b: int, indices: np.ndarray) -> tuple[Tensor, np.ndarray | None]:
        """Random numbers of the augmentation, and seeds of the crops, of this process's images."""
        if self.views is not None:
            view = self.views.at(epoch)
            seeds = self.views.seeds(indices, view) if self.crop is not None else None
            return self.views.draws(self.augment, indices, view), seeds
        source = generator(self.seed, epoch, b, 0)
        draws = self.augment.draw(self.size, source)[self.mine]
        if self.crop is None:
            return draws, None
        return draws, torch.randint(2**62, (self.size,), generator=source).numpy()[self.mine]

    def _joined(
        self, epoch: int, indices: np.ndarray, draws: Tensor, parts: list[Future[tuple[np.ndarray, np.ndarray]]]
    ) -> Batch:
        images, labels = zip(*(part.result() for part in parts), strict=True)
        return self._made(epoch, indices, draws, np.concatenate(images), np.concatenate(labels))

    def _made(self, epoch: int, indices: np.ndarray, draws: Tensor, images: np.ndarray, labels: np.ndarray) -> Batch:
        x = self.augment.apply(torch.from_numpy(images).to(self.device), draws)
        x = x.contiguous(memory_format=torch.channels_last)
        view = self.views.at(epoch) if self.views is not None else 0
        return Batch(x, torch.from_numpy(labels).to(self.device), indices, view)
