"""CIFAR's and MNIST's files: read back what was written, refuse what is damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from netsuke.artifact.contract import Error
from netsuke.data import open_dataset

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def random_images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def write_cifar10(folder: Path, count: int = 7) -> np.ndarray:
    images = random_images(count, 3, 32, 32)
    labels = np.arange(count, dtype=np.uint8) % 10
    records = np.concatenate([labels[:, None], images.reshape(count, -1)], axis=1)
    for name in ["test_batch.bin", *(f"data_batch_{i}.bin" for i in range(1, 6))]:
        (folder / name).write_bytes(records.tobytes())
    return images


def write_mnist(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    (folder / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x803, *images.shape) + images.tobytes())
    packed = struct.pack(">2I", 0x801, len(labels)) + labels.tobytes()
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(packed))


def test_cifar10_is_read_as_written(tmp_path: Path) -> None:
    images = write_cifar10(tmp_path)
    (tmp_path / "batches.meta.txt").write_text("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n")
    data = open_dataset(f"cifar10:{tmp_path}")
    assert len(data) == 7
    assert data.classes[2] == "c"
    read, labels = next(data.batches(100))
    assert np.array_equal(read, images)
    assert labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(open_dataset(f"cifar10:{tmp_path}", "train")) == 35


@pytest.mark.parametrize("size", [0, 1, 3072, 3073 * 7 - 1])
def test_a_cifar_file_of_the_wrong_size_is_refused(tmp_path: Path, size: int) -> None:
    write_cifar10(tmp_path)
    whole = (tmp_path / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes(whole[:size])
    with pytest.raises(Error, match=f"{size} bytes, which is no multiple of 3073"):
        open_dataset(f"cifar10:{tmp_path}")


def test_a_cifar_label_out_of_range_is_refused(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(Error, match="label 10"):
        open_dataset(f"cifar10:{tmp_path}")


def test_a_folder_without_the_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"no test_batch\.bin"):
        open_dataset(f"cifar10:{tmp_path}")
    with pytest.raises(Error, match="no t10k-images-idx3-ubyte"):
        open_dataset(f"mnist:{tmp_path}")


def test_cifar100_labels_are_the_fine_ones(tmp_path: Path) -> None:
    (tmp_path / "test.bin").write_bytes(bytes([19, 99]) + bytes(3072))
    data = open_dataset(f"cifar100:{tmp_path}")
    assert (data.num_classes, next(data.batches(1))[1].tolist()) == (100, [99])


def test_mnist_is_read_plain_and_gzipped(tmp_path: Path) -> None:
    images, labels = random_images(5, 28, 28), np.array([3, 1, 4, 1, 5], np.uint8)
    write_mnist(tmp_path, images, labels)
    read, read_labels = next(open_dataset(f"mnist:{tmp_path}").batches(10))
    assert np.array_equal(read[:, 0], images)
    assert read_labels.tolist() == [3, 1, 4, 1, 5]


@pytest.mark.parametrize("damage", ["short", "magic", "long", "gzip", "count"])
def test_a_damaged_mnist_is_refused(tmp_path: Path, damage: str) -> None:
    write_mnist(tmp_path, random_images(5, 28, 28), np.zeros(5, np.uint8))
    images, labels = tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte.gz"
    if damage == "short":
        images.write_bytes(images.read_bytes()[:-1])
    elif damage == "magic":
        images.write_bytes(b"\x00\x00\x0d\x03" + images.read_bytes()[4:])
    elif damage == "long":
        images.write_bytes(images.read_bytes()[:4] + b"\xff" * 12 + images.read_bytes()[16:])
    elif damage == "gzip":
        labels.write_bytes(labels.read_bytes()[:-9])
    else:
        labels.write_bytes(gzip.compress(struct.pack(">2I", 0x801, 4) + bytes(4)))
    with pytest.raises(Error):
        open_dataset(f"mnist:{tmp_path}")


def test_the_shared_sets_have_their_known_sizes() -> None:
    if not (SHARED / "cifar-10-batches-bin").is_dir():
        pytest.skip("../shared/data is not here")
    data = open_dataset(f"cifar10:{SHARED}/cifar-10-batches-bin")
    assert (len(data), data.classes[0], data.classes[9]) == (1000, "airplane", "truck")
    assert len(open_dataset(f"mnist:{SHARED}/mnist")) == 10_000
