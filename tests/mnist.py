"""MNIST for tests: the test images beside the repository, or a small set of noise in MNIST's files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from cifar import SHARED
from netsuke.data import open_dataset

FOLDER = SHARED / "data" / "mnist"


def images_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images (10000, 1, 28, 28), labels (10000,)); skips the test where the data is absent."""
    if not FOLDER.is_dir():
        pytest.skip(f"needs the MNIST images at ../shared/{FOLDER.relative_to(SHARED)}")
    return next(iter(open_dataset(f"mnist:{FOLDER}", "test").batches(10_000)))


def small_set(folder: Path, train: int = 128, test: int = 20) -> str:
    """Writes so many images of noise around one of ten patterns into `folder`, and returns their SPEC."""
    random = np.random.RandomState(0)
    patterns = random.randint(0, 255, (10, 28, 28))
    for split, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        images = np.clip(patterns[labels] + random.standard_normal((count, 28, 28)) * 20, 0, 255).astype(np.uint8)
        head = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">2I", 0x801, count)
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(head + labels.astype(np.uint8).tobytes())
    return f"mnist:{folder}"
