"""CIFAR-10 and CIFAR-100 in their official binary format (Krizhevsky 2009).

A record is one label byte (CIFAR-100: the coarse label, then the fine one) and 3072 bytes of pixels: a red, a green
and a blue plane of 32x32, row by row. A file is any number of records.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data import files
from netsuke.data.dataset import ArrayDataset

PIXELS = 3 * 32 * 32


def cifar10(path: str, split: str) -> ArrayDataset:
    """Read the folder of data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt."""
    where = files.folder("cifar10", path, "data_batch_1.bin to data_batch_5.bin and test_batch.bin")
    names = ("test_batch.bin",) if split == "test" else tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    paths = [files.file_in("cifar10", where, (name,)) for name in names]
    return _read(f"cifar10 {split}", paths, label_bytes=1, classes=_class_names(where / "batches.meta.txt", 10))


def cifar100(path: str, split: str) -> ArrayDataset:
    """Read the folder of train.bin, test.bin and fine_label_names.txt; labels are the 100 fine ones."""
    where = files.folder("cifar100", path, "train.bin and test.bin")
    source = files.file_in("cifar100", where, (f"{split}.bin",))
    return _read(
        f"cifar100 {split}", [source], label_bytes=2, classes=_class_names(where / "fine_label_names.txt", 100)
    )


def _read(name: str, paths: list[Path], label_bytes: int, classes: tuple[str, ...]) -> ArrayDataset:
    records = np.concatenate([_records(path, label_bytes + PIXELS) for path in paths])
    images = np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, 3, 32, 32)
    return ArrayDataset(name, classes, images, records[:, label_bytes - 1].astype(np.int64))


def _records(path: Path, size: int) -> np.ndarray:
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % size:
        raise Error(
            f"{path} has {data.size} bytes, which is no multiple of {size} (label and pixels of one image)\n"
            "it is cut short or not CIFAR's binary version: fetch it again"
        )
    return data.reshape(-1, size)


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    names = path.read_text("utf-8", errors="replace").split() if path.is_file() else []
    return tuple(names) if len(names) == count else tuple(str(i) for i in range(count))
