"""Whether a file can be written, asked before the work and not after it."""

from __future__ import annotations

import os
from pathlib import Path

from netsuke.artifact.contract import Error


def check_place(out: Path) -> None:
    """Raises Error if `out` is a folder, or lies in one that is missing or not to be written."""
    if out.is_dir():
        raise Error(f"--out {out} is a folder: name a file in it, as in {out / 'network.netsuke'}")
    folder = Path(os.path.realpath(out)).parent  # a link is written through, as artifact.save does
    if not folder.is_dir():
        raise Error(f"--out {out}: there is no folder {folder}; make it first, or choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Error(f"--out {out}: the folder {folder} cannot be written; choose another place")
