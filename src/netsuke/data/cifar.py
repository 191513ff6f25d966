"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), in the binary and the Python version, unpacked or in their archives.

Binary: a record is one label byte (CIFAR-100: the coarse label, then the fine one) and 3072 bytes of pixels: a red, a
green and a blue plane of 32x32, row by row. A file is any number of records.
Python: a file is a pickled dict of `data`, unsigned bytes (n, 3072) as above, and a list of labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.archive import read_archive
from netsuke.data.dataset import ArrayDataset
from netsuke.data.files import exists
from netsuke.data.pickles import read_pickle

PIXELS = 3 * 32 * 32
Read = Callable[[str], bytes | None]  # the content of a file by its name


@dataclass(frozen=True)
class Version:
    """The files of one version. folder: what its archive unpacks to. images, classes: how to read a file, and where."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    images: Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]
    classes: Callable[[bytes, str], list[str]]

    def split(self, name: str) -> tuple[str, ...]:
        return self.test if name == "test" else self.train


def cifar10(path: str, split: str) -> ArrayDataset:
    """Read CIFAR-10 from its archive, the folder that the archive unpacks to, or a folder that holds either.

    Raises Error for files that are missing, cut short, or not what their names say.
    """
    return _open("cifar10", path, split, CIFAR10, 10)


def cifar100(path: str, split: str) -> ArrayDataset:
    """The same of CIFAR-100; labels are the 100 fine ones."""
    return _open("cifar100", path, split, CIFAR100, 100)


def _open(kind: str, path: str, split: str, versions: tuple[Version, ...], count: int) -> ArrayDataset:
    where = exists(kind, path, f"the archive {versions[0].archive}, or the folder of {versions[0].test[0]}")
    source, read = _source(where, versions, split)
    for version in versions:
        found = {name: read(name) for name in version.split(split)}
        if all(content is None for content in found.values()):
            continue
        parts = []
        for name, content in found.items():
            if content is None:
                raise Error(f"{kind}: no {name} in {source}\nthe other files of the {split} split are there: fetch it")
            parts.append(version.images(content, str(source / name)))
        meta = read(version.meta)
        classes = version.classes(meta, str(source / version.meta)) if meta is not None else []
        return ArrayDataset(
            f"{kind} {split}",
            tuple(classes) if len(classes) == count else tuple(map(str, range(count))),
            np.concatenate([images for images, _ in parts]),
            np.concatenate([labels for _, labels in parts]),
        )
    raise Error(
        f"{kind}: no {versions[0].split(split)[0]} in {source}\n"
        f"write {kind}:PATH, with PATH the folder it is in, or {' or '.join(v.archive for v in versions)}"
    )


def _source(where: Path, versions: tuple[Version, ...], split: str) -> tuple[Path, Read]:
    """Where the files are, and how to read one: the path itself, an unpacked folder in it, or an archive in it."""
    if where.is_dir():
        folders = [where, *(where / version.folder for version in versions)]
        for folder in folders:
            if any((folder / name).is_file() for version in versions for name in (*version.train, *version.test)):
                return folder, partial(_read, folder)
        archives = [where / version.archive for version in versions if (where / version.archive).is_file()]
        if not archives:
            return where, lambda name: None
        where = archives[0]
    names = {name for version in versions for name in (*version.split(split), version.meta)}
    return where, read_archive(where, names).get


def _read(folder: Path, name: str) -> bytes | None:
    return (folder / name).read_bytes() if (folder / name).is_file() else None


def _records(label_bytes: int) -> Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]:
    size = label_bytes + PIXELS

    def images(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
        if not content or len(content) % size:
            raise Error(
                f"{name} has {len(content)} bytes, which is no multiple of {size} (label and pixels of one image)\n"
                "it is cut short or not CIFAR's binary version: fetch it again"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1].astype(np.int64)

    return images


def _pickled(key: str) -> Callable[[bytes, str], tuple[np.ndarray, np.ndarray]]:
    def images(content: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
        batch = read_pickle(content, name)
        if not isinstance(batch, dict) or not {"data", key} <= batch.keys():
            raise Error(f"{name} does not hold `data` and `{key}`: it is not CIFAR's Python version")
        pixels, labels = batch["data"], batch[key]
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
            raise Error(f"{name}: `data` is no array of n x {PIXELS} bytes: it is not CIFAR's Python version")
        if not isinstance(labels, list) or not all(type(v) is int and 0 <= v < 256 for v in labels):
            raise Error(f"{name}: `{key}` is no list of labels: it is not CIFAR's Python version")
        return pixels.reshape(-1, 3, 32, 32), np.array(labels, np.int64)

    return images


def _lines(content: bytes, name: str) -> list[str]:
    return content.decode("utf-8", errors="replace").split()


def _pickled_names(key: str) -> Callable[[bytes, str], list[str]]:
    def classes(content: bytes, name: str) -> list[str]:
        meta = read_pickle(content, name)
        names = meta.get(key) if isinstance(meta, dict) else None
        return [str(v) for v in names] if isinstance(names, list) else []

    return classes


CIFAR10 = (
    Version(
        "cifar-10-batches-bin",
        "cifar-10-binary.tar.gz",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        ("test_batch.bin",),
        "batches.meta.txt",
        _records(1),
        _lines,
    ),
    Version(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        _pickled("labels"),
        _pickled_names("label_names"),
    ),
)
CIFAR100 = (
    Version(
        "cifar-100-binary",
        "cifar-100-binary.tar.gz",
        ("train.bin",),
        ("test.bin",),
        "fine_label_names.txt",
        _records(2),
        _lines,
    ),
    Version(
        "cifar-100-python",
        "cifar-100-python.tar.gz",
        ("train",),
        ("test",),
        "meta",
        _pickled("fine_labels"),
        _pickled_names("fine_label_names"),
    ),
)
