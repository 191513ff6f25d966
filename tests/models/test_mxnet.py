"""MXNet's `.params` files: what is written comes back, and damaged files are refused in one line."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mxnet_files import array, names, written
from netsuke import Error
from netsuke.models import create_model, load_weights
from netsuke.models.mxnet import read_ndarrays

ARRAYS = {
    "arg:weight": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    "arg:words": np.array([np.nan, -0.0, 1e300]),
    "aux:mean": np.array([1.5, -2.0], np.float16),
    "bytes": np.array([[0, 255]], np.uint8),
    "numbers": np.array([-7], np.int32),
    "small": np.array([-128], np.int8),
    "large": np.array([1 << 40], np.int64),
}
DATA = written(ARRAYS)
HEAD = struct.pack("<3Q", 0x112, 0, 1)
ONE = array(np.ones(2, np.float32))


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.params"
    path.write_bytes(DATA)
    found = read_ndarrays(path)
    assert list(found) == list(ARRAYS)
    for name, expected in ARRAYS.items():
        numbers = found[name].numpy()
        assert (numbers.dtype, numbers.shape) == (expected.dtype, expected.shape)
        assert numbers.tobytes() == expected.tobytes()  # a NaN's bits too


def test_a_file_that_ends_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.params"
    for end in range(len(DATA)):
        path.write_bytes(DATA[:end])
        with pytest.raises(Error, match="cut off") as caught:
            read_ndarrays(path)
        assert len(str(caught.value).splitlines()) == 1


WRONG = {
    "no MXNet file": b"PK\3\4" + bytes(60),
    "reserved word": struct.pack("<3Q", 0x112, 1, 1) + ONE + names([b"a"]),
    "more arrays than there are": struct.pack("<3Q", 0x112, 0, 1 << 63) + ONE + names([b"a"]),
    "fewer arrays than there are": struct.pack("<3Q", 0x112, 0, 0) + ONE + names([b"a"]),
    "no axes": HEAD + struct.pack("<I", 0) + names([b"a"]),
    "a million axes": HEAD + struct.pack("<I", 1 << 20) + ONE + names([b"a"]),
    "a later version": HEAD + struct.pack("<I", 0xF993FAC9) + ONE + names([b"a"]),
    "elements without an end": HEAD + struct.pack("<5I3i", 4, *[0xFFFFFFFF] * 4, 1, 0, 0) + names([b"a"]),
    "a type of none": HEAD + struct.pack("<2I3iI", 1, 1, 1, 0, 7, 0) + names([b"a"]),
    "a negative type": HEAD + struct.pack("<2I3iI", 1, 1, 1, 0, -1, 0) + names([b"a"]),
    "a device of none": HEAD + array(np.ones(2, np.float32), device=9) + names([b"a"]),
    "no names": HEAD + ONE + names([]),
    "two names": HEAD + ONE + names([b"a", b"b"]),
    "a name without an end": HEAD + ONE + struct.pack("<2Q", 1, 1 << 62) + b"a",
    "a name of no text": HEAD + ONE + names([b"\xff\xfe"]),
    "one name twice": struct.pack("<3Q", 0x112, 0, 2) + ONE + ONE + names([b"a", b"a"]),
    "more behind it": DATA + b"\0",
}


@pytest.mark.parametrize("name", WRONG)
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    """In one line, without memory for what a header claims."""
    path = tmp_path / "bad.params"
    path.write_bytes(WRONG[name])
    tracemalloc.start()
    try:
        with pytest.raises(Error) as caught:
            read_ndarrays(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)
    assert peak < 1e6


def test_changed_bytes_are_read_or_refused(tmp_path: Path) -> None:
    path, rng = tmp_path / "changed.params", np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        data = bytearray(DATA)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            read_ndarrays(path)
        except Error:
            refused += 1
    assert 100 < refused < 500


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.params"
    path.write_bytes(DATA)
    with pytest.raises(Error, match="does not fit this BMXNet: it lacks bn_data.weight"):
        load_weights(create_model("bmxnet_resnet18_imagenet", width=0.125), path)
    with pytest.raises(Error, match="cannot be read"):
        read_ndarrays(tmp_path / "none.params")
