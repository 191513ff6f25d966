"""Parts of a data set, and the fixed stratified split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsuke.artifact.contract import Error
from netsuke.data import ArrayDataset, holdout, open_dataset, subset


def labelled(labels: list[int], classes: int = 4) -> ArrayDataset:
    """Image i is one pixel of value i."""
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return ArrayDataset("made", tuple(map(str, range(classes))), images, np.array(labels, np.int64))


def test_a_subset_reads_the_images_it_names() -> None:
    part = subset(labelled([0, 1, 2, 3, 0]), np.array([4, 1, 1]))
    images, labels = part.read(np.array([0, 2]))
    assert images.ravel().tolist() == [4, 1]
    assert labels.tolist() == [0, 1]
    assert (len(part), part.labels.tolist(), part.num_classes, part.decodes) == (3, [0, 1, 1], 4, False)


@pytest.mark.parametrize("indices", [[], [5], [-1]])
def test_a_subset_of_nothing_or_of_what_is_not_there_is_refused(indices: list[int]) -> None:
    with pytest.raises(Error, match="part of made"):
        subset(labelled([0, 1, 2, 3, 0]), np.array(indices, np.int64))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.data())
def test_a_holdout_parts_every_class_by_its_share(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels) - 1))
    train, validation = holdout(labelled(labels), count, data.draw(st.integers(0, 100)))
    seen = [part.read(np.arange(len(part)))[0].ravel().tolist() for part in (train, validation)]
    assert sorted(seen[0] + seen[1]) == list(range(len(labels)))
    assert len(seen[1]) == count
    assert all(part == sorted(part) for part in seen)
    for label in range(4):
        share = labels.count(label) * count / len(labels)
        assert abs(validation.labels.tolist().count(label) - share) < 1


def test_a_holdout_is_fixed_for_all_time() -> None:
    data = open_dataset("digits", "train")
    validation = holdout(data, 10, 0)[1]
    again, other = holdout(data, 10, 0)[1], holdout(data, 10, 1)[1]
    assert np.array_equal(validation.read(np.arange(10))[0], again.read(np.arange(10))[0])
    assert not np.array_equal(validation.read(np.arange(10))[0], other.read(np.arange(10))[0])
    fixed = holdout(labelled([0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), 4, 0)[1]
    assert fixed.read(np.arange(4))[0].ravel().tolist() == [0, 2, 5, 7]  # seen on numpy 2.4; must never change


@pytest.mark.parametrize("count", [0, -1, 5, 6])
def test_a_holdout_that_leaves_a_part_empty_is_refused(count: int) -> None:
    with pytest.raises(Error, match="1 to 4"):
        holdout(labelled([0, 1, 2, 3, 0]), count, 0)
