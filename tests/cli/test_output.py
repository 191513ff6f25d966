"""What is printed where nobody watches, and how the user is told to start the program again."""

from __future__ import annotations

from pathlib import Path

import pytest

from netsuke.cli.output import show, table
from netsuke.cli.program import program


def test_long_lines_and_tables_stay_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    line = "words " * 100
    rows = table("name", "number")
    rows.add_row("long " * 100, "7")
    show(line, rows)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == line
    assert sum("long" in row for row in printed) == 1
    assert len(printed) == 1 + 5  # three rules and two rows


def test_the_program_is_named_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "some where" / "netsuke"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == f"'{script}'"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "netsuke"
    monkeypatch.setattr("sys.argv", ["/some/netsuke/__main__.py"])
    monkeypatch.setattr("sys.executable", "/some/python")
    assert program() == "/some/python -m netsuke"
