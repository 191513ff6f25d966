"""The folder of a run belongs to one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from netsuke.artifact.contract import Error


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder if it is missing, and hold it; a kill lets go of it. What killed writers left in it is removed.

    Raises netsuke.Error if another process holds it, or it can be no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise Error(f"{folder} is a file, or lies below one: choose another --out") from None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Error(f"{folder} is in use by another run: wait for it, or choose another --out") from None
        except OSError:  # a file system without locks
            pass
        else:
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)
