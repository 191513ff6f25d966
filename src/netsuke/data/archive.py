"""Files out of a tar archive, read where they are: nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path

from netsuke.artifact.contract import Error, first_line

LARGEST = 1 << 29  # bytes of one file in memory; those of CIFAR have up to 155 MB


def read_archive(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """The files of the archive, .tar or .tar.gz, whose last part of the path is one of `names`, by that name.

    It is read to its end, so that gzip's checksum is looked at. Raises Error if it is no tar archive, is cut short or
    damaged, or holds such a file of over 512 MiB.
    """
    found: dict[str, bytes] = {}
    try:
        with path.open("rb") as start:
            compressed = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if compressed else path.open("rb") as stream:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if name not in names or not member.isfile():
                        continue
                    if member.size > LARGEST:
                        raise Error(f"{path}: {member.name} has {member.size} bytes, too many for what it should be")
                    file = archive.extractfile(member)
                    assert file is not None  # it is a regular file
                    found[name] = file.read()
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise Error(
            f"{path} is no whole tar archive ({first_line(error)})\nfetch it again, or name the folder it unpacks to"
        ) from None
    return found
