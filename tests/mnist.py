"""The MNIST test images beside the repository, for tests that need them."""

from __future__ import annotations

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
