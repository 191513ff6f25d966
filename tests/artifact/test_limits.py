"""The C++ reader has the same limits as the Python one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netsuke.artifact import contract

HEADER = Path(__file__).parents[2] / "csrc" / "graph" / "limits.h"


@pytest.mark.skipif(not HEADER.exists(), reason="the engine's sources are not beside the tests")
def test_limits_are_the_same() -> None:
    python = {name: value for name, value in vars(contract).items() if name.isupper()}
    found = re.findall(r"constexpr int64_t (\w+) = ([^;]+);", HEADER.read_text())
    cpp = {name: eval(re.sub(r"int64_t\{(\d+)\}", r"\1", value), {"__builtins__": {}}) for name, value in found}
    assert cpp == python


def test_binary32_holds_every_dot_product() -> None:
    """float(D) and float(Sa) of docs/format.md must be exact."""
    assert contract.MAX_WINDOW <= 1 << 24
