"""SPEC strings: what they open and what they say when they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from netsuke.artifact.contract import Error
from netsuke.data import kinds, open_dataset


def test_an_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(Error) as caught:
        open_dataset("cifar:somewhere")
    assert all(kind in str(caught.value) for kind in kinds())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test_batch.bin", "cifar10"),
        ("test.bin", "cifar100"),
        ("t10k-images-idx3-ubyte.gz", "mnist"),
        ("train-0000.tar", "webdataset"),
        ("cats", "imagefolder"),
    ],
)
def test_a_path_without_a_kind_gets_one_proposed(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(Error, match=f"write {kind}:{tmp_path}"):
        open_dataset(str(tmp_path))


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"no test\.bin in") as caught:
        open_dataset(f"cifar100:{tmp_path}")
    assert str(caught.value).count("test.bin") == 1


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind != "digits"])
def test_a_missing_path_says_what_was_looked_for(kind: str, tmp_path) -> None:
    with pytest.raises(Error, match="does not exist") as caught:
        open_dataset(f"{kind}:{tmp_path}/absent")
    assert "folder" in str(caught.value)
    with pytest.raises(Error, match="needs a path"):
        open_dataset(kind)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(Error, match="test, train"):
        open_dataset("digits", split="validation")


def test_digits_are_split_once_and_for_all() -> None:
    test, train = open_dataset("digits"), open_dataset("digits", "train")
    assert (len(test), len(train), test.num_classes) == (360, 1437, 10)
    images, labels = next(test.batches(5))
    assert images.shape == (5, 1, 8, 8)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert images.max() == 255
    seen = {image.tobytes() for batch, _ in train.batches(100) for image in batch}
    held_out = [image.tobytes() in seen for batch, _ in test.batches(100) for image in batch]
    assert sum(held_out) == 0


def test_digits_take_no_path() -> None:
    with pytest.raises(Error, match="no path"):
        open_dataset("digits:somewhere")


def test_batches_cover_everything_once() -> None:
    data = open_dataset("digits")
    sizes = [len(labels) for _, labels in data.batches(100)]
    assert sizes == [100, 100, 100, 60]
    labels = np.concatenate([labels for _, labels in data.batches(7)])
    assert np.array_equal(labels, data.read(np.arange(360))[1])


def test_a_limit_is_spread_over_the_set() -> None:
    data = open_dataset("digits")
    labels = np.concatenate([labels for _, labels in data.batches(64, limit=90)])
    assert np.array_equal(labels, data.read(np.arange(0, 360, 4))[1])
    assert sum(len(labels) for _, labels in data.batches(64, limit=10_000)) == 360


@pytest.mark.parametrize(("size", "limit"), [(0, None), (1, 0), (-1, 5)])
def test_a_batch_or_limit_below_one_is_refused(size: int, limit: int | None) -> None:
    with pytest.raises(Error, match="1 or more"):
        next(open_dataset("digits").batches(size, limit))
