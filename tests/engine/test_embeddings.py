"""Look-ups in embedding tables: torch, numpy and every instruction set give the same bits."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import embedding_bag
from hypothesis import given, settings
from hypothesis import strategies as st

import netsuke
from netsuke import Error, engine
from netsuke.artifact import Table
from netsuke.artifact.embeddings import encode_tables, make_rows
from netsuke.engine import EmbeddingTable
from netsuke.nn import BinaryEmbeddingBag

COLUMNS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 120, 127, 128, 129, 200)


def made(rng: np.random.Generator, rows: int, columns: int, mode: str = "sum", padding: int | None = None) -> Table:
    """A table of random signs; scales from the smallest subnormal to 2^100."""
    scales = np.ldexp(rng.integers(0, 256, rows).astype(np.float32), rng.integers(-140, 93, rows)).astype(np.float32)
    scales = (scales.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return Table("table", make_rows(scales, rng.choice([-1, 1], (rows, columns))), columns, mode, padding)


def plain(table: Table, bags: list[list[int]], weights: list[list[float]] | None = None) -> np.ndarray:
    """The definition once more, a number at a time, for numbers whose sums a float64 holds."""
    rows = table.values(np.arange(len(table.rows)))
    sums = np.zeros((len(bags), table.columns), np.float32)
    for b, bag in enumerate(bags):
        counted = [place for place, row in enumerate(bag) if row != table.padding]
        for place in counted:
            for c in range(table.columns):
                value = float(rows[bag[place], c])
                factor = 1 if weights is None else weights[b][place]
                sums[b, c] = np.float32(factor * value + float(sums[b, c]))  # exact but for the rounding to float32
        if table.mode == "mean" and counted:
            sums[b] /= np.float32(len(counted))
    return sums


def random_bags(rng: np.random.Generator, rows: int, bags: int, longest: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Indices and offsets; some bags are empty."""
    lengths = rng.integers(0, longest + 1, bags)
    return rng.integers(0, rows, lengths.sum()), np.cumsum(lengths) - lengths


def assert_same_bits(table: Table, isa: str, indices: Any, offsets: Any = None, weights: Any = None) -> np.ndarray:
    loaded = EmbeddingTable(table, isa)
    assert loaded.isa == isa
    made, expected = (one(indices, offsets, weights) for one in (loaded, EmbeddingTable(table, "numpy")))
    assert made.dtype == expected.dtype == np.float32
    assert np.array_equal(made.view(np.uint32), expected.view(np.uint32))
    return made


# ----------------------------------------------------------------------------------------------- equal to one another
@pytest.mark.parametrize(("mode", "weighted"), [("sum", False), ("sum", True), ("mean", False)])
def test_every_tail_of_columns(isa: str, mode: str, weighted: bool) -> None:
    for columns in COLUMNS:
        rng = np.random.default_rng(columns)
        table = made(rng, 30, columns, mode, padding=7)
        indices, offsets = random_bags(rng, 30, 9)
        weights = rng.normal(size=len(indices)).astype(np.float32) if weighted else None
        assert_same_bits(table, isa, indices, offsets, weights)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 140), st.integers(1, 60), st.integers(0, 40))
def test_random_tables(isa: str, seed: int, columns: int, rows: int, bags: int) -> None:
    rng = np.random.default_rng(seed)
    table = made(rng, rows, columns, str(rng.choice(["sum", "mean"])), int(rng.integers(rows)) if seed % 2 else None)
    indices, offsets = random_bags(rng, rows, bags, longest=70)
    weights = rng.normal(size=len(indices)) if seed % 3 == 0 and table.mode == "sum" else None
    assert_same_bits(table, isa, indices, offsets, weights)


