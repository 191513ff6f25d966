"""MNIST in IDX format (LeCun et al.), plain or gzipped.

An IDX file is a big-endian magic number 0x0000TTDD (TT = 8 is unsigned bytes, DD the number of dimensions), the
dimensions as 32-bit integers, and the data.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from netsuke.artifact.contract import Error
from netsuke.data import files
from netsuke.data.dataset import ArrayDataset


def mnist(path: str, split: str) -> ArrayDataset:
    """Read the folder of train-images-idx3-ubyte[.gz] and its three companions. Images are (1, 28, 28)."""
    where = files.folder("mnist", path, "train-images-idx3-ubyte, t10k-images-idx3-ubyte and their labels")
    prefix = "t10k" if split == "test" else "train"
    images = _idx(_find(where, f"{prefix}-images", 3), 3)
    labels = _idx(_find(where, f"{prefix}-labels", 1), 1)
    return ArrayDataset(f"mnist {split}", tuple("0123456789"), images[:, None], labels.astype(np.int64))


def _find(where: Path, stem: str, dimensions: int) -> Path:
    plain = (f"{stem}-idx{dimensions}-ubyte", f"{stem}.idx{dimensions}-ubyte")  # both spellings are about
    return files.file_in("mnist", where, plain + tuple(name + ".gz" for name in plain))


def _idx(path: Path, dimensions: int) -> np.ndarray:
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise Error(f"{path} does not unzip ({error}): fetch it again") from None
    head = 4 + 4 * dimensions
    if len(data) < head or data[:4] != bytes([0, 0, 8, dimensions]):
        raise Error(f"{path} is not an IDX file of unsigned bytes in {dimensions} dimension(s)")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    size = int(np.prod(shape, dtype=object))
    if len(data) - head != size:
        raise Error(f"{path} says {' x '.join(map(str, shape))} bytes but holds {len(data) - head}: fetch it again")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
