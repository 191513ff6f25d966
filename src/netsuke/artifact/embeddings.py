"""Embedding tables (docs/format.md, section 5): their part of the file, and what a look-up gives, in numpy.

A row is one scale and a sign a column: the upper half of a float32, then the bits, in the order of contract.py. A
look-up unpacks the rows that it asks for and no others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from reprlib import repr as shorten
from typing import Any

import numpy as np

from netsuke.atomic import write

from .container import calling_it_damaged, has_tables, pack, read_bytes, unpack
from .contract import MAX_CHANNELS, MAX_INTEGER, MAX_NAME, MAX_NODES, Error
from .float32 import fma

MODES = ("mean", "sum")
SCALE_BYTES = 2
# The sign bits, in a float32, of the eight columns that a byte stands for.
_SIGNS = (~np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")).astype(np.uint32) << 31
_INFINITY = 0x7F80  # the upper half of it: those of finite numbers that are not negative lie below


def row_bytes(columns: int) -> int:
    """Bytes of a row."""
    return SCALE_BYTES + (columns + 7) // 8


@dataclass(frozen=True)
class Table:
    """One table of a file. rows: uint8 (n, row_bytes(columns)). padding: the row that counts for nothing."""

    name: str
    rows: np.ndarray
    columns: int
    mode: str = "sum"
    padding: int | None = None

    def look_up(self, indices: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """The sum or mean of each bag, float32 (bags, columns). Arguments as `bags` returns them.

        Over the terms of a bag, ascending: y = y + v, or with weights y = fma(weight, v, y), v being a row's scale,
        negative where its bit is 0; a mean is y / count. y starts at 0, and a padding row is no term.

        Raises:
            Error: an index is no row, or the offsets do not ascend.
        """
        check_bags(indices, offsets, len(self.rows))
        lengths = np.diff(offsets)
        sums = np.zeros((len(lengths), self.columns), np.float32)
        counts = np.zeros(len(lengths), np.int64)
        for place in range(lengths.max(initial=0)):
            bag = np.flatnonzero(lengths > place)
            term = offsets[bag] + place
            if self.padding is not None:
                counted = indices[term] != self.padding
                bag, term = bag[counted], term[counted]
            values = self.values(indices[term])
            with np.errstate(over="ignore"):
                sums[bag] = sums[bag] + values if weights is None else fma(weights[term, None], values, sums[bag])
            counts[bag] += 1
        return sums / np.maximum(counts, 1)[:, None].astype(np.float32) if self.mode == "mean" else sums

    def values(self, indices: np.ndarray) -> np.ndarray:
        """Rows as numbers, float32 (len(indices), columns)."""
        rows = self.rows[indices]
        signs = np.take(_SIGNS, rows[:, SCALE_BYTES:], axis=0).reshape(len(rows), 8 * (rows.shape[1] - SCALE_BYTES))
        scales = _upper_halves(rows).astype(np.uint32) << 16
        return (signs[:, : self.columns] | scales[:, None]).view(np.float32)


def make_rows(scales: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Rows, uint8 (n, row_bytes), of scales, float32 (n,), and signs (n, columns), above 0 for a bit of 1.

    Raises:
        Error: a scale is negative, not finite, or has more bits than the upper half of a float32.
    """
    bits = np.ascontiguousarray(scales, np.float32).view(np.uint32)
    upper = (bits >> 16).astype("<u2")
    if (bits & 0xFFFF).any() or (upper >= _INFINITY).any():
        raise Error("a scale is negative, not finite, or no bfloat16")
    return np.hstack([upper.view(np.uint8).reshape(-1, SCALE_BYTES), np.packbits(signs > 0, axis=1, bitorder="little")])


def _upper_halves(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows[:, :SCALE_BYTES]).view("<u2")[:, 0]


