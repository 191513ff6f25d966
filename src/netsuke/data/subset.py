"""Parts of a data set: some of its images, and a fixed split for choosing hyper-parameters."""

from __future__ import annotations

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import Dataset


class Subset(Dataset):
    """Image i is image indices[i] of `source`. Raises Error for no indices, or one outside of the source."""

    def __init__(self, source: Dataset, indices: np.ndarray, name: str) -> None:
        self.source, self.indices, self.name = source, np.asarray(indices, np.int64), name
        if self.indices.size == 0:
            raise Error(f"{name} holds no images")
        if self.indices.min() < 0 or self.indices.max() >= len(source):
            raise Error(f"{name} asks for image {self.indices.max()} of {source.name}, which holds {len(source)}")
        self.classes, self.labels, self.decodes = source.classes, source.labels[self.indices], source.decodes

    def __len__(self) -> int:
        return len(self.indices)

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.source.read(self.indices[indices], crop, seeds)


def subset(dataset: Dataset, indices: np.ndarray) -> Dataset:
    """The images of `dataset` at these indices, (n,), in this order and as often as named; nothing is copied.

    Raises Error for no indices, or one outside of the data set.
    """
    return Subset(dataset, indices, f"part of {dataset.name}")


def holdout(dataset: Dataset, count: int, seed: int) -> tuple[Dataset, Dataset]:
    """(train, validation): `count` images held out, each class by its share to within one image, the rest to train on.

    A function of the labels, `count` and `seed` alone: the same on every machine and with every version of numpy.
    Both parts keep the order of the data set. Raises Error if `count` leaves either part empty.
    """
    labels = dataset.labels
    if not 1 <= count < len(labels):
        raise Error(f"cannot hold out {count} of the {len(labels)} images of {dataset.name}: 1 to {len(labels) - 1}")
    sizes = np.bincount(labels, minlength=dataset.num_classes)
    whole, rest = np.divmod(sizes * count, len(labels))
    whole[np.argsort(-rest, kind="stable")[: count - whole.sum()]] += 1  # the largest remainders get what is left
    random = np.random.RandomState(seed)  # its stream never changes
    held_out = np.zeros(len(labels), bool)
    for label, quota in enumerate(whole):
        held_out[random.permutation(np.flatnonzero(labels == label))[:quota]] = True
    parts = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    return (
        Subset(dataset, parts[0], f"{dataset.name} without {count} held out"),
        Subset(dataset, parts[1], f"{count} held out of {dataset.name}"),
    )
