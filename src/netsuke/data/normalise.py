"""8-bit images to a network's float32 input in numpy, for networks that run in PyTorch."""

from __future__ import annotations

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data.preprocess import Preprocess


def normalise(images: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """float32 (N, C, H, W) from uint8 (N, C, H, W) in RGB order: (u * scale - mean) / std.

    In float32 in the order of torchvision's ToTensor and Normalize, by which published accuracies were measured; the
    engine's single multiply-add differs from it in the last bits. Raises Error for another number of channels.
    """
    if images.shape[1] != len(preprocess.mean):
        raise Error(f"the images have {images.shape[1]} channels, the preprocessing is for {len(preprocess.mean)}")
    if preprocess.order == "BGR":
        images = images[:, ::-1]
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (preprocess.mean, preprocess.std))
    return (images / np.float32(1 / preprocess.scale) - mean) / std
