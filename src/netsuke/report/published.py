"""Published binary networks: accuracy and operations, from published.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class Point:
    """A network in the picture of accuracy against operations. accuracy: top-1, per cent. ops: absolute, of one image.

    source: where the figures are from, for published ones (see the head of published.toml); empty for ours.
    """

    name: str
    accuracy: float
    ops: float
    source: str = ""


def published() -> dict[str, list[Point]]:
    """Data set -> its published networks."""
    table = tomllib.loads(DATA.read_text("utf-8"))
    return {
        dataset: [Point(row["name"], row["accuracy"], row["ops"], row["source"]) for row in rows]
        for dataset, rows in table.items()
    }
