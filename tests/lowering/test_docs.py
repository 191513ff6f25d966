"""docs/operators.md lists the operators that export supports: all of them, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from netsuke.lowering import operators  # noqa: F401  registers the handlers
from netsuke.lowering.build import HANDLERS, INSTEAD

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_the_page_and_the_handlers_agree() -> None:
    supported = PAGE.read_text().partition("## What is not supported")[0].partition("\n## ")[2]
    listed = re.findall(r"`((?:aten|netsuke(?!\.nn))\.\w+\.\w+)`", supported)
    assert sorted(listed) == sorted(HANDLERS)


def test_advice_is_for_operators_that_are_not_supported() -> None:
    assert not INSTEAD.keys() & HANDLERS.keys()