def test_more_rows_than_are_asked_for_ahead(isa: str) -> None:
    rng = np.random.default_rng(0)
    assert_same_bits(made(rng, 5000, 64), isa, rng.integers(0, 5000, (100, 32)))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_numpy_is_the_definition(mode: str) -> None:
    weighted = [False, True] if mode == "sum" else [False]
    rng = np.random.default_rng(1)
    for columns in (1, 9, 20):
        table = made(rng, 12, columns, mode, padding=3)
        table.rows[:, 1] = rng.integers(0x38, 0x40, 12)  # scales of 2^-15 to 2^1: float32 sums of them are rounded
        bags = [rng.integers(0, 12, n).tolist() for n in (0, 5, 1, 9)]
        flat = [row for bag in bags for row in bag]
        offsets = np.cumsum([0, *map(len, bags[:-1])])
        for with_weights in weighted:
            factors = [(rng.integers(-9999, 9999, len(bag)) / 128).tolist() for bag in bags] if with_weights else None
            weights = np.float32([x for bag in factors for x in bag]) if factors else None
            result = EmbeddingTable(table, "numpy")(flat, offsets, weights)
            assert np.array_equal(result, plain(table, bags, factors))


# ----------------------------------------------------------------------------------------------- and to the module
@pytest.mark.parametrize("options", [{}, {"padding_idx": 3}, {"include_last_offset": True}], ids=str)
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_the_file_gives_what_the_module_gives(isa: str, mode: str, options: dict[str, Any], tmp_path: Path) -> None:
    for dimension in (5, 64, 100):
        torch.manual_seed(dimension)
        layer = BinaryEmbeddingBag(70, dimension, mode=mode, **options).eval()
        indices, offsets = torch.randint(0, 70, (200,)), torch.tensor([0, 0, 5, 30, 30, 120, 200])
        netsuke.export_embeddings(layer, tmp_path / "t.netsuke")
        table = netsuke.load_embeddings(tmp_path / "t.netsuke", isa)["table"]
        assert (table.num_embeddings, table.embedding_dim, table.mode) == (70, dimension, mode)
        assert table.padding_idx == layer.padding_idx
        sums = table(indices.numpy(), offsets.numpy(), include_last_offset=layer.include_last_offset)
        # Scales of 8 significant bits and one magnitude: no sum of so few is rounded, in whatever order PyTorch adds.
        assert np.array_equal(sums, layer(indices, offsets).detach().numpy())


def test_per_sample_weights_as_in_the_module(isa: str, tmp_path: Path) -> None:
    layer = BinaryEmbeddingBag(70, 24, mode="sum").eval()
    netsuke.export_embeddings(layer, tmp_path / "t.netsuke")
    indices, weights = torch.randint(0, 70, (6, 9)), torch.randn(6, 9)
    sums = netsuke.load_embeddings(tmp_path / "t.netsuke", isa)["table"](indices, None, weights)
    expected = layer(indices, per_sample_weights=weights).detach()
    torch.testing.assert_close(torch.from_numpy(sums), expected, rtol=1e-6, atol=1e-6)  # in what order PyTorch rounds


# ----------------------------------------------------------------------------------------------- arguments
@pytest.fixture(params=["engine", "numpy"])
def small(request: pytest.FixtureRequest) -> EmbeddingTable:
    if request.param == "engine" and not engine.available_isas():
        pytest.skip("netsuke.engine has no compiled module here")
    table = made(np.random.default_rng(0), 10, 5)
    return EmbeddingTable(table, None if request.param == "engine" else "numpy")


@pytest.mark.parametrize("index", [-1, 10, 2**31, 2**62, -(2**63)])
def test_an_index_that_is_no_row(small: EmbeddingTable, index: int) -> None:
    with pytest.raises(Error, match=r"^an index is not a row of the table: they go from 0 to 9\.$"):
        small([[0, 1], [2, index]])


def test_an_unsigned_index_that_is_no_row(small: EmbeddingTable) -> None:
    with pytest.raises(Error, match="an index is not a row"):
        small(np.array([[2**64 - 1]], np.uint64))


