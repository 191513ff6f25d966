"""The CIFAR-10 test images and published checkpoints beside the repository, for tests that need them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import netsuke
from netsuke.data.normalise import normalise
from netsuke.models import get_model, load_weights

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
IMAGES = SHARED / "data" / "cifar-10-batches-bin" / "test_batch.bin"
CHECKPOINTS = {
    "adabin_resnet20": SHARED / "models" / "adabin_resnet20_cifar10" / "model.th",
    "resnet20": SHARED / "models" / "resnet_cifar10" / "resnet20-12fca82f.th",
    "resnet32": SHARED / "models" / "resnet_cifar10" / "resnet32-d509ac18.th",
    "resnet44": SHARED / "models" / "resnet_cifar10" / "resnet44-014dd654.th",
    "resnet56": SHARED / "models" / "resnet_cifar10" / "resnet56-4bfd9763.th",
}


@cache
def _read() -> tuple[np.ndarray, np.ndarray]:
    records = np.fromfile(IMAGES, np.uint8).reshape(-1, 3073)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def images_and_labels(count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 images (N, 3, 32, 32), labels (N,)); skips the test where the data is absent."""
    if not IMAGES.exists():
        pytest.skip(f"needs the CIFAR-10 test images at ../shared/{IMAGES.relative_to(SHARED)}")
    images, labels = _read()
    return images[:count], labels[:count]


def normalised(images: np.ndarray) -> Tensor:
    """float32 images as the published checkpoints want them."""
    return torch.from_numpy(normalise(images, netsuke.Preprocess(**get_model("resnet20").preprocess)))


def published(name: str) -> nn.Module:
    """The model with its published weights, in eval mode; skips the test where the checkpoint is absent."""
    path = CHECKPOINTS[name]
    if not path.exists():
        pytest.skip(f"needs the published checkpoint ../shared/{path.relative_to(SHARED)}")
    return load_weights(netsuke.create_model(name), path).eval()


@torch.no_grad()
def outputs(model: nn.Module, images: Tensor) -> Tensor:
    """The model's results, a hundred images at a time."""
    return torch.cat([model(part) for part in images.split(100)])
