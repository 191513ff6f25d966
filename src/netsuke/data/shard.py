"""The index of one WebDataset shard: where in the tar each image lies, and its label.

A shard is a tar archive (not compressed) of samples. The files of a sample follow one another and share a key, their
path up to the first dot of the last part: KEY.jpg and KEY.cls, the label as text. With the index any image is one read.
"""

from __future__ import annotations

import os
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import IO

import numpy as np

from netsuke.artifact.contract import Error, first_line
from netsuke.atomic import write

IMAGES = ("jpg", "jpeg", "png", "webp")
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)  # the key, and the kind
LABEL = re.compile(rb"\s*\d{1,6}\s*")
BLOCK = 512

# The file that keeps an index: this head, then int64 (3, n), little endian.
SUFFIX = ".index"
HEAD = struct.Struct("<16sqqqI")  # magic, bytes and mtime_ns of the shard, n, CRC-32 of what follows
MAGIC = b"netsuke shard 1\n"


def read_index(path: Path) -> np.ndarray:
    """int64 (3, n): offset in bytes, size in bytes and label of the n images of the shard at `path`.

    Kept beside it as `path`.index once it is made, and made anew when the shard has another size or time of change; a
    folder that cannot be written to only costs the making. Raises Error for what is no shard, or one cut short.
    """
    try:
        state = path.stat()
        index = _kept(path, state)
        if index is None:
            index = _made(path)
            _keep(path, state, index)
    except OSError as error:
        raise Error(f"{path} cannot be read ({first_line(error)})") from None
    return index


def _made(path: Path) -> np.ndarray:
    images: list[tuple[int, int, int]] = []
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise Error(f"{path} is compressed; images are read at any place of a shard\nunzip it")
            if file.seek(0, os.SEEK_END) >= BLOCK:
                file.seek(-BLOCK, os.SEEK_END)
            if any(file.read(BLOCK)):  # a tar ends in zeros
                raise tarfile.ReadError("its end is missing")
            file.seek(0)
            for key, files in groupby(_files(file), lambda found: found[0]):
                kinds = {kind: (offset, size) for _, kind, offset, size in files}
                image = next((kinds[kind] for kind in IMAGES if kind in kinds), None)
                if image is None and "cls" not in kinds:
                    continue
                if image is None or "cls" not in kinds:
                    missing = f"image ({', '.join(IMAGES)})" if image is None else "label (cls)"
                    raise Error(f"{path}: sample {key!r} has no {missing}\nKEY.jpg and KEY.cls follow one another")
                images.append((*image, _label(file, *kinds["cls"], f"{path}: {key}.cls")))
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise Error(f"{path} is no whole tar archive ({first_line(error)}): fetch it again") from None
    if not images:
        raise Error(f"{path} holds no samples: each is KEY.jpg (or {', '.join(IMAGES[1:])}) and KEY.cls")
    return np.array(images, np.int64).T.copy()


def _files(file: IO[bytes]) -> Iterator[tuple[str, str, int, int]]:
    """Key, kind, offset and size of each regular file."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all it has seen
            name = NAME.fullmatch(member.name)
            if name is not None and member.isreg() and not member.issparse():
                yield name[1], name[2].lower(), member.offset_data, member.size


def _label(file: IO[bytes], offset: int, size: int, name: str) -> int:
    file.seek(offset)
    text = file.read(min(size, 16))
    if not LABEL.fullmatch(text):
        raise Error(f"{name} holds {text!r}: a label is a whole number, 0 to 999999")
    return int(text)


def _kept(path: Path, state: os.stat_result) -> np.ndarray | None:
    """The index that was kept, if it is whole and this shard's."""
    try:
        data = path.with_name(path.name + SUFFIX).read_bytes()
        magic, size, changed, count, check = HEAD.unpack_from(data)
        index = np.frombuffer(data, "<i8", offset=HEAD.size).reshape(3, count)
    except (OSError, struct.error, ValueError):
        return None
    if (magic, size, changed) != (MAGIC, state.st_size, state.st_mtime_ns) or zlib.crc32(data[HEAD.size :]) != check:
        return None
    if count < 1 or index.min() < 0 or (index[1] > size - index[0]).any():
        return None
    return index.astype(np.int64)


def _keep(path: Path, state: os.stat_result, index: np.ndarray) -> None:
    data = index.astype("<i8").tobytes()
    head = HEAD.pack(MAGIC, state.st_size, state.st_mtime_ns, index.shape[1], zlib.crc32(data))
    with suppress(Error):  # it will be made again the next time
        write(path.with_name(path.name + SUFFIX), head + data)
