"""Canonical JSON: one text for one value."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netsuke.artifact import Error, canonical_json
from netsuke.artifact.contract import MAX_INTEGER, MAX_JSON_DEPTH

STRINGS = st.text("".join(c for c in string.printable if c.isprintable() and c not in '"\\'), max_size=8)
VALUES = st.recursive(
    st.integers(0, MAX_INTEGER) | STRINGS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=4),
    max_leaves=12,
)


def depth(value: object) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(depth, items), default=0)


@given(VALUES)
def test_round_trip(value: object) -> None:
    if depth(value) > MAX_JSON_DEPTH:
        with pytest.raises(Error, match="nested"):
            canonical_json.dump(value)
    else:
        assert canonical_json.parse(canonical_json.dump(value)) == value


def test_keys_ascend_and_nothing_is_between() -> None:
    assert canonical_json.dump({"b": [1, "x y"], "B": {}, "_": []}) == b'{"B":{},"_":[],"b":[1,"x y"]}'


@given(VALUES, st.data())
def test_any_other_text_of_a_value_is_refused(value: object, data: st.DataObject) -> None:
    """Insert a character: refused, unless it makes the canonical text of another value."""
    text = canonical_json.dump([value])
    place = data.draw(st.integers(0, len(text)))
    changed = (
        text[:place] + data.draw(st.sampled_from([b" ", b"0", b"-", b".", b"\\", b",", b'"', b"\x00"])) + text[place:]
    )
    try:
        parsed = canonical_json.parse(changed)
    except Error:
        return
    assert parsed != [value]
    assert canonical_json.dump(parsed) == changed


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"1 ", b"[1, 2]", b"-1", b"01", b"1.0", b"1e3", b"true", b"null", b"NaN", b"Infinity", b'"\\n"', b"'a'"]
    + [b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1,}', b"[1,]", b"[1", b"{1:2}", b"2147483648", b'"\x7f"', b'"\t"']
    + [b"\xef\xbb\xbf1", '"é"'.encode(), b'"\xff"', b"1" * 5000, b"[" * 100_000, b"[" * 9 + b"]" * 9, b"1,2", b"\x00"],
    ids=lambda text: ascii(text[:12].decode("latin1")),
)
def test_refused(text: bytes) -> None:
    with pytest.raises(Error):
        canonical_json.parse(text)


@pytest.mark.parametrize("value", [True, None, 1.5, -1, MAX_INTEGER + 1, 'a"b', "a\\b", "é", "\n", {"é": 1}, (1,)])
def test_what_canonical_json_cannot_say(value: object) -> None:
    with pytest.raises(Error):
        canonical_json.dump([value])
