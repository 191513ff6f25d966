"""Hostile files, each named after its attack (tests/attacks.py), and files at the edge of what is allowed."""

from __future__ import annotations

import re
import tracemalloc

import pytest

import attacks
from netsuke.artifact import Error, decode, encode


@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_attack(name: str) -> None:
    """Refused in one line that says why, without much memory."""
    words, build = attacks.ATTACKS[name]
    data = build()
    tracemalloc.start()
    try:
        with pytest.raises(Error) as caught:
            decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert re.search(words, message)
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    assert peak < 100e6


@pytest.mark.parametrize("name", attacks.EDGES)
def test_edge(name: str) -> None:
    data = attacks.EDGES[name]()
    graph = decode(data)
    assert encode(decode(encode(graph))) == encode(graph)
