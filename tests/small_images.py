"""Images for the models of the registry, smaller than their own where a model takes any size."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor

from netsuke.models import get_model


def takes_width(name: str) -> bool:
    """Whether `width` multiplies the channels of the model."""
    width = inspect.signature(get_model(name).build).parameters.get("width")
    return width is not None and isinstance(width.default, float)


def small_images(name: str, count: int) -> Tensor:
    """Noise (count, C, H, W)."""
    channels, *size = get_model(name).input
    if channels == 3 and "alexnet" not in name:  # which has one size
        size = [64, 64] if "imagenet" in name else [32, 32]
    return torch.randn(count, channels, *size)
