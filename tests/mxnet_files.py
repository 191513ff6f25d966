"""A writer of MXNet's lists of arrays, after the format's description."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np

TYPES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6}


def array(numbers: np.ndarray, device: int = 1) -> bytes:
    """One array of the list, on a device of that kind and of number 0."""
    head = struct.pack(f"<I{numbers.ndim}I", numbers.ndim, *numbers.shape)
    return head + struct.pack("<3i", device, 0, TYPES[numbers.dtype.name]) + numbers.tobytes()


def names(of: list[bytes]) -> bytes:
    return struct.pack("<Q", len(of)) + b"".join(struct.pack("<Q", len(name)) + name for name in of)


def written(arrays: Mapping[str, np.ndarray]) -> bytes:
    head = struct.pack("<3Q", 0x112, 0, len(arrays))
    return head + b"".join(map(array, arrays.values())) + names([name.encode() for name in arrays])
