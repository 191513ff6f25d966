"""Writing a file whole or not at all. Any room may import it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from netsuke.artifact.contract import Error


def write(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file. Another process sees the old file or the new one, never a part; nor after a crash.

    Raises netsuke.Error where it cannot be written, on a full disk too. The file that was there is then unchanged.
    """
    target = Path(os.path.realpath(path))  # through a symbolic link, not over it
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Error(f"cannot write {path}: {error.strerror or error}. Choose another place.") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
