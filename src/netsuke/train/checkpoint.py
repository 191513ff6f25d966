"""Checkpoints: all that a run needs to go on, in one file of plain tensors and numbers."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from netsuke import atomic
from netsuke.artifact.contract import Error, first_line

FORMAT = "netsuke training checkpoint 1"
_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError,
    zipfile.BadZipFile, zlib.error, NotImplementedError,
)  # fmt: skip


def save(path: Path, state: dict[str, Any]) -> None:
    """Write the state of a run: tensors, numbers, texts, and lists and dictionaries of them.

    The checkpoint before it stays whole until this one is on the disk (`netsuke.atomic`). Raises netsuke.Error where
    it cannot be written.
    """
    # Through memory: torch's own writer hides what the disk says behind an error of its archive.
    file = io.BytesIO()
    torch.save({"format": FORMAT, **state}, file)
    atomic.write(path, file.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU. Nothing in the file is executed.

    Raises netsuke.Error where it is damaged, or is no checkpoint of a run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch itself passes over the checksums
                raise zipfile.BadZipFile
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror or first_line(error)}") from None
    except _UNREADABLE:
        raise Error(
            f"{path} is damaged, or no checkpoint of a training run\nput a good copy in its place, or remove it: "
            "the run then starts from its beginning"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise Error(
            f"{path} is a checkpoint of something else than a training run of this netsuke\n"
            "remove it, or choose another --out; weights to start from go into the recipe (model.weights)"
        )
    return state
