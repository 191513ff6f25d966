"""Reading ahead: the same batches with any number of threads, errors where they belong, nothing for nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from netsuke.artifact.contract import Error
from netsuke.data import ArrayDataset, Dataset, Loader, RandomResizedCrop, open_dataset
from netsuke.data.loader import AHEAD


class Made(Dataset):
    """Image i is one pixel of value i. It notes who reads what; some are slow, one may fail."""

    name, classes, decodes = "made", ("a",), True

    def __init__(self, count: int, fails: int = -1) -> None:
        self.labels, self.fails = np.zeros(count, np.int64), fails
        self.seen: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.labels)

    def read(
        self, indices: np.ndarray, crop: RandomResizedCrop | None = None, seeds: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        self.seen += indices.tolist()
        self.threads.add(threading.current_thread().name)
        if self.fails in indices:
            raise Error(f"image {self.fails} is broken")
        time.sleep(0.0005 * (indices[0] % 3))
        values = indices if seeds is None else seeds
        return values.astype(np.uint8).reshape(-1, 1, 1, 1), indices


@given(st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=40), max_size=8), st.integers(0, 4), st.booleans())
def test_batches_come_in_order_with_any_number_of_workers(lists: list[list[int]], workers: int, cut: bool) -> None:
    batches = [np.array(indices) for indices in lists]
    seeds = [(indices + 100) % 256 for indices in batches] if cut else None
    read = list(Loader(Made(100), batches, RandomResizedCrop(1) if cut else None, seeds, workers))
    assert [labels.tolist() for _, labels in read] == lists
    assert [images.ravel().tolist() for images, _ in read] == [s.tolist() for s in (seeds if seeds else batches)]


def test_an_error_comes_where_its_batch_would_have_come() -> None:
    batches = [np.arange(start, start + 10) for start in range(0, 100, 10)]
    for workers in (0, 3):
        loader = iter(Loader(Made(100, fails=25), batches, workers=workers))
        assert next(loader)[1][0] == 0
        assert next(loader)[1][0] == 10
        with pytest.raises(Error, match="image 25 is broken"):
            next(loader)


def test_only_a_few_batches_are_read_ahead_and_leaving_stops_the_threads() -> None:
    data = Made(1000)
    loader = iter(Loader(data, (np.array([i]) for i in range(1000)), workers=2))
    next(loader)
    time.sleep(0.05)
    assert len(data.seen) <= AHEAD + 1
    assert all(name.startswith("netsuke-loader") for name in data.threads)
    loader.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("netsuke-loader")]


def test_data_in_memory_need_no_thread() -> None:
    data = ArrayDataset("memory", ("a",), np.zeros((9, 1, 2, 2), np.uint8), np.zeros(9, np.int64))
    assert Loader(data, []).workers == 0
    assert Loader(Made(1), []).workers >= 1
    made = Made(50)
    assert [len(labels) for _, labels in Loader(made, [np.arange(50)], workers=0)] == [50]
    assert made.threads == {threading.current_thread().name}


def test_the_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Loader(Made(1), []).workers == 4


def test_a_number_of_workers_below_zero_is_refused() -> None:
    with pytest.raises(Error, match="0 workers or more"):
        Loader(Made(1), [], workers=-1)


def test_files_are_read_the_same_by_threads(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for i in range(40):
        Image.fromarray(random.integers(0, 256, (20 + i, 30, 3), np.uint8)).save(tmp_path / f"a/{i:02d}.jpg")
    data, crop = open_dataset(f"imagefolder:{tmp_path}"), RandomResizedCrop(8)
    batches = [random.permutation(40)[:30] for _ in range(4)]
    read = [list(Loader(data, batches, crop, batches, workers)) for workers in (0, 1, 3)]
    for one, two, three in zip(*read, strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[0], three[0])
    with pytest.raises(Error, match="holds images of|others are"):
        list(Loader(data, [np.arange(40)], workers=2))


def test_sizes_that_differ_between_the_parts_of_a_batch_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i in range(32):
        Image.new("RGB", (8, 8 if i < 16 else 9)).save(tmp_path / f"a/{i:02d}.png")
    data = open_dataset(f"imagefolder:{tmp_path}")
    for workers in (0, 2):
        with pytest.raises(Error, match="imagefolder holds images of 8x8 and 8x9; the file crops nothing"):
            list(Loader(data, [np.arange(32)], workers=workers))
