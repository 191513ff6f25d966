"""`netsuke info`, `models` and `export`: what they list is so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import graphs
from netsuke import artifact, engine
from netsuke.artifact.embeddings import make_rows
from netsuke.cli import main
from netsuke.cli.info import _input_text

RunJson = Callable[..., dict[str, Any]]


def test_info_of_a_file(binary_digits: Path, run_json: RunJson) -> None:
    result = run_json("info", binary_digits)
    data = binary_digits.read_bytes()
    assert (result["model"], result["schema"], result["nodes"]) == ("binary", 1, 3)
    assert (result["bytes"], result["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert result["tensors"] == len(load_file(binary_digits))
    assert (result["input"], result["outputs"]) == ([1, 8, 8], [[10]])
    assert (result["binary_weights"], result["float_weights"]) == (16 * 9 * 16, 16 * 9 + 16 + 10 * 36 * 16 + 10)
    assert result["float_numbers"] == 16 * 9 + 10 * 36 * 16 + 16 + 2 + 1 + 1  # weights, ones, a pair, a 1, a 0
    assert list(result["parts"]) == ["header", "float32", "bits", "coded_floats", "coded_weights", "graph"]
    assert (result["parts"]["bits"], sum(result["parts"].values())) == (16 * 9 * 16 // 8, len(data))
    assert result["macs"] == 64 * 16 * 9 + 36 * 16 * 9 * 16 + 10 * 36 * 16
    assert [layer["bits"] for layer in result["layers"]] == [32, 1, 32]
    assert [layer["output"] for layer in result["layers"]] == [[16, 8, 8], [16, 6, 6], [10, 1, 1]]
    assert result["isa"] in engine.available_isas()


def test_info_of_a_file_with_8_bit_layers(
    tmp_path: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, path = graphs.every_operator(), tmp_path / "every.netsuke"
    artifact.save(graph, path)
    result = run_json("info", path)
    layer = next(layer for layer in result["layers"] if layer["name"] == "int8")
    assert (layer["op"], layer["bits"], layer["weights"]) == ("int8_conv2d", 8, 4 * 2 * 3 * 3)
    assert layer["macs"] == 5 * 5 * layer["weights"]
    assert [layer["epilogue"] for layer in result["layers"] if layer["name"] == "quantize"] == [["quantize"]]
    layers = {layer["name"]: layer for layer in result["layers"]}
    assert layers["gated"]["epilogue"] == ["multiply", "multiply", "store", "mean", "quantize"]
    assert layers["int4"]["bits"] == 4
    assert (layers["fixed"]["op"], layers["fixed"]["bits"]) == ("fixed_conv2d", 8)
    assert layers["largest"]["epilogue"] == ["to_fixed"]
    assert (layers["unit"]["op"], layers["boxes"]["op"], layers["boxes"]["output"]) == (
        "normalize",
        "detect",
        [12, 6, 1],
    )
    assert layers["boxes"]["labels"] == ["label 0", "label 1", "label 2"]
    assert result["outputs"][-1] == [12, 6]
    assert (result["int8_weights"], result["binary_weights"]) == (2 * 72, 6 * 3 * 2 * 3 + 2 * 162)
    assert result["integers_only"] is False
    assert result["int4_weights"] == 3 * 3 * 6
    assert result["parts"]["bits"] == 2 * 72 + -(-108 // 8) + 54 // 2 + 2 * -(-162 // 8)
    assert main(["info", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "432 one-bit, 144 8-bit, 54 4-bit and" in printed
    assert "boxes finds label 0, label 1, label 2" in printed
    assert "quantize" in printed


def test_info_for_people_names_every_layer(binary_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(binary_digits)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("stem", "body", "head", "binary_conv2d", "SHA-256"))


def test_info_for_people_says_the_transform_and_the_parts(
    binary_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(binary_digits)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "input 1x8x8: float32, or uint8 as pixel * scale + shift: scale 1, shift 0" in lines
    assert any("bits" in line and "288" in line and "eight a byte" in line for line in lines)
    assert not any("tensors" in line for line in lines)


def test_the_transform_in_words() -> None:
    transform = {
        "order": "BGR", "resize": 40, "crop": 32, "fit": "shorter", "interpolation": "bicubic",
        "scale": [0.5, 0.25], "shift": [1 / 3, 0],
    }  # fmt: skip
    text = "float32, or uint8 as pixel * scale + shift: scale 0.5 0.25, shift 0.33333 0, BGR"
    assert _input_text(transform) == f"{text}, resize 40 bicubic, crop 32"
    assert _input_text(transform | {"fit": "stretch"}) == f"{text}, resize 40x40 bicubic, crop 32"
    assert _input_text(transform | {"resize": 0}) == f"{text}, crop 32"
    assert _input_text(None) == "float32 only"


def test_models_lists_the_registry(run_json: RunJson) -> None:
    import netsuke

    rows = run_json("models")["models"]
    assert [row["name"] for row in rows] == netsuke.list_models()
    entry = next(row for row in rows if row["name"] == "adabin_resnet20")
    assert (entry["task"], entry["input"]) == ("classification", [3, 32, 32])
    assert "AdaBin" in entry["paper"]


def test_export_without_weights_says_they_are_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "a.netsuke", tmp_path / "b.netsuke"]
    for path in paths:
        assert main(["export", "--model", "adabin_resnet20", "--out", str(path)]) == 0
        assert "random (seed 0)" in capsys.readouterr().err
    assert paths[0].read_bytes() == paths[1].read_bytes()
    logits = engine.load(paths[0])(np.zeros((1, 3, 32, 32), np.uint8))
    assert logits.shape == (1, 10)


def test_info_of_embedding_tables(tmp_path: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tables.netsuke"
    rows = make_rows(np.float32([0.5, 0.25, 1.0]), np.ones((3, 20)))
    tables = [artifact.Table("users", rows, 20, "mean", 2), artifact.Table("items", rows, 20)]
    artifact.save_tables("shop", tables, path)
    result = run_json("info", path)
    data = path.read_bytes()
    assert (result["model"], result["schema"], result["nodes"], result["tensors"]) == ("shop", 1, 0, 3)
    assert (result["bytes"], result["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert sum(result["parts"].values()) == len(data)
    assert (result["parts"]["bits"], result["binary_weights"]) == (2 * 3 * 5, 2 * 3 * 20)
    assert result["tables"][0] == {
        "name": "users", "rows": 3, "columns": 20, "mode": "mean", "padding": 2, "bytes": 15, "float_bytes": 240,
    }  # fmt: skip
    assert [table["padding"] for table in result["tables"]] == [2, None]
    assert main(["info", str(path)]) == 0
    assert "2 embedding tables, for netsuke.load_embeddings" in capsys.readouterr().out


def test_what_else_reads_a_file_says_that_it_holds_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tables.netsuke"
    artifact.save_tables("shop", [artifact.Table("t", make_rows(np.float32([1]), np.ones((1, 8))), 8)], path)
    for command in (["eval", "--data", "digits"], ["bench", "--against", "torch_float"]):
        assert main([command[0], str(path), *command[1:]]) == 2
        assert "holds embedding tables, no network" in capsys.readouterr().err
