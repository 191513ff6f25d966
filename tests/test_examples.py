"""The examples run, and reach what they are meant to show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_binarize_your_own(tmp_path: Path) -> None:
    example = EXAMPLES / "binarize_your_own.py"
    assert len(example.read_text().splitlines()) < 60
    ran = subprocess.run([sys.executable, example, tmp_path / "d.netsuke"], capture_output=True, text=True, check=True)
    found = {name.strip(): float(top1) for name, top1 in re.findall(r"^(.{18}) ([\d.]+) %$", ran.stdout, re.MULTILINE)}
    assert set(found) == {"float", "binary", "binary, from file"}
    assert min(found.values()) > 90
    assert abs(found["binary, from file"] - found["binary"]) < 1  # a bit near its threshold may turn
    assert (tmp_path / "d.netsuke").stat().st_size < 20_000  # the float weights take 263,000 bytes