# ----------------------------------------------------------------------------------------------- arguments
def bags(
    indices: Any, offsets: Any, weights: Any, mode: str, include_last_offset: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Indices and weights in one row, int64 and float32, and where each bag begins and the last one ends.

    Raises:
        Error: their shapes or types are wrong, or they do not fit together.
    """
    indices = np.asarray(indices)
    if not indices.size:
        indices = indices.astype(np.int64)  # of an empty list: float64
    if indices.dtype.kind not in "iu":
        raise Error(f"indices are whole numbers, not {indices.dtype}")
    if weights is not None:
        weights = np.asarray(weights, np.float32)
        if mode != "sum":
            raise Error(f"per_sample_weights belong to the mode 'sum', and this table has {mode!r}")
        if weights.shape != indices.shape:
            raise Error(f"per_sample_weights have the shape {weights.shape}, the indices {indices.shape}")
        if not np.isfinite(weights).all():
            raise Error("a number of per_sample_weights is not finite")
        weights = np.ascontiguousarray(weights).reshape(-1)
    if indices.ndim == 2 and offsets is None:
        ends = np.arange(len(indices) + 1, dtype=np.int64) * indices.shape[1]
    elif indices.ndim == 1 and offsets is not None:
        ends = np.asarray(offsets)
        if ends.ndim != 1 or (ends.size and ends.dtype.kind not in "iu"):
            raise Error("offsets are a row of whole numbers, one a bag: where its indices begin")
        if include_last_offset and not ends.size:
            raise Error("with include_last_offset there is at least one offset, 0")
        ends = ends.astype(np.int64) if include_last_offset else np.append(ends.astype(np.int64), len(indices))
    else:
        raise Error("give indices (bags, n), or indices (n,) and offsets (bags,)")
    return np.ascontiguousarray(indices, np.int64).reshape(-1), np.ascontiguousarray(ends), weights


def check_bags(indices: np.ndarray, offsets: np.ndarray, rows: int) -> None:
    """What a look-up relies on, as the engine says it too. Raises Error."""
    if indices.min(initial=0) < 0 or indices.max(initial=0) >= rows:
        raise Error(f"an index is not a row of the table: they go from 0 to {rows - 1}.")
    if offsets[0] != 0 or offsets[-1] != len(indices) or (np.diff(offsets) < 0).any():
        raise Error(f"the offsets must ascend from 0 to the number of indices, {len(indices)}.")


# ----------------------------------------------------------------------------------------------- the file
def encode_tables(model: str, tables: Sequence[Table]) -> bytes:
    """The file of these tables. The same tables give the same bytes.

    Raises:
        Error: a table breaks a rule of docs/format.md section 5, or they are too large for a file.
    """
    root = {
        "model": model,
        "tables": [
            {
                "columns": table.columns,
                "mode": table.mode,
                "name": table.name,
                "padding": [] if table.padding is None else [table.padding],
                "rows": len(table.rows),
            }
            for table in tables
        ],
    }
    bits = b"".join(table.rows.tobytes() for table in tables)
    _from_json(root, np.frombuffer(bits, np.uint8))
    return pack(b"", bits, root)


def save_tables(model: str, tables: Sequence[Table], path: str | os.PathLike[str]) -> None:
    """Write the file of these tables, whole or not at all. Raises Error as `encode_tables` and `atomic.write` do."""
    write(path, encode_tables(model, tables))


def read_tables(path: str | os.PathLike[str]) -> tuple[str, list[Table]]:
    """The model's name and the tables in a file.

    Raises:
        Error: there is no such file, it cannot be read, is damaged, or holds a network.
    """
    return _decode(read_bytes(path), str(path))


def decode_tables(data: bytes) -> tuple[str, list[Table]]:
    """The model's name and the tables in the bytes of a file. Raises Error as `read_tables`."""
    return _decode(bytes(data), "the file")


def holds_tables(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of tables. Raises Error as `read_tables`, but not for a network."""
    return has_tables(unpack(read_bytes(path), str(path))[2])


def _decode(data: bytes, name: str) -> tuple[str, list[Table]]:
    floats, bits, root = unpack(data, name)
    if not has_tables(root):
        raise Error(f"{name} holds a network, no embedding tables. Open it with netsuke.load.")
    with calling_it_damaged(name):
        if len(floats):
            raise Error("it has floats beside its tables")
        tables = _from_json(root, bits)
        return root["model"], tables


def _from_json(root: dict[str, Any], bits: np.ndarray) -> list[Table]:
    if set(root) != {"model", "tables"} or not isinstance(root["tables"], list):
        raise Error("its graph has not the keys model and tables")
    _check_name(root["model"])
    if not 1 <= len(root["tables"]) <= MAX_NODES:
        raise Error(f"a file has 1 to {MAX_NODES} tables, not {len(root['tables'])}")
    tables: list[Table] = []
    start = 0
    for entry in root["tables"]:
        table = _table(entry, bits[start:])
        start += table.rows.size
        tables.append(table)
    if start != len(bits):
        raise Error(f"the tables have {start} bytes, the tensor bits {len(bits)}")
    if len({table.name for table in tables}) < len(tables):
        raise Error("two tables have the same name")
    return tables


def _table(entry: Any, bits: np.ndarray) -> Table:
    if not isinstance(entry, dict) or set(entry) != {"columns", "mode", "name", "padding", "rows"}:
        raise Error(f"a table has the keys columns, mode, name, padding and rows, not {shorten(entry)}")
    name, columns, count, padding = entry["name"], entry["columns"], entry["rows"], entry["padding"]
    _check_name(name)
    _check_number(columns, 1, MAX_CHANNELS)
    _check_number(count, 1, MAX_INTEGER)
    if entry["mode"] not in MODES:
        raise Error(f"the mode of table {name!r} is {shorten(entry['mode'])}, not one of {', '.join(MODES)}")
    if not isinstance(padding, list) or len(padding) > 1:
        raise Error(f"the padding of table {name!r} is no list of at most one row")
    for row in padding:
        _check_number(row, 0, count - 1)
    size = count * row_bytes(columns)
    if size > len(bits):
        raise Error(f"table {name!r} has {size} bytes, of which {len(bits)} are there")
    rows = bits[:size].reshape(count, row_bytes(columns))
    if (_upper_halves(rows) >= _INFINITY).any():
        raise Error(f"a scale of table {name!r} is negative or not finite")
    if columns % 8 and (rows[:, -1] >> columns % 8).any():
        raise Error(f"a bit past the last column of table {name!r} is not 0")
    return Table(name, rows, columns, entry["mode"], padding[0] if padding else None)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise Error(f"a name has 1 to {MAX_NAME} characters, not {shorten(name)}")


def _check_number(number: Any, low: int, high: int) -> None:
    if not isinstance(number, int) or not low <= number <= high:
        raise Error(f"{shorten(number)} is not a number from {low} to {high}")
