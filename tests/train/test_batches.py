"""Which images and which random numbers a batch has: a function of seed, epoch and place alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from netsuke import Error, Preprocess
from netsuke.data import ArrayDataset, RandomResizedCrop
from netsuke.train import Augment, generator, order
from netsuke.train.batches import Batch, Batches
from netsuke.train.randomness import derive
from netsuke.train.views import FixedViews

AUGMENT = Augment(Preprocess((0.5,), (0.5,)), crop_padding=2, flip=True)


class Decoding(ArrayDataset):
    """As if its images were decoded: an image cut by a seed is that image, its last pixel a byte of the seed."""

    decodes = True

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        images, labels = super().read(indices)
        if crop is not None:
            assert seeds is not None
            images = images.copy()
            images[:, 0, -1, -1] = seeds % 256
        return images, labels


def dataset(kind: type[ArrayDataset] = ArrayDataset, count: int = 50) -> ArrayDataset:
    images = np.random.RandomState(0).randint(0, 256, (count, 1, 5, 5)).astype(np.uint8)
    return kind("numbers", tuple(map(str, range(count))), images, np.arange(count))


def equal(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels) for x, y in zip(a, b, strict=True)
    )


def test_random_numbers_are_a_function_of_their_place() -> None:
    places = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    draws = [torch.rand(4, generator=generator(*place)) for place in places]
    assert len({tuple(d.tolist()) for d in draws}) == len(places)
    assert torch.equal(draws[0], torch.rand(4, generator=generator(0, 0, 0, 0)))
    # Fixed for good: a run must go on under a newer netsuke.
    assert derive("batch", 1, 2, 3, 4) == 6447137637436984343
    assert order(0, 0, 5).tolist() == [2, 3, 1, 0, 4]


def test_an_epoch_shows_each_image_at_most_once() -> None:
    batches = Batches(dataset(), AUGMENT, 16, seed=0)
    epochs = [torch.cat([batch.labels for batch in batches.epoch(e)]) for e in range(2)]
    assert len(batches) == 3
    assert all(len(set(labels.tolist())) == 48 for labels in epochs)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("kind", [ArrayDataset, Decoding])
def test_an_epoch_begun_in_its_middle_is_its_tail(kind: type[ArrayDataset]) -> None:
    crop = RandomResizedCrop(5) if kind is Decoding else None
    batches = Batches(dataset(kind), AUGMENT, 8, seed=3, crop=crop)
    whole = list(batches.epoch(1))
    assert len(whole) == 6
    assert equal(list(batches.epoch(1, first=4)), whole[4:])
    assert not equal(list(batches.epoch(2)), whole)


@pytest.mark.parametrize("kind", [ArrayDataset, Decoding])
def test_processes_have_slices_of_the_one_batch(kind: type[ArrayDataset]) -> None:
    crop = RandomResizedCrop(5) if kind is Decoding else None
    whole = list(Batches(dataset(kind), AUGMENT, 12, 0, crop).epoch(0))
    parts = [list(Batches(dataset(kind), AUGMENT, 12, 0, crop, rank=r, processes=3).epoch(0)) for r in range(3)]
    for batch, *slices in zip(whole, *parts, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in slices]))
        assert batch.labels.tolist() == [label for part in slices for label in part.labels.tolist()]


def test_fixed_views_return() -> None:
    views = FixedViews(50, 2, seed=0)
    batches = Batches(dataset(Decoding), AUGMENT, 50, 0, RandomResizedCrop(5), views)
    shown = []
    for epoch in range(3):
        (batch,) = batches.epoch(epoch)
        assert batch.view == epoch % 2
        assert batch.indices.tolist() == batch.labels.tolist()
        shown.append(batch.images[batch.labels.argsort()])
    assert torch.equal(shown[0], shown[2])
    assert not torch.equal(shown[0], shown[1])


def test_batches_that_cannot_be() -> None:
    with pytest.raises(Error, match="holds 50 images, fewer than one batch of 51"):
        Batches(dataset(), AUGMENT, 51, 0)
    with pytest.raises(Error, match="a batch of 8 images cannot be shared equally by 3 processes"):
        Batches(dataset(), AUGMENT, 8, 0, processes=3)
    with pytest.raises(Error, match="shard_group is for whole WebDataset shards"):
        Batches(dataset(), AUGMENT, 8, 0, shard_group=2)
