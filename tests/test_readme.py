"""What README.md shows works as shown."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from netsuke.cli.app import app
from netsuke.data import kinds

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The contents of the fenced blocks of this language; "" are the plain ones."""
    fences = re.split(r"^```(.*)\n", README, flags=re.MULTILINE)  # text, language, block, "", ...
    return [block for named, block in zip(fences[1::4], fences[2::4], strict=True) if named == language]


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    names: dict[str, object] = {}
    exec(code, names)
    logits = names["logits"]
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (8, 10)
    assert len(code.strip().splitlines()) == 10


def test_the_commands_are_those_there_are() -> None:
    named = {line.split()[1] for block in blocks("") for line in block.splitlines() if line.startswith("netsuke ")}
    assert named == {entry.name for entry in [*app.registered_commands, *app.registered_groups]}
    assert all(f"`{kind}" in README for kind in kinds())


def test_its_make_verbs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = {line.split()[1] for block in blocks("") for line in block.splitlines() if line.startswith("make ")}
    assert verbs == {"demo", "test"}
    assert all(re.search(rf"^{verb}:", makefile, re.MULTILINE) for verb in verbs)


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link
