"""Embedding tables in a file: what is written is read, and what is damaged is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from torch import nn

import corruption
import graphs
import netsuke
from netsuke import Error
from netsuke.artifact import Table, decode, decode_tables, encode, read_tables
from netsuke.artifact.embeddings import encode_tables, make_rows, row_bytes
from netsuke.nn import BinaryEmbeddingBag, FloatWeight, XnorWeight


def table(name: str, rows: int, columns: int, mode: str = "sum", padding: int | None = None) -> Table:
    rng = np.random.default_rng(rows)
    scales = (rng.random(rows).astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    return Table(name, make_rows(scales, rng.choice([-1, 1], (rows, columns))), columns, mode, padding)


TABLES = [table("users", 20, 13), table("films", 7, 64, "mean", 0), table("films.genres", 1, 1, "mean")]
FILE = encode_tables("two tables and one", TABLES)


def with_text(change: str, to: str) -> bytes:
    """The file with something else in its graph, and a right checksum."""
    parts = corruption.take_apart(FILE)
    assert change in parts.text.decode()
    return replace(parts, graph=parts.text.decode().replace(change, to, 1).encode()).file()


def refusal(data: bytes) -> str:
    with pytest.raises(Error) as caught:
        decode_tables(data)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# ----------------------------------------------------------------------------------------------- there and back
def test_a_file_of_tables(tmp_path: Path) -> None:
    (tmp_path / "t.netsuke").write_bytes(FILE)
    for model, tables in (decode_tables(FILE), read_tables(tmp_path / "t.netsuke")):
        assert model == "two tables and one"
        assert [(t.name, t.columns, t.mode, t.padding) for t in tables] == [
            ("users", 13, "sum", None), ("films", 64, "mean", 0), ("films.genres", 1, "mean", None),
        ]  # fmt: skip
        for read, written in zip(tables, TABLES, strict=True):
            assert np.array_equal(read.rows, written.rows)
        assert encode_tables(model, tables) == FILE


def test_the_bytes_are_those_of_the_page() -> None:
    """docs/format.md, section 5: a scale of 1.5 and the signs + - - + + + + + + -."""
    rows = make_rows(np.float32([1.5]), np.array([[1, -1, -1, 1, 1, 1, 1, 1, 1, -1]]))
    assert rows.tolist() == [[0xC0, 0x3F, 0b11111001, 0b00000001]]
    parts = corruption.take_apart(encode_tables("m", [Table("t", rows, 10, "sum", 0)]))
    assert parts.bits == rows.tobytes()
    assert parts.floats == b""
    assert json.loads(parts.text) == {
        "model": "m",
        "tables": [{"columns": 10, "mode": "sum", "name": "t", "padding": [0], "rows": 1}],
    }


def test_others_read_the_file() -> None:
    tensors = load(FILE)
    assert set(tensors) == {"float32", "bits", "graph"}
    assert tensors["bits"].nbytes == sum(t.rows.nbytes for t in TABLES)


def test_64_columns_are_25_times_smaller() -> None:
    rows = 100_000
    data = encode_tables("m", [Table("t", np.zeros((rows, row_bytes(64)), np.uint8), 64)])
    assert rows * 64 * 4 / len(data) > 25


# ----------------------------------------------------------------------------------------------- export
def test_export_of_a_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {
            "users": BinaryEmbeddingBag(30, 16, mode="sum"),
            "rest": nn.Sequential(nn.Linear(2, 2), BinaryEmbeddingBag(5, 3, padding_idx=2, binary_w=XnorWeight())),
        }
    ).train()
    path = netsuke.export_embeddings(model, tmp_path / "tables.netsuke", "mine")
    name, tables = read_tables(path)
    assert (name, [t.name for t in tables]) == ("mine", ["users", "rest.1"])
    assert all(module.training for module in model.modules())
    users: Any = model["users"]
    assert np.array_equal(tables[0].values(np.arange(30)), users.binarized(torch.arange(30)).detach().numpy())
    assert (tables[1].mode, tables[1].padding) == ("mean", 2)


def test_a_row_of_zeros_is_plus_and_minus_zero(tmp_path: Path) -> None:
    layer = BinaryEmbeddingBag(4, 9, mode="sum")
    nn.init.zeros_(layer.weight)
    path = netsuke.export_embeddings(layer, tmp_path / "t.netsuke")
    assert not netsuke.load_embeddings(path, "numpy")["table"]([[0, 1, 2, 3]]).any()


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(Error, match=r"^Linear has no netsuke\.nn\.BinaryEmbeddingBag$"):
        netsuke.export_embeddings(nn.Linear(2, 2), tmp_path / "t.netsuke")
    waiting = BinaryEmbeddingBag(4, 9, binary_w=FloatWeight(XnorWeight()))
    with pytest.raises(Error, match=r"the table '0' cannot be exported: .* step one of two"):
        netsuke.export_embeddings(nn.Sequential(waiting), tmp_path / "t.netsuke")
    diverged = BinaryEmbeddingBag(4, 9)
    nn.init.constant_(diverged.weight, float("inf"))
    with pytest.raises(Error, match="training has diverged"):
        netsuke.export_embeddings(diverged, tmp_path / "t.netsuke")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", [-1.0, -0.0, float("inf"), float("nan"), 1.001])
def test_a_scale_that_no_row_holds(scale: float) -> None:
    with pytest.raises(Error, match="negative, not finite, or no bfloat16"):
        make_rows(np.float32([scale]), np.ones((1, 8)))


# ----------------------------------------------------------------------------------------------- files of another kind
def test_a_network_is_no_table_and_a_table_no_network() -> None:
    assert refusal(encode(graphs.residual_network())).endswith("no embedding tables. Open it with netsuke.load.")
    with pytest.raises(Error, match=r"^the file holds embedding tables, no network\. Open it with netsuke\.load_emb"):
        decode(FILE)


def test_the_engine_says_so_too() -> None:
    if not netsuke.load.__globals__["available_isas"]():
        pytest.skip("netsuke.engine has no compiled module here")
    with pytest.raises(Error, match="it holds embedding tables, no network"):
        netsuke.load(FILE)


# ----------------------------------------------------------------------------------------------- damaged files
def test_raw_corruptions_are_refused() -> None:
    for _, data in corruption.raw_corruptions(FILE, 300):
        refusal(data)


def test_corruptions_behind_the_checksum() -> None:
    """Refused, or tables that a writer could have written."""
    accepted = 0
    for name, data in corruption.redigested_corruptions(FILE, 300):
        try:
            model, tables = decode_tables(data)
        except Error:
            assert "checksum" not in refusal(data), name
            continue
        accepted += 1
        assert decode_tables(encode_tables(model, tables))[0] == model, name
        for one in tables:
            last = np.array([len(one.rows) - 1])
            assert np.isfinite(one.look_up(last, np.array([0, 1]), None)).all(), name
    assert 5 < accepted < 200


@pytest.mark.parametrize(
    ("change", "to", "words"),
    [
        ('"rows":20', '"rows":21', "bytes, of which|the tables have|past the last column|not finite"),
        ('"rows":20', '"rows":2147483647', "bytes, of which"),
        ('"rows":20', '"rows":0', "0 is not a number from 1"),
        ('"rows":1}', '"rows":2}', "has 6 bytes, of which 3 are there"),
        ('"columns":13', '"columns":65537', "65537 is not a number from 1 to 65536"),
        ('"columns":13', '"columns":"13"', "'13' is not a number"),
        ('"columns":13', '"columns":12', "a bit past the last column of table 'users' is not 0"),
        ('"columns":1,', '"columns":9,', "bytes, of which"),
        ('"mode":"mean"', '"mode":"max"', "the mode of table 'films' is 'max', not one of mean, sum"),
        ('"padding":[0]', '"padding":[7]', "7 is not a number from 0 to 6"),
        ('"padding":[0]', '"padding":[0,1]', "no list of at most one row"),
        ('"padding":[0]', '"padding":0', "no list of at most one row"),
        ('"films.genres"', '"films"', "two tables have the same name"),
        ('"films.genres"', '""', "a name has 1 to 200 characters"),
        ('"films.genres"', '[]', "a name has 1 to 200 characters"),
        ('"two tables and one"', "7", "a name has 1 to 200 characters"),
        ('"model":', '"modal":', "has not the keys model and tables"),
        ('"name":"users"', '"nome":"users"', "a table has the keys"),
        ('"mode":"sum",', "", "a table has the keys"),
    ],
)  # fmt: skip
def test_what_the_graph_may_not_say(change: str, to: str, words: str) -> None:
    with pytest.raises(Error, match=words):
        decode_tables(with_text(change, to))


def test_no_tables_and_one_too_few() -> None:
    parts = corruption.take_apart(FILE)
    assert "1 to 65536 tables, not 0" in refusal(replace(parts, graph=b'{"model":"m","tables":[]}').file())
    assert "not the keys" in refusal(replace(parts, graph=b'{"model":"m","tables":{}}').file())
    assert "the tensor bits" in refusal(replace(parts, bits=parts.bits + b"\0").file())
    assert "floats beside" in refusal(replace(parts, floats=b"\0\0\0\0").file())


@pytest.mark.parametrize("upper", [0x7F80, 0x7FC0, 0x8000, 0xBF80, 0xFFFF], ids=hex)
def test_a_scale_that_no_row_may_have(upper: int) -> None:
    parts = corruption.take_apart(FILE)
    at = 2 * row_bytes(13)
    bits = parts.bits[:at] + upper.to_bytes(2, "little") + parts.bits[at + 2 :]
    assert "a scale of table 'users' is negative or not finite" in refusal(replace(parts, bits=bits).file())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Error, match="there is no file"):
        netsuke.load_embeddings(tmp_path / "t.netsuke")
    with pytest.raises(Error, match="takes the path of a .netsuke file, or its bytes, not a NoneType"):
        netsuke.load_embeddings(None)  # type: ignore[arg-type]
