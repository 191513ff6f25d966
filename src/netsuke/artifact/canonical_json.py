"""Canonical JSON (docs/format.md, section 2): one text for one value, so that a reader can compare bytes.

Objects, arrays, strings and integers; no white space; keys ascending; printable ASCII without quotes and
backslashes inside strings. What `parse` accepts, `dump` writes back byte for byte.
"""

from __future__ import annotations

import json
import re
from reprlib import repr as shorten
from typing import Any, NoReturn

from .contract import MAX_INTEGER, MAX_JSON_DEPTH, Error

_FORBIDDEN = re.compile(rb"[^ -\[\]-~]")  # anything but printable ASCII, and the backslash


def parse(text: bytes) -> Any:
    """The value that `text` stands for: dict, list, str and int only.

    Raises:
        Error: `text` is not JSON, or not the canonical form of it.
    """
    if _FORBIDDEN.search(text):
        raise Error("it holds a character that canonical JSON has not")
    try:
        value = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
        canonical = dump(value)
    except (ValueError, RecursionError):  # ValueError: no JSON, or an integer of thousands of digits
        raise Error("it is not canonical JSON") from None
    if canonical != text:  # white space, key order, a key twice, a leading zero, a minus sign
        raise Error("it is JSON, but not in canonical form")
    return value


def dump(value: Any) -> bytes:
    """The canonical text of a value made of dict, list, str and int.

    Raises:
        Error: the value holds something that canonical JSON cannot say.
    """
    _check(value, depth=0)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def check_string(text: str) -> None:
    """Raise `Error` unless `text` is printable ASCII without quotes and backslashes."""
    if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
        raise Error(f"{shorten(text)} is not printable ASCII without quotes and backslashes")


def _check(value: Any, depth: int) -> None:
    """`depth` counts the objects and arrays around `value`."""
    if type(value) is int:  # not bool
        if not 0 <= value <= MAX_INTEGER:
            raise Error(f"an integer is not 0 to {MAX_INTEGER}")
        return
    if isinstance(value, str):
        return check_string(value)
    if not isinstance(value, dict | list):
        raise Error(f"it holds a {type(value).__name__}; only objects, arrays, strings and integers are allowed")
    if depth == MAX_JSON_DEPTH:
        raise Error(f"it is nested deeper than {MAX_JSON_DEPTH}")
    if isinstance(value, dict):
        for key in value:
            check_string(key)
    for item in value.values() if isinstance(value, dict) else value:
        _check(item, depth + 1)


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)
