"""Reading batches ahead of their use, for data sets that decode files.

Threads, since Pillow decodes and resizes without Python's lock. For a JPEG of about 385x256 cut to 224x224 these two
take 1 ms, of 1.5 ms in all (one core of an AMD EPYC); the rest may hold the lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from netsuke.artifact.contract import Error

if TYPE_CHECKING:
    from netsuke.data.dataset import Source

AHEAD = 3  # batches
PART = 16  # images that one thread reads at a time; of any number of workers, so that all give the same errors

Labels = TypeVar("Labels")


class Loader(Generic[Labels]):
    """Iterates over what `read` of the set gives, images and labels, one pair for each of `batches`, in their order.

    batches: index arrays (n,); taken one after the other, a few ahead. crop (of a detection set: the augmentation),
    seeds: as of `read`, with one array of seeds for each batch. workers: threads; 0 reads in the thread that iterates,
    None takes 0 for data in memory, else the cores this process may use, shared with the other processes that torchrun
    started here. Order and content do not depend on it. What a thread raises is raised where its batch would have
    come; iteration can be left at any point, and begun again if `batches` can.
    """

    def __init__(
        self,
        dataset: Source[Labels],
        batches: Iterable[np.ndarray],
        crop: Any = None,
        seeds: Iterable[np.ndarray] | None = None,
        workers: int | None = None,
    ) -> None:
        if workers is not None and workers < 0:
            raise Error(f"a loader has 0 workers or more, not {workers}")
        self.dataset, self.batches, self.crop, self.seeds = dataset, batches, crop, seeds
        self.workers = _default(dataset) if workers is None else workers

    def __iter__(self) -> Iterator[tuple[np.ndarray, Labels]]:
        seeds: Iterable[np.ndarray | None] = repeat(None) if self.seeds is None else self.seeds
        places = zip(self.batches, seeds, strict=self.seeds is not None)
        if not self.workers:
            for indices, own in places:
                yield self._joined([self._read(*part) for part in self._parts(indices, own)])
            return
        pool = ThreadPoolExecutor(self.workers, "netsuke-loader")
        waiting: deque[list[Future[tuple[np.ndarray, Labels]]]] = deque()
        try:
            for indices, own in places:
                waiting.append([pool.submit(self._read, *part) for part in self._parts(indices, own)])
                if len(waiting) > AHEAD:
                    yield self._joined([part.result() for part in waiting.popleft()])
            while waiting:
                yield self._joined([part.result() for part in waiting.popleft()])
        finally:
            pool.shutdown(cancel_futures=True)

    def _parts(self, indices: np.ndarray, seeds: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        size = PART if self.dataset.decodes else max(1, len(indices))
        for start in range(0, max(1, len(indices)), size):
            yield indices[start : start + size], None if seeds is None else seeds[start : start + size]

    def _read(self, indices: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, Labels]:
        return self.dataset.read(indices, self.crop, seeds)

    def _joined(self, parts: list[tuple[np.ndarray, Labels]]) -> tuple[np.ndarray, Labels]:
        if len(parts) == 1:
            return parts[0]
        shapes = {images.shape[1:] for images, _ in parts}
        if len(shapes) > 1:
            sizes = " and ".join(sorted(f"{shape[2]}x{shape[1]}" for shape in shapes)[:2])
            raise Error(
                f"{self.dataset.name} holds images of {sizes}; the file crops nothing\n"
                "export it with preprocess=Preprocess(..., resize=, crop=)"
            )
        labels: list[Any] = [part for _, part in parts]
        joined = np.concatenate(labels) if isinstance(labels[0], np.ndarray) else list(chain.from_iterable(labels))
        return np.concatenate([images for images, _ in parts]), cast("Labels", joined)


def _default(dataset: Source[Any]) -> int:
    if not dataset.decodes:
        return 0
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
