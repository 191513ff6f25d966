"""What may go into a network: the checks that the engine and the reference share, with their messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .contract import Error
from .infer import Value

DTYPES: dict[str, type] = {
    "float32": np.float32,
    "uint8": np.uint8,
    "fixed": np.uint8,
    "bits": np.int8,
}  # of a value's kind


def check_images(images: Any, shape: tuple[int, int, int], takes_uint8: bool) -> None:
    """Raise `Error` unless `images` is a batch for a network whose input is `shape`, (C, H, W).

    Args:
        images: (N, C, H, W), float32; or uint8 where the file says how to normalise it.
        takes_uint8: whether it does.
    """
    wanted = f"(N, {', '.join(map(str, shape))})"
    if not isinstance(images, np.ndarray):
        raise Error(f"the images are a {type(images).__name__}; give a numpy array of shape {wanted}")
    if images.ndim != 4 or images.shape[1:] != shape:
        hint = " Add the batch axis: images[None]." if images.shape == shape else ""
        raise Error(f"the images have shape {images.shape}, the network takes {wanted}.{hint}")
    if images.dtype == np.uint8 and not takes_uint8:
        raise Error("the images are uint8, but this file stores no normalisation; give them as normalised float32")
    if images.dtype not in (np.uint8, np.float32):
        types = "float32 or uint8" if takes_uint8 else "float32"
        raise Error(f"the images are {images.dtype}, the network takes {types}; convert them with images.astype(...)")


def check_finite(images: np.ndarray) -> None:
    """Raise `Error` if float images hold NaN or infinity. The engine looks for itself, in C++."""
    if images.dtype == np.float32 and not np.isfinite(images).all():
        raise Error("the images hold a number that is not finite (NaN or infinity); check how they were made")


def check_values(values: Mapping[int, Any], wanted: Mapping[int, Value]) -> None:
    """Raise `Error` unless `values` holds what a node reads: one batch, each of its kind and shape.

    Args:
        values: by id, (N, C, H, W): float32, uint8, or int8 that is -1 or +1 for bits.
        wanted: kind and shape of each value that the node reads.
    """
    batches = set()
    for index, value in wanted.items():
        if index not in values:
            raise Error(f"value {index} is missing; the node reads {sorted(wanted)}")
        array, dtype = values[index], np.dtype(DTYPES[value.kind])
        shape = f"(N, {', '.join(map(str, value.shape))})"
        if not isinstance(array, np.ndarray) or array.dtype != dtype:
            found = getattr(array, "dtype", type(array).__name__)
            raise Error(f"value {index} is {found}; give a numpy array of {dtype}, shape {shape}")
        if array.ndim != 4 or array.shape[1:] != value.shape:
            raise Error(f"value {index} has shape {array.shape}, the node takes {shape}")
        if value.kind == "bits" and not (np.abs(array) == 1).all():
            raise Error(f"value {index} is bits: each of its elements is -1 or +1")
        batches.add(len(array))
    if len(batches) > 1:
        raise Error(f"the values have different batch sizes: {sorted(batches)}")
