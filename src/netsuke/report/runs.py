"""The folders that `netsuke train` leaves, as far as a report needs them."""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netsuke.artifact.contract import Error

HELD_OUT = ("validation_accuracy", "validation_map")  # columns of the log; a run has one of them


@dataclass(frozen=True)
class Run:
    """name: of the folder, below the one that was searched. recipe: recipe.toml. rows: of log.csv, one an epoch."""

    name: str
    folder: Path
    recipe: dict[str, Any]
    rows: list[dict[str, str]]

    @property
    def model(self) -> str:
        return str(self.recipe["model"]["name"])

    @property
    def weights(self) -> Path | None:
        """The weights after the last epoch, None while the run goes on."""
        path = self.folder / "model.safetensors"
        return path if path.is_file() else None

    @property
    def ranks(self) -> dict[str, Any] | None:
        """Where `netsuke compress low-rank` made the network: the ranks of its split layers."""
        path = self.folder / "ranks.json"
        try:
            return json.loads(path.read_text("utf-8")) if path.is_file() else None
        except ValueError:
            raise Error(f"{path} holds no ranks: put a good copy in its place, or remove it") from None

    def last(self, column: str) -> float | None:
        """The newest entry of a column of the log, None where there is none."""
        return next((float(row[column]) for row in reversed(self.rows) if row.get(column)), None)

    @property
    def held_out(self) -> str:
        """The column with the held-out images' score, per cent: accuracy, or a detector's mean average precision."""
        return next((column for column in HELD_OUT if self.last(column) is not None), HELD_OUT[0])

    def series(self, column: str) -> tuple[list[int], list[float]]:
        """Epochs and entries of a column, where it has one."""
        filled = [row for row in self.rows if row.get(column)]
        return [int(row["epoch"]) for row in filled], [float(row[column]) for row in filled]


def read_runs(folder: Path) -> list[Run]:
    """The training runs in `folder` and below, sorted by name.

    Raises netsuke.Error where there is none, and for a run's file that is not what `netsuke train` writes.
    """
    if not folder.is_dir():
        raise Error(f"there is no folder {folder}: give the one that holds the runs of `netsuke train`")
    logs = sorted(path for path in folder.rglob("log.csv") if path.with_name("recipe.toml").is_file())
    if not logs:
        raise Error(f"{folder} holds no run: `netsuke train RECIPE --data SPEC --out {folder}/NAME` makes one")
    return [_read(log, folder) for log in logs]


def read_run(folder: Path) -> Run:
    """The training run whose folder this is. Raises netsuke.Error where it is none."""
    log = folder / "log.csv"
    if not log.is_file() or not log.with_name("recipe.toml").is_file():
        raise Error(f"{folder} is no training run: `netsuke train RECIPE --data SPEC --out {folder}` makes one")
    return _read(log, folder.parent)


def designs(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs in groups that differ in the seed alone, by what their names begin with in common."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {key: value for key, value in run.recipe.items() if key not in ("seed", "about")}
        groups.setdefault(json.dumps(recipe, sort_keys=True, default=str), []).append(run)
    named: dict[str, list[Run]] = {}
    for group in groups.values():
        name = os.path.commonprefix([run.name for run in group]).rstrip("-_/. ") or group[0].name
        named[name if name not in named else group[0].name] = group
    return named


def _read(log: Path, folder: Path) -> Run:
    path = log.with_name("recipe.toml")
    try:
        recipe = tomllib.loads(path.read_text("utf-8"))
        name = recipe["model"]["name"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError):
        raise Error(f"{path} is no recipe: put a good copy in its place, or move the folder away") from None
    text = log.read_text("utf-8", errors="replace")
    rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))  # a kill may have cut the last line off
    whole = [row for row in rows if row.get("loss") and (row.get("epoch") or "").isdecimal()]
    relative = log.parent.relative_to(folder).as_posix()
    return Run(relative if relative != "." else name, log.parent, recipe, whole)
