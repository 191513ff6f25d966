"""Every binary classifier of the registry trains: twenty steps on a few real images, in full width."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import netsuke
from netsuke import Preprocess
from netsuke.data import normalise, open_dataset
from netsuke.models import get_model

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
BINARY = [name for name in netsuke.list_models() if get_model(name).float_counterpart != name]
NAMES = [name for name in BINARY if get_model(name).task == "classification"]
SIDE = 64  # of ImageNet's images: four pixels are left in front of the classifier


def real_images(name: str, count: int) -> tuple[Tensor, Tensor]:
    """Normalised images (N, 3, H, W) and labels (N,): training images of CIFAR-10, or ImageNet samples."""
    entry = get_model(name)
    sizing = Preprocess(**entry.preprocess)
    spec = f"cifar10:{SHARED / 'data' / 'cifar-10-batches-bin'}"
    if entry.input[1] != 32:
        spec = f"imagefolder:{SHARED / 'data' / 'imagenet-samples'}"
        if "alexnet" not in name:  # which has one size
            sizing = dataclasses.replace(sizing, resize=SIDE, crop=SIDE)
    path = Path(spec.partition(":")[2])
    if not path.is_dir():
        pytest.skip(f"needs ../shared/{path.relative_to(SHARED)}")
    ((images, labels),) = list(open_dataset(spec, "train", sizing).batches(count, count))
    return torch.from_numpy(normalise(images, sizing)), torch.from_numpy(labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_twenty_steps(name: str) -> None:
    images, labels = real_images(name, 8)
    model = netsuke.create_model(name)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(20):
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert fmean(losses[-5:]) <= 0.8 * losses[0]
