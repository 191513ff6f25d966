"""Finding the files of a data set, with errors that say what was looked for."""

from __future__ import annotations

from pathlib import Path

from netsuke.artifact.contract import Error


def exists(kind: str, path: str, holds: str) -> Path:
    """The file or folder at `path`. Raises Error, saying what it should be, if there is none."""
    if not path:
        raise Error(f"{kind} needs a path: {kind}:PATH, where PATH is {holds}")
    found = Path(path).expanduser()
    if not found.exists():
        raise Error(f"{kind}: {path} does not exist\nit should be {holds}")
    return found


def folder(kind: str, path: str, holds: str) -> Path:
    """The folder at `path`. Raises Error, saying what it should hold, if there is none."""
    found = exists(kind, path, f"a folder with {holds}")
    if not found.is_dir():
        raise Error(f"{kind}: {path} is a file, not a folder\nit should be a folder with {holds}")
    return found


def file_in(kind: str, where: Path, names: tuple[str, ...]) -> Path:
    """The first of `names` that is a file in the folder `where`. Raises Error if none is."""
    for name in names:
        if (where / name).is_file():
            return where / name
    looked = f"looked for {', '.join(names)}" if len(names) > 1 else f"write {kind}:PATH, with PATH the folder it is in"
    raise Error(f"{kind}: no {names[0]} in {where}\n{looked}")
