"""What --against may name, and that an entrant is held to the instruction set it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest

from netsuke.artifact.contract import Error
from netsuke.cli.counterpart import float_counterpart, write_onnx
from netsuke.cli.entrants import Entrant, parse
from netsuke.cli.machine import cpu_flags
from netsuke.cli.quantise import quantise_for_onnxruntime, quantise_for_openvino
from netsuke.engine import available_isas


def test_names_become_entrants() -> None:
    assert parse(" onnxruntime_f32, openvino_int8@avx2,netsuke@scalar,other.netsuke,a@b/c.netsuke@avx2,") == [
        Entrant("onnxruntime_f32", "onnxruntime_f32"),
        Entrant("openvino_int8@avx2", "openvino_int8", "AVX2"),
        Entrant("netsuke@scalar", "netsuke", "scalar"),
        Entrant("other.netsuke", "netsuke", None, "other.netsuke"),
        Entrant("a@b/c.netsuke@avx2", "netsuke", "avx2", "a@b/c.netsuke"),
    ]
    assert parse("a@b/c.netsuke") == [Entrant("a@b/c.netsuke", "netsuke", None, "a@b/c.netsuke")]
    assert parse("torch_float,torch_float") == [Entrant("torch_float", "torch_float")]
    assert parse(" ,") == []


def test_the_option_holds_openvino_candidates_without_a_suffix() -> None:
    plain, held, other = parse("openvino_f32,openvino_f32@AVX512_CORE,onnxruntime_f32", openvino_isa="avx2")
    assert plain.environment == {"DNNL_MAX_CPU_ISA": "AVX2"}
    assert held.environment == {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}
    assert other.environment is None


@pytest.mark.parametrize(
    ("against", "complaint"),
    [
        ("larq", "unknown candidate 'larq'"),
        ("netsuke", "netsuke@avx2"),
        ("openvino_f32@AVX3", "no instruction set 'AVX3'"),
        ("openvino_f32@", "ends with @"),
        ("torch_float@AVX2", "leave @AVX2 out"),
        ("onnxruntime_f32@avx2", "leave @avx2 out"),
    ],
)
def test_what_is_no_entrant_is_refused(against: str, complaint: str) -> None:
    with pytest.raises(Error, match=complaint):
        parse(against)


def test_one_candidate_several_times_in_one_race(tmp_path: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    if "avx2" not in cpu_flags():
        pytest.skip("OpenVINO's instruction sets below are those of x86")
    file = tmp_path / "r20.netsuke"
    run_json("export", "--model", "adabin_resnet20", "--out", file)
    names = ["netsuke@scalar", f"{file}@{available_isas()[-1]}", "openvino_int8", "openvino_int8@AVX2"]
    result = run_json("bench", file, "--against", ",".join(names), "--runs", 2)
    entries = result["candidates"]
    assert list(entries) == ["netsuke", *names]
    assert [entries[name]["isa"] for name in names] == ["scalar", available_isas()[-1], None, "AVX2"]
    assert [entries[name]["weights"] for name in names] == 2 * ["the file's"] + 2 * ["random (seed 0)"]
    assert "avx2" in entries["openvino_int8@AVX2"]["kernel"]
    assert all(entries[name]["kernel"].endswith("I8") for name in names[2:])
    assert {entries[name]["precision"] for name in names[2:]} == {"int8"}


def test_a_file_of_another_input_cannot_race(
    binary_digits: Path, tmp_path: Path, run_json: Callable[..., dict[str, Any]], fails: Callable[..., str]
) -> None:
    other = tmp_path / "r20.netsuke"
    run_json("export", "--model", "adabin_resnet20", "--out", other)
    assert "does not run on images of the file's shape" in fails("bench", binary_digits, "--against", other)


def test_int8_by_onnx_runtime(tmp_path: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    file = tmp_path / "r20.netsuke"
    run_json("export", "--model", "adabin_resnet20", "--out", file)
    entry = run_json("bench", file, "--against", "onnxruntime_int8", "--runs", 2)["candidates"]["onnxruntime_int8"]
    assert (entry["precision"], entry["runs"], entry["weights"]) == ("int8", 2, "random (seed 0)")


def test_the_quantised_network_computes_in_8_bits_nearly_what_the_float_one_does(tmp_path: Path) -> None:
    onnx, int8 = tmp_path / "float.onnx", tmp_path / "int8.onnx"
    write_onnx(float_counterpart("resnet20", 10), (2, 3, 32, 32), onnx)
    quantise_for_onnxruntime(onnx, (2, 3, 32, 32), int8)
    quantise_for_openvino(onnx, (2, 3, 32, 32), tmp_path / "int8.xml")
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    runs = [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in (onnx, int8)]
    wanted, found = (run.run(None, {run.get_inputs()[0].name: images})[0] for run in runs)
    other = openvino.Core().compile_model(tmp_path / "int8.xml", "CPU")([images])[0]
    for logits in (found, other):
        error = np.abs(logits - wanted).max() / np.abs(wanted).max()
        assert 0 < error < 0.1
