"""`netsuke demo`, narrow and short: the whole way runs and its rows are about the same network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

import netsuke
from netsuke.cli.demo import BINARY, ENGINE, FLOAT, _bar, _show
from netsuke.cli.output import stderr_console
from netsuke.data import open_dataset

RunJson = Callable[..., dict[str, Any]]


def test_the_demo_goes_the_whole_way(tmp_path: Path, run_json: RunJson) -> None:
    out = tmp_path / "demo.netsuke"
    result = run_json("demo", "--width", 16, "--epochs", 2, "--out", out)
    assert list(result["rows"]) == [FLOAT, BINARY, ENGINE]
    assert result["n"] == 360
    assert result["rows"][ENGINE]["bytes"] == result["bytes"] == out.stat().st_size
    assert result["rows"][FLOAT]["bytes"] > 2 * result["bytes"]
    assert result["rows"][FLOAT]["top1"] > 50  # two passes at a width of 16: far above the 10 of guessing
    assert abs(result["rows"][BINARY]["top1"] - result["rows"][ENGINE]["top1"]) < 1  # a bit may flip
    engine_ms = result["rows"][ENGINE]["median_ms"]
    assert result["ratio"][FLOAT] == pytest.approx(result["rows"][FLOAT]["median_ms"] / engine_ms)
    data = open_dataset("digits")
    images, labels = data.read(np.arange(len(data)))
    top1 = 100 * (np.asarray(netsuke.load(out)(images)).argmax(axis=1) == labels).mean()
    assert result["rows"][ENGINE]["top1"] == pytest.approx(top1)


def test_without_a_terminal_a_stage_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    done = _bar(Progress(console=stderr_console()), "training")
    done(0.5)
    assert capsys.readouterr().err == "training\n"


def test_the_closing_lines_can_be_typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsuke.cli.demo.program", lambda: ".venv/bin/netsuke")
    _show({"out": "a b.netsuke", "n": 1, "machine": "m", "isa": "scalar", "seconds": 1.0, "rows": {}, "ratio": {}})
    assert "  .venv/bin/netsuke info 'a b.netsuke'" in capsys.readouterr().out.splitlines()
