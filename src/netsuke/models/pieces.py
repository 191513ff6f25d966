"""A binary file that is read from its beginning to its end, piece by piece; no piece is larger than what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error


class Pieces:
    """The bytes of the file at `path`. Raises netsuke.Error where it cannot be read."""

    def __init__(self, path: Path) -> None:
        try:
            self.path, self.data, self.at = path, path.read_bytes(), 0
        except OSError as error:
            raise Error(f"{path} cannot be read: {error.strerror}") from None

    def take(self, count: int, dtype: str) -> np.ndarray:
        """The next `count` numbers, shape (count,). Raises netsuke.Error where the file ends before them."""
        size = count * np.dtype(dtype).itemsize
        if size > len(self.data) - self.at:
            raise Error(f"{self.path} is cut off, or of another network: {size} more bytes are wanted at {self.at}")
        self.at += size
        return np.frombuffer(self.data, dtype, count, self.at - size)

    def nibbles(self, count: int) -> np.ndarray:
        """Two a byte, the low one first."""
        pairs = self.take((count + 1) // 2, "u1")
        return np.stack([pairs & 15, pairs >> 4], 1).reshape(-1)[:count]

    def done(self) -> None:
        """Raises netsuke.Error where something is left."""
        if self.at != len(self.data):
            left = len(self.data) - self.at
            raise Error(f"{self.path} is of another network, or damaged: {left} bytes of it are left over")
