"""The campaigns over the Python reader alone; tests/engine/ runs them over both readers."""

from __future__ import annotations

import pytest

import corruption
import graphs
from netsuke.artifact import Error, decode, encode

FILE = encode(graphs.residual_network())
SMALL = encode(graphs.every_operator())
CODED = encode(graphs.coded())


def refusal(data: bytes) -> str | None:
    """The reader's message, or None if it accepts."""
    try:
        decode(data)
    except Error as error:
        return str(error)
    return None


def test_a_thousand_raw_corruptions_are_refused() -> None:
    for name, data in corruption.raw_corruptions(FILE, 1000):
        message = refusal(data)
        assert message is not None, f"accepted: {name}"
        assert len(message.splitlines()) == 1, name


def test_the_same_seed_gives_the_same_files() -> None:
    once, twice = (list(corruption.redigested_corruptions(FILE, 50, seed=3)) for _ in range(2))
    assert once == twice


@pytest.mark.parametrize("file", [FILE, SMALL, CODED], ids=["residual", "every operator", "coded"])
def test_corruptions_behind_the_checksum(file: bytes) -> None:
    """Refused, or a network that a writer could have written: it survives a round trip."""
    accepted = 0
    for name, data in corruption.redigested_corruptions(file, 400):
        message = refusal(data)
        if message is None:
            accepted += 1
            again = encode(decode(data))
            assert encode(decode(again)) == again, name
        else:
            assert len(message.splitlines()) == 1, name
            assert "checksum" not in message, name  # else the checks behind it were not reached
    assert 20 < accepted < 200  # the corpus reaches both