@pytest.mark.parametrize("offsets", [[1, 2], [0, 3, 2], [0, 6], [0, -1], [-1, 0], [0, 2**62]], ids=str)
def test_offsets_that_do_not_ascend(small: EmbeddingTable, offsets: list[int]) -> None:
    words = r"^the offsets must ascend from 0 to the number of indices, 5\.$"
    with pytest.raises(Error, match=words):
        small([0, 1, 2, 3, 4], offsets)
    with pytest.raises(Error, match=words):
        small([0, 1, 2, 3, 4], offsets, include_last_offset=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0.5],), "indices are whole numbers, not float64"),
        (([True],), "indices are whole numbers, not bool"),
        (([1, 2],), r"give indices \(bags, n\), or indices \(n,\) and offsets"),
        (([[1, 2]], [0]), r"give indices \(bags, n\), or indices \(n,\) and offsets"),
        (([1, 2], [[0]]), "offsets are a row of whole numbers"),
        (([1, 2], [0.0]), "offsets are a row of whole numbers"),
        (([[1, 2]], None, [1.0]), r"have the shape \(1,\), the indices \(1, 2\)"),
        (([[1, 2]], None, [[1.0, math.nan]]), "is not finite"),
        (([], [], None, True), "at least one offset"),
    ],
    ids=str,
)
def test_arguments_of_other_shapes_or_types(small: EmbeddingTable, arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(Error, match=words):
        small(*arguments)


def test_weights_and_means_do_not_go_together() -> None:
    table = EmbeddingTable(made(np.random.default_rng(0), 10, 5, "mean"), "numpy")
    with pytest.raises(Error, match="belong to the mode 'sum'"):
        table([[1, 2]], None, [[1.0, 2.0]])


def test_no_bags_and_no_indices(small: EmbeddingTable) -> None:
    assert small([], []).shape == (0, 5)
    assert small(np.zeros((0, 3), np.int32)).shape == (0, 5)
    for empty in (small([], [0, 0]), small(np.zeros((2, 0), np.int32)), small([], [0, 0, 0], None, True)):
        assert empty.shape == (2, 5)
        assert not empty.any()


def test_other_kinds_of_integers(small: EmbeddingTable) -> None:
    expected = small([[1, 2], [3, 3]])
    assert np.array_equal(small(np.array([[1, 2], [3, 3]], np.uint8)), expected)
    assert np.array_equal(small(np.array([[1, 3], [2, 3]], np.int32).T), expected)


def test_an_instruction_set_that_is_not_there(compiled: None) -> None:
    data = encode_tables("model", [made(np.random.default_rng(0), 10, 5)])
    with pytest.raises(Error, match="this build has no instruction set 'sse9'"):
        netsuke.load_embeddings(data, "sse9")


def test_without_a_compiled_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsuke.engine.embeddings._native", None)
    data = encode_tables("model", [made(np.random.default_rng(0), 10, 5)])
    assert netsuke.load_embeddings(data)["table"].isa == "numpy"
    with pytest.raises(Error, match="give isa='numpy'"):
        netsuke.load_embeddings(data, "scalar")


@pytest.mark.parametrize(
    ("columns", "padding"), [(0, -1), (17, -1), (8, -1), (-8, -1), (2**62, -1), (16, 3), (16, -2)], ids=str
)
def test_the_engine_itself_checks_the_sizes(compiled: None, columns: int, padding: int) -> None:
    from netsuke.engine import _native

    with pytest.raises(Error, match="the sizes of an embedding table do not fit together"):
        _native.EmbeddingTable(np.zeros((3, 4), np.uint8), columns, padding, False, "")
    with pytest.raises(TypeError):
        _native.EmbeddingTable(np.zeros(12, np.uint8), 16, -1, False, "")


# ----------------------------------------------------------------------------------------------- the benchmark
def test_the_benchmark_runs(compiled: None, tmp_path: Path) -> None:
    result = embedding_bag.run(1000, 64, bag=4, batch=8, runs=2, isa=None, file=tmp_path / "t.netsuke")
    assert result["differs_by"] == 0
    assert result["file_bytes"] == (tmp_path / "t.netsuke").stat().st_size < 10 * 1000 + 500
    assert set(result["candidates"]) == {"torch_float", "netsuke", "netsuke_numpy"}
    assert result["candidates"]["torch_float"]["ratio"] == 1
    page = embedding_bag.table(result)
    assert f"the file {result['file_bytes']:,}" in page
    assert len(page.splitlines()) == 9
