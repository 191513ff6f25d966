"""Parts of a data set: some of its images, and a fixed split for choosing hyper-parameters."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.annotation import Annotation
from netsuke.data.crop import RandomResizedCrop
from netsuke.data.dataset import Dataset, Source
from netsuke.data.detection_dataset import Augmentation, DetectionDataset

AnySource = TypeVar("AnySource", bound=Source[Any])


class _Part:
    """Image i is image indices[i] of `source`. Raises Error for no indices, or one outside of the source."""

    def __init__(self, source: Source[Any], indices: np.ndarray, name: str) -> None:
        self.indices, self.name = np.asarray(indices, np.int64), name
        if self.indices.size == 0:
            raise Error(f"{name} holds no images")
        if self.indices.min() < 0 or self.indices.max() >= len(source):
            raise Error(f"{name} asks for image {self.indices.max()} of {source.name}, which holds {len(source)}")
        self.classes, self.decodes = source.classes, source.decodes

    def __len__(self) -> int:
        return len(self.indices)


class Subset(_Part, Dataset):
    def __init__(self, source: Dataset, indices: np.ndarray, name: str) -> None:
        super().__init__(source, indices, name)
        self.source, self.labels = source, source.labels[self.indices]

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.source.read(self.indices[indices], crop, seeds)


class DetectionSubset(_Part, DetectionDataset):
    """skipped: of the whole source."""

    def __init__(self, source: DetectionDataset, indices: np.ndarray, name: str) -> None:
        super().__init__(source, indices, name)
        self.source, self.skipped = source, source.skipped

    def annotations(self, i: int) -> Annotation:
        return self.source.annotations(int(self.indices[i]))

    def size(self, i: int) -> tuple[int, int]:
        return self.source.size(int(self.indices[i]))

    def read(
        self, indices: np.ndarray, augmentation: Augmentation | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[Annotation]]:
        return self.source.read(self.indices[indices], augmentation, seeds)


def subset(dataset: AnySource, indices: np.ndarray) -> AnySource:
    """The images of `dataset` at these indices, (n,), in this order and as often as named; nothing is copied.

    Raises Error for no indices, or one outside of the data set.
    """
    return _part(dataset, indices, f"part of {dataset.name}")


def holdout(dataset: AnySource, count: int, seed: int) -> tuple[AnySource, AnySource]:
    """(train, validation): `count` images held out, each class by its share to within one image, the rest to train on.

    An image with boxes goes with the class, of those in it, that has the fewest objects in the data set.
    A function of the labels, `count` and `seed` alone: the same on every machine and with every version of numpy.
    Both parts keep the order of the data set. Raises Error if `count` leaves either part empty.
    """
    labels = _strata(dataset)
    if not 1 <= count < len(labels):
        raise Error(f"cannot hold out {count} of the {len(labels)} images of {dataset.name}: 1 to {len(labels) - 1}")
    sizes = np.bincount(labels, minlength=dataset.num_classes)
    whole, rest = np.divmod(sizes * count, len(labels))
    whole[np.argsort(-rest, kind="stable")[: count - whole.sum()]] += 1  # the largest remainders get what is left
    random = np.random.RandomState(seed)  # its stream never changes
    held_out = np.zeros(len(labels), bool)
    for label, quota in enumerate(whole):
        held_out[random.permutation(np.flatnonzero(labels == label))[:quota]] = True
    return (
        _part(dataset, np.flatnonzero(~held_out), f"{dataset.name} without {count} held out"),
        _part(dataset, np.flatnonzero(held_out), f"{count} held out of {dataset.name}"),
    )


def _part(dataset: AnySource, indices: np.ndarray, name: str) -> AnySource:
    part: Source[Any]
    if isinstance(dataset, DetectionDataset):
        part = DetectionSubset(dataset, indices, name)
    else:
        part = Subset(cast(Dataset, dataset), indices, name)
    return cast(AnySource, part)


def _strata(dataset: Source[Any]) -> np.ndarray:
    """int64 (len,): the labels, or the rarest class in each image, num_classes where there is none."""
    if not isinstance(dataset, DetectionDataset):
        return cast(Dataset, dataset).labels
    labels = [dataset.annotations(i).labels for i in range(len(dataset))]
    objects = np.bincount(np.concatenate(labels), minlength=dataset.num_classes)
    return np.array([min(own, key=lambda c: (objects[c], c), default=dataset.num_classes) for own in labels], np.int64)
